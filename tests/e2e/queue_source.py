"""A third party's monitor, installed as its package would be: configurations that no file holds."""

from __future__ import annotations

import os
from pathlib import Path

MONITOR = '''
import asyncio
from imperator.monitors.api import Changed, Gone, Listing
from imperator.reign.names import SourceName, VassalName
from imperator.reign.wanted import Wanted


class QueueMonitor:
    """What is written to a FIFO, line by line: NAME TEXT, or NAME alone when it is to go."""

    def __init__(self, argument, options):
        self.name = SourceName("queue")
        self.path = argument

    def scan_soon(self):
        pass

    async def news(self):
        yield Listing(())
        for stamp in range(1000):
            line = await asyncio.to_thread(lambda: open(self.path).read())
            name, _, text = line.strip().partition(" ")
            if text:
                config = ("[uwsgi]\\n" + text + "\\n").encode()
                yield Changed(Wanted(VassalName(name), self.name, (stamp,), float(stamp), "/tmp", config=config))
            elif name == "end":
                return
            else:
                yield Gone(VassalName(name))
'''


def queue_source(place: Path) -> tuple[Path, dict[str, str]]:
    """The FIFO to watch as ``queue://FIFO`` and to write to, and the environment in which the monitor is found."""
    plugin = place / "plugin"
    (plugin / "queue_monitor-1.dist-info").mkdir(parents=True)
    (plugin / "queue_monitor-1.dist-info" / "METADATA").write_text("Name: queue-monitor\nVersion: 1\n")
    points = "[imperator.monitors]\nqueue = queue_monitor:QueueMonitor\n"
    (plugin / "queue_monitor-1.dist-info" / "entry_points.txt").write_text(points)
    (plugin / "queue_monitor.py").write_text(MONITOR)
    fifo = place / "fifo"
    os.mkfifo(fifo)
    path = os.pathsep.join(filter(None, (str(plugin), os.environ.get("PYTHONPATH"))))
    return fifo, {"PYTHONPATH": path}
