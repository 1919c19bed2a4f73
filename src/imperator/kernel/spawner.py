"""The spawner: a small process that makes vassals, so that the big one never forks.

It runs as a script of its own, ``python -I -S spawner.py CONTROL REPORTS``. It makes processes as children of the
*Emperor* (CLONE_PARENT, clone(2)), so the Emperor is the one that reaps them, and nobody has to trust a pid. It keeps
no file descriptor of a process that it made, for each one would be copied into every child to come; the guardian
(:mod:`.guardian`) does that. When the Emperor is gone it ends.

What it costs is memory pages: a child is a copy, and each page that either of the two writes to is copied by the
kernel, at two microseconds and more (the interpreter writes to every object that it only looks at). So it imports as
little as it can (``_socket``, ``_signal``: the modules with the nicer names bring ``enum`` and a megabyte; what only
some vassals need is in :mod:`.preparation`), whatever can be made ready before the clone is, and a vassal that wants
nothing special goes through a list of calls that was made beforehand.

Rules: it decides nothing; it speaks only to the Emperor (the messages are described in ``court/spawner.py``); between
clone and exec a child does what its request says, and reports what fails.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import ctypes
import errno
import marshal
import os
import resource
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

CLONE_PARENT = 0x00008000
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
SIG_SETMASK = 2
CLOSE_RANGE_CLOEXEC = 1 << 2
SYS_CLOSE_RANGE = 436
SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "loongarch64": 220, "ppc64le": 120}
MSG_CMSG_CLOEXEC = 0x40000000

FIRST_OWN_FD = 16
"""The fds below are kept free for what a vassal is given; the spawner's own are from here on."""
LARGEST_MESSAGE = 128 * 1024
MOST_FDS = 253
"""SCM_MAX_FD of unix(7): fds in one message."""
ANSWERS_AT_ONCE = 8
EXILE = 30
POLLIN = 1
STEPS = (
    "credentials", "before_drop", "commands", "hooks", "chdir_at_last", "namespaces_of", "bounding", "tenancy", "bind",
    "remove_socket", "places", "hardening",
)  # fmt: skip
"""What a child has to go the longer way for; ``None`` or empty: that is not asked for."""

# PyDLL and not CDLL: the interpreter's lock stays held over the call, so the child comes out of clone owning it.
# Two of them: keeping errno costs pages, so the calls of most children do without.
_libc = ctypes.PyDLL(None)
_syscall = _libc.syscall
_prctl = _libc.prctl
_dup2 = _libc.dup2
_setsid = _libc.setsid
_getppid = _libc.getppid
_sigprocmask = _libc.sigprocmask
_execve = _libc.execve
_poll = _libc.poll
_careful = ctypes.PyDLL(None, use_errno=True)
_NO_SIGNALS = ctypes.create_string_buffer(128)
_DIE_WITH_PARENT = (_prctl, (PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))

Call = tuple["Any", tuple["Any", ...]]


def c_strings(strings: list[bytes]) -> Any:
    """A NULL-terminated ``char *[]``."""
    return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)


def c_environment(variables: dict[bytes, bytes]) -> Any:
    return c_strings([key + b"=" + value for key, value in variables.items()])


def load(name: str) -> Any:
    """A module that lies beside this one: there is no package here (``-I``)."""
    module = sys.modules.get(name)
    if module is None:
        from importlib.machinery import SourceFileLoader
        from importlib.util import module_from_spec, spec_from_loader

        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
        loader = SourceFileLoader(name, path)
        spec = spec_from_loader(name, loader)
        assert spec is not None
        module = sys.modules[name] = module_from_spec(spec)
        loader.exec_module(module)
    return module


def places(binary: bytes) -> list[bytes]:
    """Where a program may be: itself, or a name looked for in PATH."""
    if b"/" in binary:
        return [binary]
    return [os.path.join(os.fsencode(directory), binary) for directory in os.get_exec_path()]


