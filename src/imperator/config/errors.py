"""What is wrong with a configuration, said so that a person can mend it."""

from __future__ import annotations


class ConfigurationError(Exception):
    """``where`` (``file:line``, or ``command line``), what is wrong there, and what to do about it."""

    code = 1
    """What a process ends with because of it."""
    fallback: str | None = None
    """The configuration to be tried instead (``fallback-config``), if one was named before this."""

    def __init__(self, where: str, text: str, hint: str = "") -> None:
        super().__init__(where, text, hint)
        self.where = where
        self.text = text
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" + (f" ({self.hint})" if self.hint else "")


class ExitAsked(ConfigurationError):
    """Nothing is wrong: the configuration says ``exit``, and with which code."""

    def __init__(self, where: str, code: int) -> None:
        super().__init__(where, f"exit = {code}: the configuration wants no instance")
        self.code = code
