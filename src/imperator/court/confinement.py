"""What the Emperor's own options confine every vassal to: namespaces, capabilities. Names become numbers here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from imperator.config.settings import EmperorSettings
from imperator.court.hardening import Hardening, hardening_of
from imperator.kernel.capabilities import Capabilities, capabilities_of, permitted
from imperator.kernel.jail import NEW_MOUNTS
from imperator.kernel.namespaces import NETWORK, flags_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Confinement:
    """The same for all vassals of an Emperor."""

    namespaces: int = 0
    """Flags of clone(2)."""
    bounding: Capabilities | None = None
    """``None``: whatever the Emperor itself could have."""
    hardening: Hardening | None = None


def confinement_of(settings: EmperorSettings) -> Confinement:
    """Raises LookupError, with the option, for a name that means nothing, and CannotHarden."""
    becomes_another = os.geteuid() == 0 and settings.uid is not None
    hardening = hardening_of(settings, capabilities_kept(settings) if becomes_another else permitted())
    namespaces = _named("emperor-use-clone", settings.emperor_use_clone, flags_of)
    if hardening is not None and hardening.needs_mounts:
        namespaces |= NEW_MOUNTS
    if settings.vassal_net != "host":
        namespaces |= NETWORK
    return Confinement(
        namespaces=namespaces,
        hardening=hardening,
        bounding=_named("emperor-cap", settings.emperor_cap, capabilities_of) if settings.emperor_cap else None,
    )


def capabilities_kept(settings: EmperorSettings) -> Capabilities:
    """What the Emperor keeps of root's power. Raises LookupError."""
    return _named("cap", settings.cap, capabilities_of)


def _named(option: str, values: tuple[str, ...], meaning: Callable[[Iterable[str]], T]) -> T:
    try:
        return meaning(word for value in values for word in value.replace(",", " ").split())
    except LookupError as error:
        raise LookupError(f"{option} = {','.join(values)}: {error.args[0]}") from None
