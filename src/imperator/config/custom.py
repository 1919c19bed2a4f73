"""Options that a configuration declares for itself: ``declare-option = NAME=KEY=VALUE;KEY=VALUE`` with ``$1``, ``$2``…

Whoever then says ``NAME = a b`` means these options, with ``a`` for ``$1`` and ``b`` for ``$2``. They are not shown by
``--show-config``, where the original does not show them either (manual: "Defining new options for your instances").
"""

from __future__ import annotations

from dataclasses import dataclass, field

from imperator.config.errors import ConfigurationError
from imperator.config.given import Given, Step


@dataclass(slots=True)
class CustomOptions:
    """The options that were declared, by name."""

    templates: dict[str, str] = field(default_factory=dict)

    def declare(self, given: Given) -> None:
        """``NAME=TEMPLATE``. Raises ConfigurationError."""
        name, separator, template = given.text.partition("=")
        if not separator:
            raise ConfigurationError(given.where, f"{given.key} = {given.text}: NAME=KEY=VALUE;… was expected")
        self.templates[name] = template

    def stands_for(self, given: Given) -> list[Given]:
        """The options that a declared one stands for; none if it was not declared."""
        template = self.templates.get(given.key)
        if template is None:
            return []
        words = given.text.split(" ") if given.value else [""]
        result = []
        for part in template.split(";"):
            key, separator, value = part.partition("=")
            if not separator:
                break
            for number, word in enumerate(words, 1):
                key = key.replace(f"${number}", word)
                value = value.replace(f"${number}", word)
            step = Step(f"{given.key} = {given.text} was declared to mean {template}", value)
            result.append(Given(key, value, given.where, (*given.steps, step), derived=True))
        return result
