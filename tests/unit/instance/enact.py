"""Takes an instance through its phases, for a test: ``enact.py FILE``, where FILE holds the pickled settings.

It tells what it did as JSON lines on fd 1 (what it says goes to fd 2, like an instance's), serves nothing, and ends.
With ``wait`` it waits for the end of its standard input first; with ``reload`` it executes itself anew once; with
``log`` it fills its log.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
from pathlib import Path
from typing import Any

from imperator.config.errors import ConfigurationError
from imperator.instance import patch
from imperator.instance.phases import Phases


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def status() -> dict[str, str]:
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    every = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {key: every[key].strip() for key in ("Uid", "Gid", "Groups", "CapPrm", "CapEff", "CapAmb", "Umask", "NSpid")}


def write_log(phases: Phases, todo: tuple[str, ...]) -> None:
    """Fill the log, and look after it in the middle: two processes at the same moment, with ``twice``."""
    assert phases.traces.log is not None
    ours, theirs = socket.socketpair()
    child = os.fork() if "twice" in todo else -1
    for number in range(200):
        print(f"line {number} " + "x" * 20, file=sys.stderr, flush=True)
        if number == 100:
            if child >= 0:  # wait for each other
                (ours if child else theirs).send(b"!")
                (ours if child else theirs).recv(1)
            phases.traces.log.look()
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)


def main() -> None:
    settings, arguments, todo = pickle.loads(Path(sys.argv[1]).read_bytes())
    phases = Phases(settings, arguments, os.environ, say)
    try:
        live(phases, todo)
    except ConfigurationError as error:
        say(str(error))
        sys.exit(1)


def live(phases: Phases, todo: tuple[str, ...]) -> None:
    listening = phases.prepare()
    try:
        tell(
            pid=os.getpid(),
            reload=phases.is_reload,
            listening=[
                {
                    "address": one.asked.address,
                    "protocol": one.asked.protocol,
                    "option": one.asked.option,
                    "name": str(one.socket.getsockname()),
                    "inode": os.fstat(one.socket.fileno()).st_ino,
                    "inheritable": one.socket.get_inheritable(),
                    "blocking": one.socket.getblocking(),
                    "ours": one.file is not None,
                }
                for one in listening
            ],
            status=status(),
            cwd=os.getcwd(),
        )
        phases.before_application()
        say("the application is loaded")
        phases.after_application()
        phases.accepting(first_time=True)
        if "log" in todo:
            write_log(phases, todo)
        if "wait" in todo:
            os.read(0, 1)
        if "reload" in todo and not phases.is_reload:
            phases.run_exit_hooks()
            patch.become_ourselves([sys.executable, *sys.argv], listening, os.environ)
    finally:
        phases.at_exit()


if __name__ == "__main__":
    main()
