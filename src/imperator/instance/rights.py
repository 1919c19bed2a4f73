"""What an instance may do: umask, limits, namespaces, another root, and the user it becomes for good.

Rules, where ours differ from the original's (which are in its ``uwsgi_as_root``):

* A user without a group gets the user's own group: the original leaves it in root's.
* ``add-gid`` *is* the list of additional groups, as there; without it they are those of the user's name.
* A limit is set as root, just before the drop, so that it can be raised too.
* The signal at the parent's death, which the kernel forgets when the user changes, is set again.
* A working directory outside of a new root is left: the original stays there, which is the way out of the jail.

A failure is a :class:`ConfigurationError` with the option and what to do. No capability stays: capabilities(7).
"""

from __future__ import annotations

import errno
import os
import pwd
import resource
from collections.abc import Callable, Sequence

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings
from imperator.config.records import record
from imperator.kernel.capabilities import NONE, Capabilities, capabilities_of, hold, keep_over_change_of_user, names_of
from imperator.kernel.credentials import gid_of, uid_of
from imperator.kernel.namespaces import (
    PIDS,
    change_root,
    flags_of,
    parent_death_signal,
    pivot_root,
    set_parent_death_signal,
    unshare,
)
from imperator.kernel.shepherd import fork_into_pid_namespace

Say = Callable[[str], None]


@record
class Identity:
    """Whom to become. ``None`` leaves that part as it is."""

    uid: int | None
    gid: int | None
    groups: tuple[int, ...] = ()
    """Additional groups; they count where there is a gid."""
    note: str = ""
    """What a person should know about it."""


def capabilities_asked(settings: InstanceSettings) -> Capabilities:
    """``cap``. Raises :class:`ConfigurationError` for one that there is not."""
    names = [word for value in settings.cap for word in value.replace(",", " ").split()]
    try:
        return capabilities_of(names)
    except LookupError as error:
        raise ConfigurationError(f"cap = {','.join(names)}", str(error.args[0])) from None


def identity_asked(settings: InstanceSettings) -> Identity:
    """``uid``, ``gid`` and ``add-gid``, looked up. Raises :class:`ConfigurationError` for whom nobody knows."""
    uid = None if settings.uid is None else _looked_up("uid", settings.uid, uid_of)
    gid = None if settings.gid is None else _looked_up("gid", settings.gid, gid_of)
    entry = _entry(uid) if uid else None
    note = ""
    if gid is None and uid and os.geteuid() == 0:
        if entry is not None:
            gid = entry.pw_gid
            note = f"uid without gid: taking {entry.pw_name}'s own group {gid}"
        else:
            note = f"uid {uid} is nobody known and no gid is given: it stays in group {os.getegid()}"
    if settings.add_gid:
        groups = tuple(_looked_up("add-gid", group, gid_of) for group in settings.add_gid)
    elif entry is not None and gid is not None:
        groups = tuple(os.getgrouplist(entry.pw_name, gid))
    else:
        groups = () if gid is None else (gid,)
    return Identity(uid, gid, groups, note)


def _looked_up(option: str, name: str, number_of: Callable[[str], int]) -> int:
    try:
        return number_of(name)
    except LookupError as error:
        raise ConfigurationError(f"{option} = {name}", str(error), "create it, or give a number") from None


