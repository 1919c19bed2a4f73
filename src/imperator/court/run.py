"""From the settings to a reign, and to its end: what happens in which order when an Emperor runs.

1. Everything that needs root: limits, sockets, log, pid file; then the Emperor's own uid and gid.
2. The spawner, then the loop: monitors, signals, statistics, commands.
3. READY, as soon as every source was read once.
4. Ragnarok: the monitors stop, the vassals end, the last hooks run, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from imperator import __version__
from imperator.bureau.journal import Journal
from imperator.bureau.server import StatsServer
from imperator.bureau.statistics import EmperorFacts, SourceFacts
from imperator.config.hook import Hook
from imperator.config.settings import EmperorSettings
from imperator.court import signals
from imperator.court.addresses import InheritedSockets, OpenedSocket, open_or_take
from imperator.court.allegiance import Allegiance
from imperator.court.binary import Binary, binary_of
from imperator.court.cgroups import claim_territory, enter_own
from imperator.court.charter import livery_of, monitor_options_of, policy_of
from imperator.court.commands import SOCKET_MODE, CommandSocket
from imperator.court.confinement import Confinement, capabilities_kept, confinement_of
from imperator.court.emperor import Emperor
from imperator.court.engineer import Engineer
from imperator.court.environment import for_vassals
from imperator.court.networks import Networks
from imperator.court.service import Service
from imperator.court.sources import Sources
from imperator.court.tuntap import RouterOutfit, open_routers
from imperator.kernel import credentials
from imperator.kernel.capabilities import hold, keep_over_change_of_user
from imperator.kernel.cgroups import Territory, Unavailable
from imperator.kernel.hooks import HookFailed, run_hook, shown
from imperator.kernel.limits import FDS_PER_VASSAL, open_files, raise_open_files
from imperator.kernel.processes import become_subreaper, set_process_name
from imperator.kernel.systemd import Notifier, take_listening_sockets
from imperator.monitors.api import Monitor
from imperator.monitors.registry import build_monitor
from imperator.reign.effects import Severity
from imperator.reign.names import Seconds
from imperator.reign.vassal import IDLE_PHASES


class CannotReign(Exception):
    """The Emperor cannot start; the text says why and what to do."""


@dataclass(slots=True)
class Outfit:
    """What was opened while there were still the rights to: kept until the end."""

    binary: Binary
    limits: tuple[int, int]
    raised: tuple[int, int]
    monitors: list[Monitor]
    notifier: Notifier
    inherited: InheritedSockets
    stats: OpenedSocket | None
    commands: OpenedSocket | None
    confinement: Confinement
    territory: Territory | None
    networks: Networks | None
    tuntap_routers: list[RouterOutfit]


def run(settings: EmperorSettings, journal: Journal, start_directory: str) -> int:
    """Reign until a Ragnarok has ended; returns the exit code. Raises :class:`CannotReign`."""
    with ExitStack() as stack:
        outfit = _prepare(settings, journal, start_directory, stack)
        asyncio.run(_reign(settings, journal, start_directory, outfit))
    return 0


def _prepare(settings: EmperorSettings, journal: Journal, start_directory: str, stack: ExitStack) -> Outfit:
    try:
        return _prepare_outfit(settings, journal, start_directory, stack)
    except (OSError, ValueError, LookupError, HookFailed, Unavailable) as error:
        text = str(error.strerror or error) if isinstance(error, OSError) and not error.filename else str(error)
        raise CannotReign(text) from error


def _prepare_outfit(settings: EmperorSettings, journal: Journal, start_directory: str, stack: ExitStack) -> Outfit:
    binary = binary_of(settings.binary_path)
    confinement, kept = confinement_of(settings), capabilities_kept(settings)
    limits = open_files()
    raised = raise_open_files()
    if settings.umask is not None:
        os.umask(settings.umask)
    options = monitor_options_of(settings, start_directory)
    monitors = [build_monitor(value, options) for value in settings.emperor]
    notifier = Notifier(os.environ)
    inherited = InheritedSockets(take_listening_sockets(os.environ))
    stats = open_or_take(
        inherited,
        "stats",
        settings.emperor_stats,
        socket.SOCK_STREAM,
        mode=settings.chmod_socket,
        backlog=settings.listen,
    )
    commands = open_or_take(inherited, "command", settings.emperor_command_socket, socket.SOCK_DGRAM, mode=SOCKET_MODE)
    inherited.close_rest(journal.write)
    for opened in (stats, commands):
        if opened is not None:
            stack.callback(opened.remove_file, journal.write)
            stack.callback(opened.socket.close)
    territory = _claim_territory(settings, journal, stack)
    networks = Networks.of(settings)
    if networks is not None and networks.engineer is not None:
        _build_bridge(networks.engineer, journal, stack)
    tuntap_routers = open_routers(settings, stack)
    _run_hooks("as-root", settings.hook_as_root)
    for path in dict.fromkeys(filter(None, (settings.emperor_pidfile, settings.pidfile))):
        _write_pid_file(path, stack)
    if settings.emperor_procname is not None:
        _rename_process(settings.emperor_procname)
    if settings.uid is not None or settings.gid is not None:
        uid = None if settings.uid is None else credentials.uid_of(settings.uid)
        gid = None if settings.gid is None else credentials.gid_of(settings.gid)
        for opened in filter(None, (stats, commands)):
            opened.give_to(uid, gid)
        if kept:
            keep_over_change_of_user()
        credentials.drop(uid, gid)
    if kept:
        hold(kept, hand_on=True)  # the spawner, a program of its own, needs them
    if settings.emperor_subreaper:
        become_subreaper()
    for entry in settings.env:
        name, _, value = entry.partition("=")
        os.environ[name] = value
    for name in settings.unenv:
        os.environ.pop(name, None)
    _run_hooks("emperor-start", settings.hook_emperor_start)
    rest = (confinement, territory, networks, tuntap_routers)
    return Outfit(binary, limits, raised, monitors, notifier, inherited, stats, commands, *rest)


def _claim_territory(settings: EmperorSettings, journal: Journal, stack: ExitStack) -> Territory | None:
    enter_own(settings)
    owner = None
    if settings.uid is not None:
        gid = -1 if settings.gid is None else credentials.gid_of(settings.gid)
        owner = (credentials.uid_of(settings.uid), gid)
    territory = claim_territory(settings, owner)
    if territory is not None:
        for what in territory.left_over:
            journal.write(Severity.NOTICE, "cgroup", what)

        def release() -> None:
            for complaint in territory.release():
                journal.write(Severity.WARNING, "cgroup", complaint)

        stack.callback(release)
    return territory


def _write_pid_file(path: str, stack: ExitStack) -> None:
    """Written whole or not at all; removed at the end if it is still ours."""
    file = Path(path)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    text = f"{os.getpid()}\n"
    new.write_text(text)
    new.replace(file)

    def remove() -> None:
        try:
            if file.read_text() == text:
                file.unlink()
        except OSError:  # somebody else removed it, or we dropped the right to: nothing depends on it
            return

    stack.callback(remove)


def _build_bridge(engineer: Engineer, journal: Journal, stack: ExitStack) -> None:
    try:
        note = engineer.start()
    except OSError as error:
        raise CannotReign(f"vassal-net = bridge: {error.strerror}") from error
    stack.callback(engineer.close)
    if note:
        text = f"vassals reach each other and this host, and nobody else: there is no address translation: {note}"
        journal.write(Severity.WARNING, "network", text)


def _rename_process(name: str) -> None:
    from setproctitle import setproctitle

    setproctitle(name)
    set_process_name(name)


def _run_hooks(phase: str, hooks: tuple[Hook, ...]) -> None:
    for hook in hooks:
        try:
            run_hook(hook.action, hook.argument)
        except HookFailed as error:
            where = f"{hook.where}: " if hook.where else ""
            text = f"{where}hook-{phase} = {shown(hook.action, hook.argument)}: {error}"
            raise HookFailed(text) from error


async def _reign(settings: EmperorSettings, journal: Journal, start_directory: str, outfit: Outfit) -> None:
    loop = asyncio.get_running_loop()
    livery = livery_of(settings, outfit.binary.path)
    emperor = Emperor(
        loop,
        journal,
        settings,
        policy_of(settings, livery),
        livery,
        outfit.binary,
        for_vassals(os.environb),
        outfit.limits,
        outfit.confinement,
        outfit.territory,
        outfit.networks,
        outfit.tuntap_routers,
    )
    sources = Sources(outfit.monitors, emperor.post, emperor.say)
    service = Service(loop, outfit.notifier, lambda: describe(emperor), emperor.say)
    emperor.changed = service.changed
    allegiance = Allegiance.sworn(loop, os.environ, emperor.post)
    commands = None
    if outfit.commands is not None:
        commands = CommandSocket(loop, outfit.commands.socket, emperor.post, emperor.say)
    signals.listen(loop, emperor, sources, service)
    facts = lambda: _facts(settings, start_directory, sources, emperor)  # noqa: E731
    server = StatsServer(emperor.reign, facts, loop.time, emperor.read_usage)
    if outfit.stats is not None:
        await server.serve(outfit.stats.socket, http=settings.stats_http)
    try:
        await server.serve_private()
    except OSError as error:
        journal.write(Severity.WARNING, "statistics", f"'imperator status' cannot reach us: {error.strerror}")
    sources.start()
    journal.write(Severity.NOTICE, "start", _greeting(settings, sources, outfit))
    announced = asyncio.create_task(_announce(emperor, sources, service, allegiance, outfit))
    try:
        await emperor.finished.wait()
        service.stopping()
        await sources.close()
        await emperor.aftermath(Seconds(settings.reload_mercy))
    finally:
        announced.cancel()
        await sources.close()
        await server.close()
        if commands is not None:
            commands.close()
        if allegiance is not None:
            allegiance.close()
        service.close()
        emperor.close()
    journal.write(Severity.NOTICE, "end", "every vassal has ended; so does the Emperor")


async def _announce(
    emperor: Emperor, sources: Sources, service: Service, allegiance: Allegiance | None, outfit: Outfit
) -> None:
    """Once every source was read: say so to whoever waits for it, and look whether there is room for them all."""
    await sources.first_reading.wait()
    service.ready()
    if allegiance is not None:
        allegiance.reigning()
    vassals = len(emperor.reign.vassals)
    needed = vassals * FDS_PER_VASSAL + 100
    emperor.say(Severity.NOTICE, "ready", f"every source was read; vassals: {vassals}")
    if needed > outfit.raised[0]:
        text = (
            f"{vassals} vassals need about {needed} open files and the limit is {outfit.raised[0]}: raise it "
            "(LimitNOFILE= in the systemd unit, or 'ulimit -Hn' before the start)"
        )
        emperor.say(Severity.ERROR, "limit", text)


def describe(emperor: Emperor) -> str:
    """The reign in one line, for the service manager."""
    vassals = emperor.reign.vassals.values()
    down = sum(1 for vassal in vassals if vassal.phase in IDLE_PHASES)
    running = len(emperor.reign.vassals) - down
    if emperor.reign.ending:
        return f"Ragnarok: {running} vassals have not ended yet"
    return f"The Emperor is governing {running} vassals" + (f"; {down} are down" if down else "")


def _greeting(settings: EmperorSettings, sources: Sources, outfit: Outfit) -> str:
    where = ", ".join(source.name for source in sources.all)
    return (
        f"Imperator {__version__} (pid {os.getpid()}, uid {os.geteuid()}) reigns over {where}; "
        f"vassals are {settings.emperor_wrapper or outfit.binary.path}; open files: {outfit.raised[0]}"
    )


def _facts(settings: EmperorSettings, start_directory: str, sources: Sources, emperor: Emperor) -> EmperorFacts:
    import time

    offset = time.time() - emperor.loop.time()
    counts: Mapping[str, int] = _count_by_source(emperor)
    return EmperorFacts(
        version=__version__,
        pid=os.getpid(),
        uid=os.getuid(),
        gid=os.getgid(),
        cwd=start_directory,
        tyrant=settings.emperor_tyrant,
        sources=tuple(
            SourceFacts(source.name, source.trouble or source.handicap, counts.get(source.name, 0))
            for source in sources.all
        ),
        clock_offset=offset,
        usage=emperor.usage,
        networks=emperor.networks(),
    )


def _count_by_source(emperor: Emperor) -> dict[str, int]:
    counts: dict[str, int] = {}
    for vassal in emperor.reign.vassals.values():
        counts[vassal.wanted.source] = counts.get(vassal.wanted.source, 0) + 1
    return counts
