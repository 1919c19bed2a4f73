"""What the Emperor's options harden every vassal with, and whether that can be had."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

from imperator.config.settings import EmperorSettings
from imperator.kernel import landlock, seccomp
from imperator.kernel.capabilities import NUMBERS, Capabilities

MOUNTING = NUMBERS["sys_admin"]


class CannotHarden(ValueError):
    """What was asked for cannot be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Hardening:
    """The same for all vassals of an Emperor. The order is that of :mod:`imperator.kernel.hardening`."""

    no_new_privs: bool = False
    seccomp: bytes | None = None
    """The filter."""
    read_only: Literal["mounts", "landlock"] | None = None
    writable: tuple[str, ...] = ()
    private_tmp: bool = False
    hidden_proc: bool = False

    @property
    def needs_mounts(self) -> bool:
        """It takes a mount namespace of its own."""
        return self.read_only == "mounts" or self.private_tmp or self.hidden_proc

    def message(self) -> dict[str, Any]:
        """For the spawner."""
        return {
            "no_new_privs": self.no_new_privs,
            "seccomp": self.seccomp,
            "read_only": self.read_only,
            "writable": list(self.writable),
            "private_tmp": self.private_tmp,
            "hidden_proc": self.hidden_proc,
        }


def hardening_of(settings: EmperorSettings, power: Capabilities) -> Hardening | None:
    """``None``: nothing. ``power`` is what the Emperor may do when it starts vassals. Raises CannotHarden."""
    may_mount = MOUNTING in power
    for option, wanted in (
        ("vassal-private-tmp", settings.vassal_private_tmp),
        ("vassal-hidden-proc", settings.vassal_hidden_proc),
    ):
        if wanted and not may_mount:
            raise CannotHarden(f"{option} = true: the Emperor may not mount (it needs root, or cap = sys_admin)")
    read_only = _read_only(settings, may_mount)
    needs_no_new_privs = settings.vassal_seccomp == "default" or read_only == "landlock"
    if needs_no_new_privs and settings.vassal_no_new_privs is False:
        who = "vassal-seccomp" if settings.vassal_seccomp == "default" else "vassal-read-only, where it is Landlock's,"
        raise CannotHarden(f"vassal-no-new-privs = false: {who} needs it: leave one of them out")
    no_new_privs = settings.vassal_no_new_privs
    hardening = Hardening(
        no_new_privs=settings.emperor_tyrant or needs_no_new_privs if no_new_privs is None else no_new_privs,
        seccomp=_filter() if settings.vassal_seccomp == "default" else None,
        read_only=read_only,
        writable=tuple(map(_checked, settings.vassal_writable)),
        private_tmp=settings.vassal_private_tmp,
        hidden_proc=settings.vassal_hidden_proc,
    )
    if settings.vassal_writable and read_only is None:
        raise CannotHarden("vassal-writable is an exception to vassal-read-only, which is not there")
    return None if hardening == Hardening() else hardening


def _read_only(settings: EmperorSettings, may_mount: bool) -> Literal["mounts", "landlock"] | None:
    if not settings.vassal_read_only:
        return None
    if may_mount:
        return "mounts"
    if landlock.version():
        return "landlock"
    raise CannotHarden(
        "vassal-read-only = true: the Emperor may not mount (it needs root, or cap = sys_admin), and this kernel has "
        "no Landlock (see landlock(7); 'lsm=…,landlock' on the kernel's command line)"
    )


def _filter() -> bytes:
    try:
        return seccomp.program(os.uname().machine)
    except LookupError as error:
        raise CannotHarden(error.args[0]) from None


def _checked(path: str) -> str:
    if not os.path.isabs(path):
        raise CannotHarden(f"vassal-writable = {path}: an absolute path was expected")
    if not os.path.exists(path):
        raise CannotHarden(f"vassal-writable = {path}: there is no such file or directory")
    return path
