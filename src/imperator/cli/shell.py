"""``imperator shell NAME [COMMAND…]``: a terminal inside a vassal, as the vassal's user.

What runs there has the vassal's namespaces, root, directory, environment, user and groups, and a terminal of its own:
nothing of it can type into ours, and no descriptor of ours is open in it. The size of our window is passed on.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from typing import Final, NoReturn

from imperator.cli.reading import NoAnswer, choose_emperor, fetch
from imperator.kernel.entering import Insides, become, enter_namespaces, insides_of

FAILED: Final = 125
"""The exit code when nothing could be run inside; otherwise it is the command's."""
_SHELL: Final = "/bin/sh"
_NOT_FOR_IT: Final = (b"UWSGI_EMPEROR_FD", b"UWSGI_EMPEROR_FD_CONFIG", b"NOTIFY_SOCKET", b"LISTEN_FDS", b"LISTEN_PID")

_EPILOG: Final = """\
examples:
  imperator shell shop.ini                     a shell in there
  imperator shell shop.ini python3 -m pdb x.py any other program
  imperator shell shop.ini ps aux < /dev/null  without a terminal: plain output, for scripts

Only root can enter another user's vassal. The exit code is the command's; 125: nothing could be run.
"""


def main(argv: Sequence[str]) -> int:
    """Run the sub-command; returns its exit code."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as end:  # --help, or a usage error, already printed
        return end.code if isinstance(end.code, int) else FAILED
    command = options.command or [_SHELL]
    try:
        return _run(_look_into(options.name, options.pid), command)
    except NoAnswer as error:
        print(f"imperator shell: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imperator shell",
        description="Runs a shell, or another command, inside a vassal: its namespaces, directory and user.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pid", type=int, metavar="PID", help="the Emperor with this process number, of several")
    parser.add_argument("name", metavar="NAME", help="the vassal, as imperator status calls it")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help=f"default: {_SHELL}")
    return parser


def _look_into(name: str, emperor_pid: int | None) -> Insides:
    """Raises NoAnswer, with what to do."""
    emperor = choose_emperor(emperor_pid)

    def pid_now() -> int:
        document = fetch(emperor.address, emperor.uid)
        found = next((one for one in document["vassals"] if one["id"] == name), None)
        if found is None:
            raise NoAnswer(f"there is no vassal {name}; 'imperator status' lists them")
        if found["pid"] <= 0:
            raise NoAnswer(f"{name} has no process at the moment: {found.get('why') or found.get('state')}")
        return int(found["pid"])

    pid = pid_now()
    try:
        insides = insides_of(pid)
    except OSError as error:
        hint = ": only root can enter another user's" if isinstance(error, PermissionError) else ""
        raise NoAnswer(f"{name} (pid {pid}) cannot be entered: {error.strerror}{hint}") from error
    if pid_now() != pid:
        raise NoAnswer(f"{name} was just started anew: try again")
    return insides


# -- inside


def _run(insides: Insides, command: Sequence[str]) -> int:
    if not sys.stdin.isatty():
        child = os.fork()
        if child == 0:
            _inside(insides, command, None)
        return _exit_code(os.waitpid(child, 0)[1])
    terminal, theirs = os.openpty()
    _pass_on_size(terminal)
    child = os.fork()
    if child == 0:
        _inside(insides, command, theirs)
    os.close(theirs)
    return _serve_terminal(child, terminal)


def _inside(insides: Insides, command: Sequence[str], terminal: int | None) -> NoReturn:
    """In the child: become like the vassal, and then the command."""
    try:
        enter_namespaces(insides)
        if insides.has_own_pids and (inner := os.fork()):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os._exit(_exit_code(os.waitpid(inner, 0)[1]))
        if terminal is not None:
            os.login_tty(terminal)  # not before: a session of another pid namespace cannot be seen in there
        become(insides)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        environment = {name: value for name, value in insides.environment.items() if name not in _NOT_FOR_IT}
        environment[b"TERM"] = os.fsencode(os.environ.get("TERM", "dumb"))
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        os.write(2, f"imperator shell: {command[0]}: {error.strerror}\n".encode(errors="replace"))
    except BaseException as error:  # noqa: BLE001 (this process must not go on as its parent)
        os.write(2, f"imperator shell: {type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(FAILED)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


# -- outside


def _serve_terminal(child: int, terminal: int) -> int:
    """Pass on what is typed and what is shown, until the command has ended; then our terminal is as before."""
    signal.signal(signal.SIGWINCH, lambda *_: _pass_on_size(terminal))
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what was typed already is for the command
    try:
        _copy(terminal)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    return _exit_code(os.waitpid(child, 0)[1])


def _copy(terminal: int) -> None:
    typing = True
    while True:
        ready, _, _ = select.select([terminal, *([0] if typing else [])], (), ())
        if terminal in ready:
            try:
                shown = os.read(terminal, 65536)
            except OSError:  # EIO: nobody has the other end any more
                return
            if not shown:
                return
            _write_all(1, shown)
        if 0 in ready:
            typed = os.read(0, 65536)
            typing = bool(typed)
            _write_all(terminal, typed or b"\x04")


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _pass_on_size(terminal: int) -> None:
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
