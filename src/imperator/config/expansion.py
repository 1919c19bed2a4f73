"""``$(ENV)``, ``@(file)`` and ``%(placeholder)``: each replaced in every value, in this order (core/utils.c).

Inside the brackets the innermost goes first. What means nothing is left as it is. A placeholder is the *first* option
of that name; ``%(a + b * 2)`` is a pipeline from left to right, in whole numbers; two names side by side are joined.
"""

from __future__ import annotations

from imperator.config.errors import ConfigurationError
from imperator.config.given import Given, Step
from imperator.config.numbers import LEAST, leading_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from imperator.config.texts import Texts

LONGEST_VALUE = 1 << 20
"""Characters. A value that grows beyond it speaks of itself (``a = x%(a)``): the original grows until it is killed."""
MOST_STEPS = 1000
"""In one value. Beyond it, it speaks of itself in a circle (``a = -%(b)``, ``b = %(a)``): the original never ends."""

_SUM = "+-*/"


class Expansion:
    """Replaces in values what stands for something else."""

    def __init__(
        self,
        environ: Mapping[str, str],
        texts: Texts,
        first_value: Callable[[str], str | None],
        further: Callable[[str], str | None],
    ) -> None:
        self._environ = environ
        self._texts = texts
        self._first_value = first_value
        self._further = further

    def expand(self, options: Iterable[Given]) -> None:
        """All three passes, over everything that was not acted on already. Raises ConfigurationError."""
        waiting = [given for given in options if not given.done and given.value]
        for symbol, meaning in (("$", self._variable), ("@", self._text), ("%", self._placeholder)):
            for given in waiting:
                if given.value and f"{symbol}(" in given.value:
                    self._expand_one(given, symbol, meaning)

    def _expand_one(self, given: Given, symbol: str, meaning: Callable[[str, str], str | None]) -> None:
        value = given.value or ""
        steps = list(given.steps)
        start = 0
        while (found := _innermost(value, symbol, start)) is not None:
            begin, end = found
            name = value[begin + 2 : end]
            replacement = meaning(name, given.where)
            if replacement is None:
                start = end + 1
                continue
            value = value[:begin] + replacement + value[end + 1 :]
            if len(value) > LONGEST_VALUE or len(steps) > MOST_STEPS:
                written = _shown(f"{given.key} = {given.value}")
                text = f"{written}: {symbol}({_shown(name)}) speaks of itself, without end"
                raise ConfigurationError(given.where, text)
            steps.append(Step(f"{symbol}({name}) is {_shown(replacement)}", value))
            given.value = value  # at once: it may speak of itself, as far as it is by then
            start = 1  # as the original, which never again looks at a symbol that is the first character
        given.steps = tuple(steps)

    def _variable(self, name: str, where: str) -> str | None:
        if name == "UWSGI_RELOADS":  # the original counts this start, too
            before = self._environ.get(name)
            return "0" if before is None else str((leading_number(before) + 1) & 0xFFFFFFFF)
        return self._environ.get(name)

    def _text(self, name: str, where: str) -> str | None:
        text = self._texts.read(name, where).decode(errors="surrogateescape")
        return (text[:-1] if text.endswith(("\n", "\r")) else text).partition("\0")[0]

    def _placeholder(self, expression: str, where: str) -> str | None:
        if " " not in expression:
            value = self._first_value(expression)
            return self._looked_up(expression, where) if value is None else value
        result: str | None = None
        operation = ""
        for word in expression.split(" "):
            if not word:
                continue
            if word in ("++", "--"):
                if result is not None:
                    result = _wrapped(leading_number(result) + (1 if word == "++" else -1))
                operation = ""
                continue
            if word in _SUM:
                operation = word
                continue
            value = word if not word.strip("0123456789") else self._first_value(word)
            if value is None:
                value = self._looked_up(word, where) or ""
            result = _apply(operation, result or "", value)
            operation = ""
        return result

    def _looked_up(self, name: str, where: str) -> str | None:
        """The value of a placeholder that is set nowhere."""
        try:
            return self._further(name)
        except ConfigurationError as error:
            raise ConfigurationError(where, f"{error.where}: {error.text}", error.hint) from error

    def resolved(self, given: Given) -> Given:
        """``resolve = NAME=HOST``: a placeholder that is the host's address. Raises ConfigurationError."""
        name, separator, host = given.text.partition("=")
        if not separator:
            raise ConfigurationError(given.where, f"resolve = {given.text}: NAME=HOST was expected")
        import socket

        try:
            address = socket.gethostbyname(host)
        except OSError as error:
            raise ConfigurationError(given.where, f"resolve: {host}: {error.strerror}") from error
        return Given(name, address, given.where, placeholder=True)


def _innermost(value: str, symbol: str, start: int) -> tuple[int, int] | None:
    """Where the next thing to replace begins (its symbol) and ends (its bracket), which may hold plain brackets."""
    opening = f"{symbol}("
    begin = depth = -1
    position = start
    while position < len(value):
        if begin < 0:
            begin = value.find(opening, position)
            if begin < 0:
                return None
            position, depth = begin + 2, 0
            continue
        signs = [found for sign in (symbol, "(", ")") if (found := value.find(sign, position)) >= 0]
        if not signs:
            return None
        position = min(signs)
        character = value[position]
        if character == symbol:
            begin = -1
            if value.startswith(opening, position):
                continue
        elif character == "(":
            depth += 1
        elif character == ")":
            if depth == 0 and position > begin + 2:
                return begin, position
            if depth == 0:
                begin = -1
            else:
                depth -= 1
        position += 1
    return None


def _wrapped(number: int) -> str:
    """In 64 bits, as C counts."""
    return str((number - LEAST) % (1 << 64) + LEAST)


def _apply(operation: str, left: str, right: str) -> str:
    if not operation:
        return left + right
    a, b = leading_number(left), leading_number(right)
    match operation:
        case "+":
            return _wrapped(a + b)
        case "-":
            return _wrapped(a - b)
        case "*":
            return _wrapped(a * b)
        case _:
            quotient = abs(a) // abs(b) if b else 0  # C cuts towards zero
            return str(quotient if (a < 0) == (b < 0) else -quotient)


def _shown(text: str) -> str:
    return repr(text) if not text or text != text.strip() else text if len(text) < 200 else f"{text[:200]}…"