class Spawner:
    """The loop: requests in, processes and answers out."""

    def __init__(self, control: int, reports: int) -> None:
        kind = socket.SOCK_SEQPACKET
        self.control = socket.socket(socket.AF_UNIX, kind, 0, control)
        self.reports = socket.socket(socket.AF_UNIX, kind, 0, reports)
        self.devnull = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.environments: dict[int, dict[bytes, bytes]] = {}
        self.c_environments: dict[int, Any] = {}
        """The same, as execve(2) takes them."""
        self.limits = self.limits_now = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.emperor = os.getppid()
        self.emperor_pidfd = os.pidfd_open(self.emperor)
        self.emperor_watched = ctypes.create_string_buffer(struct.pack("ihh", self.emperor_pidfd, POLLIN, 0))
        """A ``struct pollfd``: poll(2)."""
        self.directory = b""
        """Where we are: most vassals start in the same place, so it is gone to before the clone, and seldom."""
        self.clone = (SYS_CLONE[os.uname().machine], CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        self.plugs: Any = None
        """The way to plug vassals into a bridge, once the first is to be: see :mod:`.veth`."""
        self.answers: list[tuple[int, int, str]] = []
        """Not sent yet: while there is work, several go in one message."""

    def serve(self) -> NoReturn:
        buffer = bytearray(LARGEST_MESSAGE)
        room, space = [buffer], socket.CMSG_SPACE(4 * MOST_FDS)
        while True:
            flags = MSG_CMSG_CLOEXEC | (socket.MSG_DONTWAIT if self.answers else 0)
            try:
                size, ancillary, flags, _ = self.control.recvmsg_into(room, space, flags)
            except BlockingIOError:
                self.answer()
                continue
            except ConnectionResetError:
                size = 0
            if not size:
                os._exit(0)  # the Emperor is gone
            fds: list[int] = []
            for _, _, payload in ancillary:
                fds += memoryview(payload)[: len(payload) // 4 * 4].cast("i").tolist()
            what, *message = marshal.loads(buffer)
            if what == "spawn":
                self.answers.append(self.spawn(fds, bool(flags & socket.MSG_CTRUNC), *message))
            else:
                number, variables = message
                self.environments[number] = dict(variables)
                self.c_environments[number] = c_environment(self.environments[number])
            for fd in fds:
                os.close(fd)
            if len(self.answers) >= ANSWERS_AT_ONCE:
                self.answer()

    def answer(self) -> None:
        try:
            self.control.send(marshal.dumps(self.answers))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)  # the Emperor is gone, and so are those who just started: see die_with_emperor
        self.answers.clear()

    def spawn(
        self,
        fds: list[int],
        truncated: bool,
        serial: int,
        environment: int,
        directory: bytes,
        binaries: list[bytes],
        arguments: list[bytes],
        targets: list[list[int]],
        limits: tuple[int, int] | None,
        dies_with_emperor: bool,
        special: dict[str, Any] | None,
    ) -> tuple[int, int, str]:
        """Make one process; the answer for the Emperor."""
        if truncated:
            return serial, -1, "the spawner has no file descriptors left (RLIMIT_NOFILE)"
        straight = special is None or not any(special[step] not in (None, [], b"") for step in STEPS)
        calls = self.calls(fds, targets, dies_with_emperor and straight)
        programs = [(place, c_strings([binary, *arguments])) for binary in binaries for place in places(binary)]
        variables = self.c_environments[environment]
        if special is not None:
            load("preparation")
            if special["before_drop"] or special["hooks"]:
                load("hooks")
            if special["variables"]:
                variables = c_environment(self.environments[environment] | special["variables"])
            load("capabilities")
            if special["tenancy"] is not None:
                load("tenancy")
            if special["bind"] or special["remove_socket"]:
                load("sockets")
            if special["places"]:
                load("cgroup")
            if special["hardening"] is not None:
                load("hardening").load_all(load, special["hardening"])
            if special["network"] is not None:
                load("interfaces")
        refusal = None
        try:
            if (limits := limits or self.limits) != self.limits_now:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                self.limits_now = limits
            if special is None or special["credentials"] is None:
                refusal = self.go_to(directory)
        except OSError as error:
            return serial, -1, str(error.strerror)
        jail = None
        if special is not None and special["clone_flags"]:
            plug = None
            if special["network"] is not None and special["network"]["address"] is not None:
                plug = self.plug_of(special["network"])
            requests = [] if special["network"] is None else load("interfaces").requests(special["network"])
            jail = load("jail").Jail(special["clone_flags"], plug, requests)
            pid = jail.clone(self.clone)
        else:
            pid = _careful.syscall(*self.clone)
        if pid < 0:
            return serial, -1, os.strerror(ctypes.get_errno()) + ("" if jail is None else jail.hint())
        if pid > 0:
            return serial, pid, ""
        # -- the child
        for call, values in calls:
            call(*values)
        if refusal is None and straight and (jail is None or jail.settle_straight()):
            # In a pid namespace of its own a child has no parent, but everywhere it can see whether the Emperor lives.
            lives = _getppid() == self.emperor if jail is None else not _poll(self.emperor_watched, 1, 0)
            if lives or not dies_with_emperor:
                _sigprocmask(SIG_SETMASK, _NO_SIGNALS, None)  # what was sent to this child meanwhile arrives here
                for place, argv in programs:
                    _execve(place, argv, variables)
        special_or_failed = (environment, directory, binaries, programs, variables, dies_with_emperor, special)
        return self.longer_way(serial, jail, *special_or_failed)

    def plug_of(self, network: dict[str, Any]) -> Callable[[int], None]:
        """What plugs a process's network namespace into the bridge."""
        if self.plugs is None:
            self.plugs = load("veth").Plugs()
        plugs = self.plugs
        return lambda pid: plugs.plug(pid, network)

    def calls(self, fds: list[int], targets: list[list[int]], dies_with_emperor: bool) -> list[Call]:
        """What every child does first, made ready: a session of its own, and no file descriptor but its own.

        None of these fails: the fds are ours, the targets are below them.
        """
        last = 2
        calls: list[Call] = [(_setsid, ()), (_dup2, (self.devnull, 0))]
        for fd, numbers in zip(fds, targets, strict=True):
            for number in numbers:
                calls.append((_dup2, (fd, number)))
                last = max(last, number)
        calls.append((_syscall, (SYS_CLOSE_RANGE, last + 1, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)))
        if dies_with_emperor:
            calls.append(_DIE_WITH_PARENT)
        return calls

    def longer_way(
        self,
        serial: int,
        jail: Any,
        environment: int,
        directory: bytes,
        binaries: list[bytes],
        programs: list[tuple[bytes, Any]],
        variables: Any,
        dies_with_emperor: bool,
        special: dict[str, Any] | None,
    ) -> NoReturn:
        """The rest of a child's way to its exec where there is something special, or something has failed."""
        preparation = load("preparation")
        code = 1
        try:
            if special is not None and special["places"]:
                preparation.join(special["places"])  # before all else: nothing of it ever runs outside
            if jail is not None:
                jail.settle()
            if special is not None and special["network"] is not None:
                load("interfaces").settle(special["network"])
            if special is None or special["credentials"] is None:
                preparation.enter(directory)  # known already, but for the reason if it cannot be
            if special is not None:
                own = self.environments[environment] | special["variables"]
                die = self.die_with_emperor if dies_with_emperor else int
                preparation.prepare(
                    {**special, "directory": directory}, own, die, lambda text: self.report(serial, text)
                )
            elif dies_with_emperor:
                self.die_with_emperor()
            _sigprocmask(SIG_SETMASK, _NO_SIGNALS, None)
            if programs:
                code = EXILE
                self.execute(binaries, programs, variables)
            code = 0
        except SystemExit as end:  # a hook's "exit"
            code = end.code if isinstance(end.code, int) else 0
        except preparation.Exiled as failure:
            code = EXILE
            self.report(serial, str(failure))
        except preparation.Failed as failure:
            self.report(serial, str(failure))
        except BaseException as error:  # noqa: BLE001 (nothing may unwind into the spawner's own loop)
            self.report(serial, f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def die_with_emperor(self) -> None:
        call, values = _DIE_WITH_PARENT
        call(*values)
        import select

        emperor = select.poll()  # its pid would not do: in a pid namespace of our own we have no parent
        emperor.register(self.emperor_pidfd, select.POLLIN)
        if emperor.poll(0):  # it died before that was set
            os._exit(1)

    def execute(self, binaries: list[bytes], programs: list[tuple[bytes, Any]], variables: Any) -> None:
        """Become the first of the programs that can be executed; returns only by raising ``Failed``."""
        codes: dict[bytes, int] = {}
        for place, argv in programs:
            _careful.execve(place, argv, variables)
            code = ctypes.get_errno()
            name = bytes(argv[0])
            if codes.get(name) in (None, errno.ENOENT, errno.ENOTDIR):
                codes[name] = code
        obstacles = load("obstacles")
        reasons = [obstacles.why_not_executed(name, OSError(code, os.strerror(code))) for name, code in codes.items()]
        raise load("preparation").Failed("nothing could be executed: " + "; ".join(reasons))

    def go_to(self, directory: bytes) -> str | None:
        """Go to the directory that the child is to start in; why that cannot be, if so."""
        if directory != self.directory:
            try:
                os.chdir(directory)
            except OSError as error:
                return str(error.strerror)
            self.directory = directory
        return None

    def report(self, serial: int, text: str) -> None:
        """Tell the Emperor why; should that fail, its log has the exit code at least."""
        try:
            self.reports.send(marshal.dumps((serial, text[:2000])), socket.MSG_DONTWAIT)
        except OSError as error:
            os.write(2, f"imperator: could not report: {text} ({error})\n".encode(errors="replace"))


def main(argv: list[str]) -> NoReturn:
    _prctl(PR_SET_NAME, b"imperator-spawn", 0, 0, 0)
    # Signals are meant for the Emperor. Blocked and not ignored, for a child would inherit "ignored" through exec;
    # and Python itself ignores these two.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP})
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    own = []
    import fcntl

    for inherited in argv[1:3]:
        own.append(fcntl.fcntl(int(inherited), fcntl.F_DUPFD_CLOEXEC, FIRST_OWN_FD))
        os.close(int(inherited))
    # Fill the numbers below, so that whatever arrives is above what a vassal is given.
    while (fd := os.open("/dev/null", os.O_RDWR)) < FIRST_OWN_FD:
        pass
    os.close(fd)
    spawner = Spawner(*own)
    import gc

    gc.freeze()
    gc.disable()
    spawner.serve()


if __name__ == "__main__":
    main(sys.argv)
