"""``--help``: made from the catalogue, so it names every option there is."""

from __future__ import annotations

import textwrap

from imperator.config.catalogue import EMPEROR_OPTIONS, SECTIONS
from imperator.config.options_instance import INSTANCE_OPTIONS, INSTANCE_SECTIONS

_HEAD = """\
Imperator keeps one application running for each configuration file it finds, and serves each of them.

  imperator --emperor /etc/uwsgi/vassals             reign over the files of a directory
  imperator --emperor '/home/*/apps/*.ini'           ... or over what a pattern matches
  imperator emperor.ini                              ... with the options in a file
  imperator app.ini                                  serve one application, without an Emperor
  imperator status                                   what runs, what does not, and why
  imperator check /etc/uwsgi/vassals                 what would be started, and what is wrong with it
  imperator explain app.ini [OPTION]                 what a file comes to, and which line made it so
  imperator shell NAME [COMMAND]                     a terminal inside a vassal
  imperator audit                                    what every vassal could reach, with warnings
  imperator SUB-COMMAND --help                       more about each of these

Every option may stand on the command line, in a file (without the dashes), or in the environment as UWSGI_OPTION_NAME.
"""


def render_help() -> str:
    """The whole help text."""
    lines = [_HEAD]
    for sections, options in ((SECTIONS, EMPEROR_OPTIONS), (INSTANCE_SECTIONS, INSTANCE_OPTIONS)):
        for section in sections:
            lines.append(f"{section}:")
            for option in options:
                if option.section == section:
                    value = f" {option.metavar}" if option.takes_value else ""
                    text = option.help + (f" (default: {option.default})" if option.default else "")
                    lines.append(f"  --{option.name}{value}")
                    lines += textwrap.wrap(text, 96, initial_indent="        ", subsequent_indent="        ")
            lines.append("")
    return "\n".join(lines)