def _entry(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def become(who: Identity, say: Say, keep: Capabilities = NONE) -> None:
    """Drop to ``who``: groups, gid, uid, with no way back; warns about an instance that stays root.

    ``keep``: capabilities that it has afterwards, and whatever it executes.
    """
    if who.note:
        say(who.note)
    if os.geteuid() != 0:
        _stay(who)
        if keep:
            _keep_some(keep)
        return
    signal, parent = parent_death_signal(), os.getppid()
    try:
        if keep:
            keep_over_change_of_user()
        if who.gid is not None:
            os.setgroups(who.groups)
            os.setresgid(who.gid, who.gid, who.gid)
        elif who.uid:
            os.setgroups([])
        if who.uid:
            os.setresuid(who.uid, who.uid, who.uid)
        if keep:
            hold(keep, hand_on=True)
    except OSError as error:
        raise ConfigurationError(f"uid {who.uid}, gid {who.gid}", f"cannot be taken on: {error.strerror}") from error
    if signal:
        set_parent_death_signal(signal)
        if os.getppid() != parent:
            raise ConfigurationError(f"pid {os.getpid()}", "the parent died while this instance was starting")
    if not who.uid:
        say("running as root: say uid = USER in the configuration, unless the application has to be root")
    elif who.gid is not None:
        say(f"running as uid {who.uid}, gid {who.gid}" + _additional(who))


def _additional(who: Identity) -> str:
    others = [str(group) for group in who.groups if group != who.gid]
    return f", additional groups {' '.join(others)}" if others else ""


def _keep_some(keep: Capabilities) -> None:
    """Of those that whoever started us has left us."""
    try:
        hold(keep, hand_on=True)
    except OSError as error:
        names = ",".join(names_of(keep))
        raise ConfigurationError(
            f"cap = {names}", f"uid {os.geteuid()} was not given all of these", "start it as root"
        ) from error


def _stay(who: Identity) -> None:
    """Only root can become somebody else: what is asked has to be what we are."""
    for option, asked, is_now in (("uid", who.uid, os.getuid()), ("gid", who.gid, os.getgid())):
        if asked is not None and asked != is_now:
            raise ConfigurationError(
                f"{option} = {asked}",
                f"this instance was started as {option} {is_now} and cannot become {asked}: only root can",
                f"start it as root, or leave {option} out",
            )


def set_umask(settings: InstanceSettings) -> None:
    if settings.umask is not None:
        os.umask(settings.umask)


def set_limits(settings: InstanceSettings) -> None:
    """``limit-as`` (MiB) and the other limits, soft and hard: getrlimit(2)."""
    wanted = [(name, value, f"limit-{name.lower()} = {value}") for name, value in settings.rlimits]
    if settings.limit_as:
        wanted.append(("AS", settings.limit_as << 20, f"limit-as = {settings.limit_as}"))
    for name, value, option in wanted:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            known = ", ".join(sorted(key[7:].lower() for key in dir(resource) if key.startswith("RLIMIT_")))
            raise ConfigurationError(option, f"there is no limit {name!r}", f"it is one of {known}")
        try:
            resource.setrlimit(number, (value, value))
        except (OSError, ValueError) as error:
            _, hard = resource.getrlimit(number)
            raise ConfigurationError(option, f"cannot be set: {error}", f"the highest allowed is {hard}") from error


def leave_namespaces(option: str, values: Sequence[str]) -> bool:
    """``unshare = net,fs,…``; says whether anything was left. With ``pid``, a child returns: see the shepherd."""
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    if not names:
        return False
    option = f"{option} = {','.join(names)}"
    try:
        flags = flags_of(names)
        unshare(flags)
        if flags & PIDS:
            fork_into_pid_namespace()
    except LookupError as error:
        raise ConfigurationError(option, str(error)) from None
    except OSError as error:
        raise ConfigurationError(option, f"cannot leave the namespaces: {error.strerror}") from error
    return True


def enter_root(settings: InstanceSettings, say: Say) -> None:
    """``chroot = DIRECTORY``. What is imported or executed from here on has to be inside of it."""
    if settings.chroot is None:
        return
    option = f"chroot = {settings.chroot}"
    try:
        moved = change_root(settings.chroot)
    except OSError as error:
        hint = "only root can" if error.errno == errno.EPERM else ""
        raise ConfigurationError(option, f"cannot be made the root: {error.strerror}", hint) from error
    say(f"the root is now {settings.chroot}" + (", and the working directory /" if moved else ""))


def pivot(settings: InstanceSettings, say: Say) -> None:
    """``pivot-root = NEW_ROOT PUT_OLD``."""
    if settings.pivot_root is None:
        return
    option = f"pivot-root = {settings.pivot_root}"
    new, separator, put_old = settings.pivot_root.partition(" ")
    if not separator:
        raise ConfigurationError(option, "two directories were expected: NEW_ROOT PUT_OLD")
    try:
        pivot_root(new, put_old)
    except OSError as error:
        hint = "the new root has to be a mount of its own, in an fs namespace: unshare = fs, and mount it before"
        raise ConfigurationError(option, f"cannot be done: {error.strerror}", hint) from error
    say(f"the root is now {new}, and the old one is in {put_old}")
