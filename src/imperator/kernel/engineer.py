"""The engineer: a small process that builds the bridge of ``vassal-net`` and takes away what is no longer needed.

It runs as a script of its own, ``python -I -S engineer.py SOCKET EMPEROR PLAN PATH…`` (the directories where packages
are, since netlink is pyroute2's). It has the bridge and the way out of it; the spawner plugs vassals in, for nobody
else knows their processes in time; the Emperor names the interfaces of those that have ended, and it removes them, so
that neither the Emperor nor the spawner waits for that.

When the Emperor is gone, in whatever way, it takes the bridge away and ends.

Rules: it decides nothing. It says ``("ready", index of the bridge, note)`` or ``("refused", 0, why)`` first,
and later ``("trouble", 0, what)``.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import json
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def serve(emperor: Any, bridge: Any) -> None:
    """Unplug whoever has ended, until the Emperor is gone."""
    while True:
        try:
            data = emperor.recv(4096)
        except ConnectionResetError:
            return
        if not data:
            return
        try:
            # The kernel would see to it, but not as long as anybody holds on to the namespace.
            bridge.unplug(marshal.loads(data))
        except OSError as error:
            tell(emperor, "trouble", f"an interface cannot be removed: {error.strerror or error}")


def tell(emperor: Any, what: str, text: str, bridge: int = 0) -> None:
    try:
        emperor.send(marshal.dumps((what, bridge, text)), socket.MSG_DONTWAIT)
    except OSError as error:  # it is gone, or has hundreds of messages to read
        os.write(2, f"imperator: could not tell: {text} ({error})\n".encode(errors="replace"))


def main(argv: list[str]) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP})
    control, emperor, plan, *paths = argv[1:]
    os.set_inheritable(int(control), False)
    sys.path[1:1] = paths
    from imperator.kernel.bridge import open_bridge

    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, int(control))
    try:
        bridge, note = open_bridge(json.loads(plan), int(emperor))
    except (OSError, ImportError) as error:
        tell(line, "refused", str(getattr(error, "strerror", None) or error))
        os._exit(1)
    tell(line, "ready", note or "", bridge.index)
    serve(line, bridge)
    bridge.remove()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
