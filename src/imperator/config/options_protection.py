"""The options by which an Emperor limits and hardens its vassals. A few spellings are the original's."""

from __future__ import annotations

from typing import Any

from imperator.config import quantities
from imperator.config.option import Option

_RESOURCES = "Resources: a control group for each vassal"
_HARDENING = "Hardening: what a vassal cannot do"

PROTECTION_SECTIONS = (_RESOURCES, _HARDENING)


def _option(section: str, name: str, kind: Any, help: str, metavar: str = "VALUE", **more: Any) -> Option:
    return Option(name, kind, help, section, metavar=metavar, **more)


PROTECTION_OPTIONS: tuple[Option, ...] = (
    _option(
        _RESOURCES,
        "vassal-cgroup",
        "flag",
        "give each vassal a control group of its own: nothing of it outlives it. Any of the limits does the same",
    ),
    _option(
        _RESOURCES,
        "cgroup-parent",
        "string",
        "the control group to make the vassals' in, as a path below where the hierarchies are mounted",
        "GROUP",
        default="the one that the Emperor is in",
    ),
    _option(
        _RESOURCES,
        "cgroup",
        "list",
        "go into this control group, and make it if it is not there: all vassals are in it too",
        "DIRECTORY",
    ),
    _option(
        _RESOURCES,
        "cgroup-opt",
        "list",
        "write a value to a file of those groups, like pids.max=500 (a colon does as well)",
        "FILE=VALUE",
    ),
    _option(_RESOURCES, "cgroup-dir-mode", "octal", "mode of a group that is made", "MODE", default="700"),
    _option(
        _RESOURCES,
        "vassal-memory-max",
        "quantity",
        "memory that each vassal may have, swap included, like 512M; one that wants more is killed as a whole. Its own "
        "attribute memory-max takes precedence",
        "SIZE",
        reads=quantities.size,
    ),
    _option(
        _RESOURCES,
        "vassal-cpu-max",
        "quantity",
        "cores that each vassal may use, like 1.5 (attribute: cpu-max)",
        "CORES",
        reads=quantities.cores,
    ),
    _option(
        _RESOURCES,
        "vassal-pids-max",
        "quantity",
        "processes and threads that each vassal may have (attribute: pids-max)",
        "NUMBER",
        reads=quantities.count,
    ),
    _option(
        _RESOURCES,
        "vassal-io-weight",
        "quantity",
        "each vassal's share of a busy disk, 1 to 10000, where 100 is usual (attribute: io-weight)",
        "WEIGHT",
        reads=quantities.weight,
    ),
    _option(
        _RESOURCES,
        "vassal-io-max",
        "list",
        "what each vassal may do with a disk in a second, like /dev/vda rbps=10M wiops=200: bytes and operations, read "
        "and written (attribute: io-max)",
        "DEVICE KIND=AMOUNT",
        reads=quantities.device_amounts,
    ),
    _option(
        _HARDENING,
        "vassal-no-new-privs",
        "flag",
        "no program that a vassal executes has more rights than itself: set-user-ID bits and file capabilities have no "
        "effect (sudo, ping, a set-group-ID sendmail)",
        default="in tyrant mode, and where vassal-seccomp or Landlock needs it",
    ),
    _option(
        _HARDENING,
        "vassal-seccomp",
        "string",
        "default: system calls that applications do not need, and attacks on the kernel do, fail with EPERM",
        "default|none",
        default="none",
    ),
    _option(
        _HARDENING,
        "vassal-read-only",
        "flag",
        "a vassal can write to no file, but to those that vassal-writable names, in /dev and in /proc",
    ),
    _option(
        _HARDENING,
        "vassal-writable",
        "list",
        "with vassal-read-only: this directory (or file) can be written to, as far as its mode allows",
        "PATH",
    ),
    _option(
        _HARDENING,
        "vassal-private-tmp",
        "flag",
        "each vassal has a /tmp and a /var/tmp of its own, which are gone when it ends",
    ),
    _option(_HARDENING, "vassal-hidden-proc", "flag", "a vassal sees in /proc only the processes of its own user"),
)
