"""Immutable values with named fields, as ``@dataclass(frozen=True, slots=True)`` makes them, but cheap to make.

A dataclass writes and compiles its methods when its module is imported: half a millisecond for a small one, several for
the settings of an instance, and it needs ``inspect`` for that. Every start of an instance pays for it, so what an
instance imports is made of these: their methods are the same for all, and walk over the fields.

What a record has of a dataclass: fields with defaults, in order or (:func:`keyword_record`) by name only; equality and
hash by value; a ``repr``; :func:`changed` for ``replace``. A record has no base class and no default factories.
"""

from __future__ import annotations

from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
_set = object.__setattr__


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """The class with its annotations as fields."""
    return _made(cls, keywords_only=False)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def keyword_record(cls: type[T]) -> type[T]:
    """The same; its fields are given by name only."""
    return _made(cls, keywords_only=True)


def changed(one: T, **changes: Any) -> T:
    """A record with other values in some fields. Raises TypeError for a field that it does not have."""
    return _again(type(one), {**{name: getattr(one, name) for name in _fields(one)}, **changes})


def _fields(one: object) -> tuple[str, ...]:
    names: tuple[str, ...] = type(one).__slots__  # type: ignore[attr-defined]
    return names


def _made(cls: type[T], keywords_only: bool) -> type[T]:
    names = tuple(cls.__annotations__)
    space = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    defaults = {name: space.pop(name) for name in names if name in space}
    known = frozenset(names)
    places = 0 if keywords_only else len(names)

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        if len(values) > places:
            raise TypeError(f"{cls.__name__}() takes {places} positional arguments, {len(values)} were given")
        given = dict(zip(names, values, strict=False))
        if named:
            if wrong := named.keys() - known or named.keys() & given.keys():
                raise TypeError(f"{cls.__name__}(): no such field, or given twice: {', '.join(sorted(wrong))}")
            given.update(named)
        for name in names:
            if name in given:
                _set(self, name, given[name])
            elif name in defaults:
                _set(self, name, defaults[name])
            else:
                raise TypeError(f"{cls.__name__}(): {name} is missing")

    methods: dict[str, Any] = {
        "__init__": __init__,
        "__eq__": _equal,
        "__hash__": _hash,
        "__repr__": _representation,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__reduce__": _parts,
    }
    made: Any = type(
        cls.__name__, cls.__bases__, {**methods, **space, "__slots__": names, "__match_args__": names[:places]}
    )
    made.__qualname__ = cls.__qualname__
    complete: type[T] = made
    return complete


def _values(one: object) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in _fields(one))


def _equal(self: object, other: object) -> bool:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: object) -> int:
    return hash(_values(self))


def _representation(self: object) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in _fields(self))})"


def _parts(self: object) -> tuple[Any, ...]:
    """For copies and pickles, which otherwise set one attribute after the other."""
    return _again, (type(self), {name: getattr(self, name) for name in _fields(self)})


def _again(cls: type[T], values: dict[str, Any]) -> T:
    return cls(**values)


def _refuse(self: object, name: str, *_: object) -> None:
    raise AttributeError(f"a {type(self).__name__} does not change: {name}")
