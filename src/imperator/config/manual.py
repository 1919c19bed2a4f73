"""Writes the manual's page of options from the catalogue: ``python -m imperator.config.manual > docs/options.md``."""

from __future__ import annotations

from imperator.config.catalogue import EMPEROR_OPTIONS, SECTIONS


def render() -> str:
    """The page, as Markdown."""
    lines = [
        "# Options",
        "",
        "Every option may stand on the command line (`--name value`), in a file (`name = value`), or in the",
        "environment (`UWSGI_NAME`, upper case, `_` for `-`).",
        "This page is made from the catalogue that the parser uses.",
    ]
    for section in SECTIONS:
        lines += ["", f"## {section}", ""]
        for option in EMPEROR_OPTIONS:
            if option.section == section:
                value = f" = {option.metavar}" if option.takes_value else ""
                text = option.help[0].upper() + option.help[1:] + "."
                text += f" Default: {option.default}." if option.default else ""
                text += f" Also: {', '.join(option.aliases)}." if option.aliases else ""
                lines.append(f"- `{option.name}{value}`: {text}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(render(), end="")
