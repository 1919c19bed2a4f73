"""The spawner: a small process that makes vassals, so that the big one never forks.

It runs as a script of its own, ``python -I -S spawner.py CONTROL REPORTS``, and imports as little as it can: what it
forks is copied, so each page it does not have is time saved at each spawn (hence ``_socket``, ``_signal``: the modules
with the nicer names bring ``enum`` and a megabyte). For the same reason whatever can be made ready before the clone is:
each page that the child writes to is a copy. It makes processes as children of the
*Emperor* (CLONE_PARENT, clone(2)), so the Emperor is the one that reaps them, and nobody has to trust a pid.

It keeps no file descriptor of a process that it made, for each one would be copied into every child to come; the
guardian (:mod:`.guardian`) does that. When the Emperor is gone it ends.

Rules: it decides nothing; it speaks only to the Emperor (the requests are described in ``court/spawner.py``); between
clone and exec a child does what its request says, in the order of :meth:`Spawner.prepare`, and reports what fails.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import ctypes
import errno
import marshal
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

CLONE_PARENT = 0x00008000
PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
CLOSE_RANGE_CLOEXEC = 1 << 2
SYS_CLOSE_RANGE = 436
SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "loongarch64": 220, "ppc64le": 120}
MSG_CMSG_CLOEXEC = 0x40000000

FIRST_OWN_FD = 16
"""The fds below are kept free for what a vassal is given; the spawner's own are from here on."""
LARGEST_MESSAGE = 128 * 1024
MOST_FDS = 253
"""SCM_MAX_FD of unix(7): fds in one message."""
EXILE = 30

# PyDLL and not CDLL: the interpreter's lock stays held over the call, so the child comes out of clone owning it.
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_prctl = _libc.prctl
_execve = _libc.execve
_sigprocmask = _libc.sigprocmask
_setsid = _libc.setsid
_NO_SIGNALS = ctypes.create_string_buffer(128)
SIG_SETMASK = 2
_hooks: Any = None


def c_strings(strings: list[bytes]) -> Any:
    """A NULL-terminated ``char *[]``."""
    return (ctypes.c_char_p * (len(strings) + 1))(*strings, None)


def clone_into_emperor(number: int) -> int:
    """clone(2) a sibling: 0 in the child, its pid in the spawner. Raises OSError."""
    flags = CLONE_PARENT | signal.SIGCHLD
    pid = _syscall(number, flags, 0, 0, 0, 0)
    if pid < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(pid)


def obstacle(path: bytes) -> str | None:
    """What keeps the calling user from ``path``: the first directory that may not be entered, or what is missing."""
    parts = os.path.abspath(path).split(b"/")
    for count in range(1, len(parts)):
        directory = b"/".join(parts[:count]) or b"/"
        shown = os.fsdecode(directory)
        if not os.path.isdir(directory):
            return f"{shown} is not there"
        if not os.access(directory, os.X_OK):
            return f"uid {os.geteuid()} may not enter {shown} (chmod o+x it, or install elsewhere)"
    if not os.path.exists(path):
        return f"{os.fsdecode(path)} is not there"
    if not os.access(path, os.X_OK):
        return f"uid {os.geteuid()} may not execute {os.fsdecode(path)}"
    return None


def why_not_executed(path: bytes, error: OSError) -> str:
    """An execve(2) error in words, down to the directory or the ``#!`` interpreter that stops it."""
    text = f"{os.fsdecode(path)}: {error.strerror}"
    if b"/" not in path:
        return text + " (looked for in PATH)" if error.errno == errno.ENOENT else text
    if error.errno not in (errno.EACCES, errno.ENOENT, errno.ENOTDIR):
        return text
    reason = obstacle(path)
    if reason is None:
        try:
            with open(path, "rb") as file:
                line = file.readline(4096)
        except OSError:
            return text
        if line.startswith(b"#!") and line[2:].split():
            interpreter = line[2:].split()[0]
            stopped = obstacle(interpreter)
            reason = f"its interpreter: {stopped}" if stopped else None
    return f"{text}: {reason}" if reason else text


class Failed(Exception):
    """A step of the child's preparation failed: ``text`` is for a person."""


