"""Runs the original for many cases: loaded once, then forked for each. A start of its own costs ten times as much.

A program of its own (``python original.py END``). Each line of its standard input is a case as JSON: ``argv``,
``directory``, ``environ``. Its standard output has a line for each: ``code`` (negative: a signal) and ``output``. It
does not wait for more of a case than ``END`` (in what it prints), since the original then goes on to start its server.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

PROCESSOR_TIME = 0.5
"""Seconds: some files make the original run for ever. Others cost it a hundredth of that."""
MEMORY = 1 << 30
PATIENCE = 20.0
"""Seconds of wall time."""


def limit() -> None:
    """In the process that will be the original."""
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_TIME)  # setitimer(2): it outlives an exec, and its signal ends us
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _become(case: dict[str, Any], output: int) -> None:
    import pyuwsgi  # type: ignore[import-not-found]

    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, 1024)
    limit()
    os.chdir(case["directory"])
    os.environ.clear()
    os.environ.update(case["environ"])
    pyuwsgi.run(case["argv"])


def _answer(case: dict[str, Any], end: bytes) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(case, writing)
        finally:
            os._exit(127)
    os.close(writing)
    output = b""
    deadline = time.monotonic() + PATIENCE
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reading, 1 << 16)
        output += part
        if not part or end in output:
            break
    else:
        os.killpg(child, signal.SIGKILL)
    if end in output:
        os.killpg(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "output": output.decode(errors="surrogateescape")}


def _main() -> None:
    import pyuwsgi  # noqa: F401 (loaded before the forks)

    end = sys.argv[1].encode()
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), end)), flush=True)


if __name__ == "__main__":
    _main()
