"""Options that a configuration declares for itself: ``declare-option = NAME=KEY=VALUE;KEY=VALUE`` with ``$1``, ``$2``…

Whoever then says ``NAME = a b`` means these options, with ``a`` for ``$1`` and ``b`` for ``$2``. They are not shown by
``--show-config``, where the original does not show them either (manual: "Defining new options for your instances").
"""

from __future__ import annotations

from imperator.config.errors import ConfigurationError
from imperator.config.given import Given, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class CustomOptions:
    """The options that were declared, by name: the first of a name counts."""

    def __init__(self) -> None:
        self.templates: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.templates

    def names(self) -> Iterable[str]:
        """All of them."""
        return self.templates

    def takes_value(self, name: str) -> bool:
        """On the command line; which are asked for is told by the template, ``$1`` to ``$3``."""
        return any(word in self.templates[name] for word in ("$1", "$2", "$3"))

    def declare(self, given: Given) -> str:
        """``NAME=TEMPLATE``; returns the name. Raises ConfigurationError."""
        name, separator, template = given.text.partition("=")
        if not separator:
            raise ConfigurationError(given.where, f"{given.key} = {given.text}: NAME=KEY=VALUE;… was expected")
        self.templates.setdefault(name, template)
        return name

    def stands_for(self, given: Given) -> Iterator[Given]:
        """The options that a declared one stands for, in their order: up to a part that is none."""
        template = self.templates[given.key]
        text = given.value or ""
        words: list[str] = [word for word in text.split(" ") if word] if text else [""]
        for part in template.split(";"):
            if not part:
                continue
            key, separator, value = part.partition("=")
            if not separator:
                break
            for number, word in enumerate(words, 1):
                key = key.replace(f"${number}", word)
                value = value.replace(f"${number}", word)
            step = Step(f"{given.key} = {given.text} was declared to mean {template}", value)
            yield Given(key, value, given.where, (*given.steps, step), derived=True, via=given.via)
