"""``--show-config``: what was understood, written as one ini section, in the words of the original.

The block is the one that ``uwsgi --show-config`` prints, so that the two can be compared line by line.
"""

from __future__ import annotations

from imperator.config.given import Configuration


def show_config(configuration: Configuration) -> str:
    """The block, from its first comment to its last."""
    lines = [";uWSGI instance configuration", "[uwsgi]"]
    lines += [f"{given.key} = {given.text}" for given in configuration if not given.derived]
    lines.append(";end of configuration")
    return "\n".join(lines) + "\n"