def run_hooks(hooks: list[tuple[str, str]], phase: str) -> None:
    """Run the hooks of a phase in this process; the first that fails ends it."""
    global _hooks
    if not hooks:
        return
    if _hooks is None:
        from importlib.machinery import SourceFileLoader
        from importlib.util import module_from_spec, spec_from_loader

        loader = SourceFileLoader("hooks", os.path.join(os.path.dirname(os.path.abspath(__file__)), "hooks.py"))
        spec = spec_from_loader("hooks", loader)
        assert spec is not None
        _hooks = module_from_spec(spec)
        sys.modules["hooks"] = _hooks
        loader.exec_module(_hooks)
    for action, argument in hooks:
        try:
            _hooks.run_hook(action, argument)
        except (OSError, _hooks.HookFailed) as error:
            raise Failed(f"{phase} hook {action}:{argument}: {error}") from error


def run_command(command: list[bytes]) -> str | None:
    """Run a program and wait for it; ``None``: it exited with 0."""
    try:
        pid = os.posix_spawnp(command[0], command, os.environb)
    except OSError as error:
        return f"{os.fsdecode(command[0])}: {error.strerror}"
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if code == 0 else f"{os.fsdecode(command[0])} ended with {code}"


class Spawner:
    """The loop: requests in, processes and answers out."""

    def __init__(self, control: int, reports: int) -> None:
        kind = socket.SOCK_SEQPACKET
        self.control = socket.socket(socket.AF_UNIX, kind, 0, control)
        self.reports = socket.socket(socket.AF_UNIX, kind, 0, reports)
        self.devnull = os.open("/dev/null", os.O_RDWR)
        self.environments: dict[int, dict[bytes, bytes]] = {}
        self.c_environments: dict[int, Any] = {}
        """The same, as execve(2) takes them."""
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.emperor = os.getppid()
        self.directory = b""
        """Where we are: most vassals start in the same place, so it is gone to before the clone, and seldom."""
        self.clone_number = SYS_CLONE[os.uname().machine]

    def serve(self) -> NoReturn:
        while True:
            self.receive()

    def receive(self) -> None:
        try:
            data, ancillary, flags, _ = self.control.recvmsg(
                LARGEST_MESSAGE, socket.CMSG_SPACE(4 * MOST_FDS), MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            data, ancillary, flags = b"", [], 0
        fds: list[int] = []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds += memoryview(payload)[: len(payload) // 4 * 4].cast("i").tolist()
        if not data:
            os._exit(0)  # the Emperor is gone
        message = marshal.loads(data)
        if message[0] == "spawn":
            self.spawn(message[1], fds, truncated=bool(flags & socket.MSG_CTRUNC))
        elif message[0] == "environment":
            self.environments[message[1]] = dict(message[2])
            self.c_environments[message[1]] = self.c_environment(self.environments[message[1]])
        for fd in fds:
            os.close(fd)

    def spawn(self, request: dict[str, Any], fds: list[int], truncated: bool) -> None:
        serial = request["serial"]
        arguments = [(binary, c_strings([binary, *request["arguments"]])) for binary in request["binaries"]]
        if request["variables"]:
            environment = self.c_environment(self.environment(request))
        else:
            environment = self.c_environments[request["environment"]]
        try:
            if truncated:
                raise OSError(errno.EMFILE, "the spawner has no file descriptors left (RLIMIT_NOFILE)")
            resource.setrlimit(resource.RLIMIT_NOFILE, request["limits"] or self.limits)
            refusal = None if request["credentials"] else self.refused_entry(request["directory"])
            pid = clone_into_emperor(self.clone_number)
        except OSError as error:
            self.control.send(marshal.dumps((serial, -1, str(error.strerror))))
            return
        if pid == 0:
            self.child(request, fds, arguments, environment, refusal)
        self.control.send(marshal.dumps((serial, pid, "")))

    def child(
        self, request: dict[str, Any], fds: list[int], arguments: list[Any], environment: Any, refusal: str | None
    ) -> NoReturn:
        """What happens between clone and exec, in this order."""
        code = 1
        try:
            if refusal is not None:
                raise Failed(refusal)
            self.prepare(request, fds)
            _sigprocmask(SIG_SETMASK, _NO_SIGNALS, None)  # what was sent to this child meanwhile arrives here
            if arguments:
                code = EXILE
                self.execute(arguments, environment)
            code = 0
        except Failed as failure:
            self.report(request["serial"], str(failure))
        except BaseException as error:  # noqa: BLE001 (nothing may unwind into the spawner's own loop)
            self.report(request["serial"], f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def prepare(self, request: dict[str, Any], fds: list[int]) -> None:
        if request["runs_something"]:  # hooks and commands see the vassal's environment; exec is given it anyway
            os.environb.clear()
            os.environb.update(self.environment(request))
        _setsid()
        for fd, targets in zip(fds, request["targets"], strict=True):
            for target in targets:
                os.dup2(fd, target)
        if request["stdin_is_null"]:
            os.dup2(self.devnull, 0)
        _syscall(SYS_CLOSE_RANGE, request["first_closed"], 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
        run_hooks(request["before_drop"], "as-vassal-before-drop")
        if request["namespaces_of"]:
            self.enter_namespaces(request["namespaces_of"])
        self.drop(request["credentials"])
        if request["dies_with_emperor"]:
            # After the drop: a change of credentials would clear it. And the Emperor may have died before it was set.
            _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != self.emperor:
                os._exit(1)
        if request["credentials"]:
            self.enter(request["directory"])  # not before: the vassal's user has to be allowed to
        for command in request["commands"]:
            failure = run_command(command)
            if failure is not None:
                self.report(request["serial"], failure)
        run_hooks(request["hooks"], request["phase"])
        if request["chdir_at_last"]:
            try:
                os.chdir(request["chdir_at_last"])
            except OSError as error:
                shown = os.fsdecode(request["chdir_at_last"])
                self.report(request["serial"], f"emperor-chdir-attr: cannot enter {shown}: {error.strerror}")
                os._exit(EXILE)

    def environment(self, request: dict[str, Any]) -> dict[bytes, bytes]:
        """The environment that most vassals share, and what this one has of its own."""
        own: dict[bytes, bytes] = request["variables"]
        return self.environments[request["environment"]] | own

    @staticmethod
    def c_environment(variables: dict[bytes, bytes]) -> Any:
        return c_strings([key + b"=" + value for key, value in variables.items()])

    @staticmethod
    def enter(directory: bytes) -> None:
        try:
            os.chdir(directory)
        except OSError as error:
            raise Failed(f"cannot enter {os.fsdecode(directory)}: {error.strerror}") from error

    def refused_entry(self, directory: bytes) -> str | None:
        """Go to the directory that the child is to start in; why that cannot be, if so."""
        if directory != self.directory:
            try:
                self.enter(directory)
            except Failed as failure:
                return str(failure)
            self.directory = directory
        return None

    @staticmethod
    def drop(credentials: tuple[int, int, list[int]] | None) -> None:
        """Become the vassal's user, for good: no group, no capability and no way back stays (credentials(7))."""
        if credentials is None:
            return
        uid, gid, groups = credentials
        if uid == 0 or gid == 0:
            raise Failed(f"refusing to run a tyrant's vassal as uid {uid}, gid {gid}")
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)

    @staticmethod
    def enter_namespaces(pid: int) -> None:
        """setns(2) into every namespace of ``pid`` that is not our own."""
        for kind in ("ipc", "uts", "net", "pid", "cgroup", "mnt"):
            theirs, ours = f"/proc/{pid}/ns/{kind}", f"/proc/self/ns/{kind}"
            if os.stat(theirs).st_ino != os.stat(ours).st_ino:
                fd = os.open(theirs, os.O_RDONLY | os.O_CLOEXEC)
                if _libc.setns(fd, 0) != 0:
                    raise Failed(f"cannot enter the {kind} namespace: {os.strerror(ctypes.get_errno())}")
                os.close(fd)

    @staticmethod
    def execute(arguments: list[tuple[bytes, Any]], environment: Any) -> None:
        """Become the first of the binaries that can be executed; returns only by raising ``Failed``."""
        reasons = []
        for binary, argv in arguments:
            places = [binary]
            if b"/" not in binary:
                places = [os.path.join(os.fsencode(directory), binary) for directory in os.get_exec_path()]
            for place in places:
                _execve(place, argv, environment)
                code = ctypes.get_errno()
                if code not in (errno.ENOENT, errno.ENOTDIR):
                    break
            reasons.append(why_not_executed(binary, OSError(code, os.strerror(code))))
        raise Failed("nothing could be executed: " + "; ".join(reasons))

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
