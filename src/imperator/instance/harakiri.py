"""``harakiri``: a request that takes longer ends its worker, and nobody else's request ends with it.

A thread of Python cannot be stopped from outside, so the whole process has to end. But its other requests, and those
that it has accepted already, are innocent: it takes no new ones, answers those, and ends when only the condemned are
left; after as long again as ``harakiri`` allows at the latest, for then they are condemned themselves.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from types import FrameType

from imperator.instance.keeper import Keeper
from imperator.instance.loyalty import Count, Progress, Running

Say = Callable[[str], None]

_QUIET = 0.05
"""Seconds without a change after which nothing is waiting for a thread any more."""
_LOOK_AT_REST = 0.02
"""Seconds between two looks whether only the condemned are left."""


class Harakiri:
    """Watches over the requests of one worker. Belongs to the keeper's thread."""

    def __init__(self, progress: Progress, limit: float, keeper: Keeper, say: Say, *, verbose: bool) -> None:
        self._progress = progress
        self._limit = limit
        self._keeper = keeper
        self._say = say
        self._verbose = verbose
        self._condemned: set[int] = set()
        self._deadline = 0.0
        self._seen = Count(0, 0)
        self._quiet_since = 0.0
        self.on_condemned: Callable[[int], None] = lambda count: None
        """So many more requests will not end."""
        self.on_first: Callable[[], None] = lambda: None
        """The worker has to end: it must take no more requests."""
        self.on_alone: Callable[[], None] = lambda: None
        """Only the condemned are left: end now."""

    def watch(self) -> None:
        """From now on."""
        self._look()

    def _look(self) -> None:
        now = time.monotonic()
        ages = [now - one.since for one in self._progress.running() if one.number not in self._condemned]
        self._condemn(now)
        # Whatever begins later cannot be late any earlier than this.
        oldest = max((age for age in ages if age <= self._limit), default=0.0)
        self._keeper.after(self._limit - oldest + 0.01, self._look)

    def _condemn(self, now: float) -> None:
        late = [running for running in self._progress.running() if now - running.since > self._limit]
        new = [running for running in late if running.number not in self._condemned]
        if not new:
            return
        for running in new:
            self._report(running, now)
        is_first = not self._condemned
        self._condemned.update(running.number for running in new)
        self.on_condemned(len(new))
        if is_first:
            self._deadline = now + self._limit
            self._quiet_since = now
            self.on_first()
            self._look_at_rest()

    def _report(self, running: Running, now: float) -> None:
        frame = sys._current_frames().get(running.thread)
        at = f", at {where(frame)}" if frame is not None else ""
        self._say(f"harakiri: {running.request} has taken {now - running.since:.0f} s, which is too long{at}")
        if self._verbose and frame is not None:
            self._say("".join(traceback.format_stack(frame)).rstrip())

    def _look_at_rest(self) -> None:
        now = time.monotonic()
        count = self._progress.count()
        if count != self._seen:
            self._seen, self._quiet_since = count, now
        left = {running.number for running in self._progress.running()} - self._condemned
        if (not left and now - self._quiet_since >= _QUIET) or now >= self._deadline:
            self.on_alone()
        else:
            self._keeper.after(_LOOK_AT_REST, self._look_at_rest)


def where(frame: FrameType) -> str:
    """``file:line in function: source`` of the innermost frame that is the application's own."""
    from imperator.instance.blame import Frame, owner_of

    found: list[Frame] = []
    innermost: FrameType | None = frame
    while innermost is not None:
        code = innermost.f_code
        owner = owner_of(code.co_filename, str(innermost.f_globals.get("__name__", "")))
        found.append(Frame(code.co_filename, innermost.f_lineno, code.co_name, owner))
        innermost = innermost.f_back
    for wanted in ("user", "package"):
        for one in found:
            if one.owner == wanted:
                return str(one)
    return str(found[0])
