"""Work on somebody's file in a process of its own: with that somebody's rights, and only so much time and memory.

What is written in the file can then do no more than its owner could, and a file made to hang or to burst takes the
process with it and nothing else. Questions and answers are JSON, each after its length in 4 bytes: an answer comes from
where a stranger's text was read, so it is never unpickled.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from imperator.cli.access import Person
from imperator.kernel.credentials import groups_of

Work = Callable[[Any], Any]

SECONDS: Final = 10.0
"""Of processor time, for one question."""
PATIENCE: Final = 60.0
"""Seconds by the clock until it is taken for hanging (a file system that does not answer)."""
MEMORY: Final = 512 << 20
"""Bytes more than now."""
_LONGEST_ANSWER: Final = 4 << 20
_MOST_PROCESSES: Final = 32


class GaveUp(Exception):
    """There is no answer; the text says why."""


@dataclass(slots=True)
class _Process:
    pid: int
    pidfd: int
    questions: int
    answers: int


class Apart:
    """One process for each reader, kept for the next question. ``work`` answers, in there."""

    def __init__(self, work: Work, seconds: float = SECONDS, patience: float = PATIENCE) -> None:
        self._work = work
        self._seconds = seconds
        self._patience = patience
        self._processes: dict[Person | None, _Process] = {}

    def ask(self, question: object, reader: Person | None) -> Any:
        """The answer, worked out with ``reader``'s rights (``None``: our own). Raises GaveUp."""
        process = self._processes.pop(reader, None) or self._start(reader)
        try:
            _send(process.questions, question)
            answer = _receive(process.answers, self._patience)
        except (OSError, EOFError, ValueError) as error:
            raise GaveUp(self._end(process, killed=not isinstance(error, EOFError | BrokenPipeError))) from error
        self._processes[reader] = process
        if answer["gave_up"] is not None:
            raise GaveUp(answer["gave_up"])
        return answer["answer"]

    def close(self) -> None:
        """End them all."""
        for process in self._processes.values():
            self._end(process)
        self._processes.clear()

    def _start(self, reader: Person | None) -> _Process:
        if len(self._processes) >= _MOST_PROCESSES:
            self._end(self._processes.pop(next(iter(self._processes))))
        question_out, question_in = os.pipe()
        answer_out, answer_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._be_apart(reader, question_out, answer_in)
        os.close(question_out)
        os.close(answer_in)
        return _Process(pid, os.pidfd_open(pid), question_in, answer_out)

    def _be_apart(self, reader: Person | None, questions: int, answers: int) -> NoReturn:
        """The other process's whole life."""
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            first, second = sorted((questions, answers))
            os.closerange(3, first)
            os.closerange(first + 1, second)
            os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
            gc.freeze()  # looking through what was there before would copy it
            refused = None if reader is None else _become(reader)
            _limit_memory()
            while True:
                question = _receive(questions, None)
                signal.setitimer(signal.ITIMER_PROF, self._seconds)  # its signal ends the process
                answer, gave_up = self._answer(question) if refused is None else (None, refused)
                signal.setitimer(signal.ITIMER_PROF, 0)
                _send(answers, {"answer": answer, "gave_up": gave_up})
        except (EOFError, BrokenPipeError):
            code = 0
        finally:
            os._exit(code)

    def _answer(self, question: object) -> tuple[Any, str | None]:
        try:
            return self._work(question), None
        except MemoryError:
            return None, f"it takes more than {MEMORY >> 20} MB of memory"
        except Exception as error:  # noqa: BLE001 - the other files are still to be looked at, and it is told
            return None, f"a mistake of imperator's own, please report it: {type(error).__name__}: {error}"

    def _end(self, process: _Process, *, killed: bool = False) -> str:
        """Let it end, and say how it did."""
        os.close(process.questions)
        os.close(process.answers)
        if killed:
            signal.pidfd_send_signal(process.pidfd, signal.SIGKILL)
        ended, _, _ = select.select([process.pidfd], [], [], self._patience)
        os.close(process.pidfd)
        if not ended:  # not even SIGKILL ends what hangs in a dead file system: it is left behind
            return f"nothing came of it in {self._patience:g} seconds: does the file system hang?"
        code = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        if killed:
            return f"nothing came of it in {self._patience:g} seconds: does the file system hang?"
        if code == -signal.SIGPROF:
            return f"it takes more than {self._seconds:g} seconds of the processor's time"
        return f"the process that was reading it ended with {code}"


def _become(reader: Person) -> str | None:
    """Be the reader for good; what keeps us from it, if something does."""
    try:
        os.setgroups(groups_of(reader.uid, reader.gid) if reader.initgroups else [])
        os.setresgid(reader.gid, reader.gid, reader.gid)
        os.setresuid(reader.uid, reader.uid, reader.uid)
    except OSError as error:
        return f"it can be read only as {reader}, and we cannot become that: {error.strerror}"
    return None


def _limit_memory() -> None:
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _send(fd: int, message: object) -> None:
    data = json.dumps(message).encode()
    view = memoryview(len(data).to_bytes(4, "little") + data)
    while view:
        view = view[os.write(fd, view) :]


def _receive(fd: int, patience: float | None) -> Any:
    size = int.from_bytes(_exactly(fd, 4, patience), "little")
    if size > _LONGEST_ANSWER:
        raise ValueError("an answer that is too long")
    return json.loads(_exactly(fd, size, patience))


def _exactly(fd: int, size: int, patience: float | None) -> bytes:
    parts = []
    while size:
        if patience is not None and not select.select([fd], [], [], patience)[0]:
            raise TimeoutError
        part = os.read(fd, min(size, 1 << 16))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
