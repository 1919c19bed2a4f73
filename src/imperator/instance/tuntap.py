"""``tuntap-device``: TUN devices of an instance, each with a process that connects it with the tuntap router.

They appear in the jail, before the hooks that give them addresses. Each process becomes the instance's user, and dies
with the instance. One that cannot reach the router at the start is a :class:`ConfigurationError`: so the instance does
not run without its network.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings
from imperator.instance.rights import Identity, become
from imperator.kernel.firewall import DeviceRule, RuleError, device_rule_of
from imperator.kernel.namespaces import set_parent_death_signal
from imperator.kernel.processes import set_process_name
from imperator.kernel.tuntap import open_tun
from imperator.kernel.tuntap_device import Device, connect

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DeviceAsked:
    """``tuntap-device = NAME [SOCKET]``."""

    name: str
    socket: str | None


def start_devices(settings: InstanceSettings, who: Identity, say: Say) -> None:
    """Make all of them. Their processes become ``who``. Raises ConfigurationError."""
    rules = [_rule(text) for text in settings.tuntap_device_rule]
    for text in settings.tuntap_device:
        option = f"tuntap-device = {text}"
        words = text.split()
        if len(words) not in (1, 2):
            raise ConfigurationError(option, "NAME or NAME SOCKET was expected")
        asked = DeviceAsked(words[0], words[1] if len(words) == 2 else None)
        try:
            tun = open_tun(asked.name)
        except OSError as error:
            raise ConfigurationError(option, f"cannot be made: {error.strerror or error}") from error
        if asked.socket is None:
            os.set_inheritable(tun, True)  # it is there as long as whatever the instance becomes
            say(f"{option}: made")
            continue
        _start(option, asked, tun, rules, who, settings.tuntap_use_credentials is not None, say)
        os.close(tun)


def _rule(text: str) -> DeviceRule:
    try:
        return device_rule_of(text)
    except RuleError as error:
        raise ConfigurationError(f"tuntap-device-rule = {text}", str(error)) from None


def _start(
    option: str, asked: DeviceAsked, tun: int, rules: list[DeviceRule], who: Identity, credentials: bool, say: Say
) -> None:
    assert asked.socket is not None
    try:
        sock = connect(asked.socket)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "tuntap-router on the Emperor has this socket"
        raise ConfigurationError(option, f"the router cannot be reached: {reason}", hint) from error
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_the_device(parent, asked, tun, sock.fileno(), rules, who, credentials, say)
    sock.close()
    say(f"{option}: connected, by pid {pid}")


def _be_the_device(
    parent: int,
    asked: DeviceAsked,
    tun: int,
    connection: int,
    rules: list[DeviceRule],
    who: Identity,
    credentials: bool,
    say: Say,
) -> NoReturn:
    import socket

    assert asked.socket is not None
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it ends when the instance does, and not before
        kept = sorted((tun, connection))
        for low, high in ((3, kept[0]), (kept[0] + 1, kept[1]), (kept[1] + 1, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(low, high)
        become(who, lambda text: None)
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        set_process_name(f"tuntap {asked.name}")
        sock = socket.socket(fileno=connection)
        sock.settimeout(None)
        Device(tun, asked.socket, rules, credentials=credentials).serve(sock, say)
    except BaseException as error:  # noqa: BLE001 (nothing may unwind into the instance)
        say(f"tuntap-device {asked.name}: its process ends: {type(error).__name__}: {error}")
    finally:
        os._exit(1)
