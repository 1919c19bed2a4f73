"""``--help``: made from the catalogue, so it names every option there is."""

from __future__ import annotations

import textwrap

from imperator.config.catalogue import EMPEROR_OPTIONS, SECTIONS

_HEAD = """\
Imperator keeps one application running for each configuration file it finds.

  imperator --emperor /etc/uwsgi/vassals             reign over the files of a directory
  imperator --emperor '/home/*/apps/*.ini'           ... or over what a pattern matches
  imperator emperor.ini                              ... with the options in a file
  imperator status                                   what runs, what does not, and why
  imperator check /etc/uwsgi/vassals                 what would be started, and what is wrong with it

Every option may stand on the command line, in a file (without the dashes), or in the environment as UWSGI_OPTION_NAME.
"""


def render_help() -> str:
    """The whole help text."""
    lines = [_HEAD]
    for section in SECTIONS:
        lines.append(f"{section}:")
        for option in EMPEROR_OPTIONS:
            if option.section == section:
                value = f" {option.metavar}" if option.takes_value else ""
                text = option.help + (f" (default: {option.default})" if option.default else "")
                lines.append(f"  --{option.name}{value}")
                lines += textwrap.wrap(text, 96, initial_indent="        ", subsequent_indent="        ")
        lines.append("")
    return "\n".join(lines)
