"""A hook as the configuration has it."""

from __future__ import annotations

from imperator.config.records import record


@record
class Hook:
    """One hook: ``action:argument``, e.g. ``exec:hostname foobar`` (see ``docs/hooks.md``)."""

    action: str
    argument: str
    where: str = ""
    """``file:line``. Two hooks that differ in it alone are the same."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hook):
            return NotImplemented
        return (self.action, self.argument) == (other.action, other.argument)

    def __hash__(self) -> int:
        return hash((self.action, self.argument))
