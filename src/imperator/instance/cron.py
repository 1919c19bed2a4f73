"""Commands by the clock: ``cron = MINUTE HOUR DAY MONTH WEEKDAY COMMAND``, in local time.

A number is that minute (hour, …); -1 is every one, -5 every fifth. As in the original, Sunday is 0 or 7, and where both
a day and a weekday are named either of them will do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from imperator.config.instance_settings import CronJob
from imperator.instance.children import Children, in_words
from imperator.instance.keeper import Keeper

Say = Callable[[str], None]


def is_due(job: CronJob, moment: time.struct_time) -> bool:
    """Is it this minute's turn?"""
    return (
        _matches(job.minute, moment.tm_min)
        and _matches(job.hour, moment.tm_hour)
        and _matches(job.month, moment.tm_mon)
        and _day_matches(job, moment)
    )


def _matches(wanted: int, now: int) -> bool:
    return now % -wanted == 0 if wanted < 0 else now == wanted


def _day_matches(job: CronJob, moment: time.struct_time) -> bool:
    day = _matches(job.day, moment.tm_mday)
    weekday = job.weekday if job.weekday < 0 else job.weekday % 7
    on_weekday = _matches(weekday, (moment.tm_wday + 1) % 7)
    return day or on_weekday if job.day >= 0 and job.weekday >= 0 else day and on_weekday


class Cron:
    """All commands of one instance. Belongs to the keeper's thread."""

    def __init__(self, jobs: Sequence[CronJob], keeper: Keeper, children: Children, say: Say) -> None:
        self._jobs = jobs
        self._keeper = keeper
        self._children = children
        self._say = say

    def start(self) -> None:
        """Look at the clock once a minute, a moment after the minute has begun."""
        if self._jobs:
            self._keeper.after(60.05 - time.time() % 60, self._minute)

    def _minute(self) -> None:
        moment = time.localtime()
        for job in self._jobs:
            if is_due(job, moment):
                self._run(job)
        self._keeper.after(60.05 - time.time() % 60, self._minute)

    def _run(self, job: CronJob) -> None:
        import subprocess  # most instances have no use for it

        try:
            command = ["/bin/sh", "-c", job.command]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            self._say(f"cron ({job.where}): {job.command}: {error.strerror}")
            return
        process.returncode = 0  # it is reaped by Children: Popen must not look for it
        self._children.watch(process.pid, lambda code: self._ended(job, code))
        self._say(f"cron: pid {process.pid} runs {job.command}")

    def _ended(self, job: CronJob, code: int) -> None:
        if code != 0:
            self._say(f"cron ({job.where}): {job.command} {in_words(code)}")
