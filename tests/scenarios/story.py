"""The language of the stories: each command is one event of a reign, answered by the effects it has.

A story file begins with a paragraph of comment that says what it shows. Then come blocks, divided by blank lines:
commands, a line ``----``, and what they answer. Words are divided as in a shell.

    policy KEY=VALUE…          the numbers the Emperor rules by; before anything else
    at 3.5s                    time passes until then, and every deadline on the way is kept, to the moment
    stall 90s                  time passes, but nothing is done about it: the machine was asleep
    tick                       look at what is due
    describe NAME KEY=VALUE…   what a configuration will say once a source names it
    source DIR: NAME…          the source lists all that it wants; ``v{1..99}.ini`` is ninety-nine names
    edit NAME [KEY=VALUE…]     it changed; ``source=DIR`` says who noticed
    same NAME                  the source names it again, unchanged
    remove NAME [in DIR]       it is gone
    spawned NAME…              the process is there; ``*`` is everyone whose process was asked for
    spawn-fails NAME "REASON"  no process could be made
    exec-fails NAME "REASON"   nothing could be executed in it
    exit NAME code 1           its process ended; also ``exit NAME SIGSEGV``
    byte NAME WORD|NUMBER…     it says ready, accepting, loyal, heartbeat, …
    silent NAME                it closed the emperor fd
    knock NAME                 somebody connected to its socket
    socket-fails NAME "REASON"
    order spawn|respawn|stop NAME
    SIGHUP, SIGURG, SIGTERM    as the Emperor takes them: reload all, empty the blacklist, Ragnarok
    show                       every vassal; ``tally`` counts them by phase; ``blacklist`` shows who is on it
    next                       the next deadline

``NAME`` is the vassal's newest process; ``NAME#3`` the process with serial 3, which may have ended long ago.
``count`` before a command counts what it answers instead of printing it.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from signal import Signals

from imperator.reign import effects as ef
from imperator.reign import events as ev
from imperator.reign.emperor import Reign
from imperator.reign.names import Seconds, Serial, SourceName, VassalName
from imperator.reign.policy import Policy
from imperator.reign.protocol import FromVassal
from imperator.reign.wanted import Wanted

_RANGE = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*)")
_ORDERS: dict[str, ev.Event] = {
    "SIGHUP": ev.ReloadOrdered(),
    "SIGURG": ev.AmnestyOrdered(),
    "SIGTERM": ev.RagnarokOrdered("SIGTERM"),
    "SIGINT": ev.RagnarokOrdered("SIGINT"),
    "tick": ev.Tick(),
}
_COMMANDS = {command.value: command for command in ev.Command}


class BadStory(Exception):
    """The story itself is wrong: it asks for what cannot happen."""


class Story:
    """One reign that is being told. :meth:`tell` takes a command and returns its answer, line by line."""

    def __init__(self) -> None:
        self._policy = Policy()
        self._reign = Reign(self._policy)
        self._now = Seconds(0.0)
        self._described: dict[VassalName, Wanted] = {}
        self._names: dict[Serial, VassalName] = {}
        """Whose process each serial is, for every process there ever was."""
        self._asked: list[Serial] = []
        self._alive: dict[Serial, int] = {}
        self._last_pid = 100

    # -- time

    def _step(self, event: ev.Event) -> list[str]:
        return [self._effect(effect) for effect in self._reign.step(event, self._now)]

    def _at(self, until: Seconds) -> list[str]:
        lines = []
        while (due := self._reign.next_deadline()) is not None and due <= until:
            self._now = max(due, self._now)
            lines += [f"({self._now:g}s) {line}" for line in self._step(ev.Tick())]
        self._now = until
        return lines

    # -- commands

    def tell(self, line: str) -> list[str]:
        """Run one command; its answer, line by line."""
        words = shlex.split(line)
        if words[0] == "count":
            counted = Counter(" ".join(line.split()[:1]) for line in self._tell(words[1:]))
            return [f"{count} × {what}" for what, count in counted.items()]
        return self._tell(words)

    def _tell(self, words: list[str]) -> list[str]:
        verb, *rest = words
        if verb in _ORDERS:
            return self._step(_ORDERS[verb])
        method: Callable[[list[str]], list[str]] | None = getattr(self, "_do_" + verb.replace("-", "_"), None)
        if method is None:
            raise BadStory(f"no such command: {verb}")
        return method(rest)

    def _do_policy(self, words: list[str]) -> list[str]:
        kinds = {field.name: type(getattr(Policy(), field.name)) for field in fields(Policy)}
        values: dict[str, object] = {}
        for key, value in (word.split("=", 1) for word in words):
            kind = kinds[key]
            if kind is bool:
                values[key] = value == "yes"
            else:
                values[key] = frozenset(value.split(",")) if kind is frozenset else kind(value)
        self._policy = replace(self._policy, **values)  # type: ignore[arg-type]
        self._reign = Reign(self._policy)
        return []

    def _do_at(self, words: list[str]) -> list[str]:
        until = Seconds(float(words[0].removesuffix("s")))
        if until < self._now:
            raise BadStory(f"{words[0]} has passed: it is {self._now:g}s")
        return self._at(until)

    def _do_stall(self, words: list[str]) -> list[str]:
        self._now = Seconds(float(words[0].removesuffix("s")))
        return []

    # -- what is wanted

    def _known(self, name: VassalName) -> Wanted:
        if name not in self._described:
            self._described[name] = Wanted(name, SourceName("dir"), (1,), 0.0, "/vassals")
        return self._described[name]

    def _describe(self, words: list[str]) -> Wanted:
        name = VassalName(words[0])
        wanted = self._known(name)
        values: dict[str, object] = {}
        for key, value in (word.split("=", 1) for word in words[1:]):
            match key:
                case "uid" | "gid":
                    values[key] = int(value)
                case "config":
                    values[key] = None if value == "none" else value.encode()
                case "executable":
                    values[key] = value == "yes"
                case "source" | "directory" | "socket" | "problem":
                    values[key] = None if value == "none" else value
                case _:
                    raise BadStory(f"a configuration has no {key}")
        self._described[name] = replace(wanted, **values)  # type: ignore[arg-type]
        return self._described[name]

    def _do_describe(self, words: list[str]) -> list[str]:
        self._describe(words)
        return []

    def _do_source(self, words: list[str]) -> list[str]:
        source = SourceName(words[0].removesuffix(":"))
        names: list[VassalName] = []
        for word in words[1:]:
            found = _RANGE.fullmatch(word)
            if found is None:
                names.append(VassalName(word))
            else:
                before, first, last, after = found.groups()
                names += (VassalName(f"{before}{n}{after}") for n in range(int(first), int(last) + 1))
        return self._step(ev.SourceListed(source, tuple(replace(self._known(n), source=source) for n in names)))

    def _do_edit(self, words: list[str]) -> list[str]:
        wanted = self._describe(words)
        self._described[wanted.name] = replace(wanted, stamp=(wanted.stamp[0] + 1,))
        return self._do_same(words[:1])

    def _do_same(self, words: list[str]) -> list[str]:
        return self._step(ev.VassalWanted(self._known(VassalName(words[0]))))

    def _do_remove(self, words: list[str]) -> list[str]:
        name = VassalName(words[0])
        source = SourceName(words[2]) if words[1:2] == ["in"] else self._known(name).source
        return self._step(ev.VassalUnwanted(source, name))

    # -- processes

    def _serial(self, word: str) -> Serial:
        name, mark, number = word.partition("#")
        if mark:
            return Serial(int(number))
        serials = [serial for serial, owner in self._names.items() if owner == name]
        if not serials:
            raise BadStory(f"{name} never had a process")
        return serials[-1]

    def _do_spawned(self, words: list[str]) -> list[str]:
        lines = []
        for serial in list(self._asked) if words == ["*"] else [self._serial(word) for word in words]:
            self._answer(serial)
            self._last_pid += 1
            self._alive[serial] = self._last_pid
            lines += self._step(ev.Spawned(serial, self._last_pid))
        return lines

    def _answer(self, serial: Serial) -> None:
        if serial not in self._asked:
            raise BadStory(f"no process was asked for with serial {serial}")
        self._asked.remove(serial)

    def _do_spawn_fails(self, words: list[str]) -> list[str]:
        serial = self._serial(words[0])
        self._answer(serial)
        return self._step(ev.SpawnFailed(serial, words[1]))

    def _do_exec_fails(self, words: list[str]) -> list[str]:
        return self._step(ev.ExecFailed(self._serial(words[0]), words[1]))

    def _do_exit(self, words: list[str]) -> list[str]:
        serial = self._serial(words[0])
        if self._alive.pop(serial, None) is None:
            raise BadStory(f"{words[0]} has no process that could end")
        if words[1] == "code":
            return self._step(ev.Exited(serial, code=int(words[2])))
        number = int(words[2]) if words[1] == "signal" else Signals[words[1]].value
        return self._step(ev.Exited(serial, signal=number))

    def _do_byte(self, words: list[str]) -> list[str]:
        lines = []
        for word in words[1:]:
            byte = int(word) if word.isdecimal() else FromVassal[word.upper().replace("-", "_")].value
            lines += self._step(ev.Received(self._serial(words[0]), byte))
        return lines

    def _do_silent(self, words: list[str]) -> list[str]:
        return self._step(ev.FellSilent(self._serial(words[0])))

    def _do_knock(self, words: list[str]) -> list[str]:
        return self._step(ev.Knocked(VassalName(words[0])))

    def _do_socket_fails(self, words: list[str]) -> list[str]:
        return self._step(ev.SocketFailed(VassalName(words[0]), words[1]))

    def _do_order(self, words: list[str]) -> list[str]:
        return self._step(ev.Ordered(_COMMANDS[words[0]], VassalName(words[1])))

    # -- looking

    def _do_show(self, words: list[str]) -> list[str]:
        lines = []
        for vassal in self._reign.vassals.values():
            line = f"{vassal.name} is {vassal.phase.value}"
            if vassal.instance is not None and vassal.instance.pid is not None:
                line += f", pid {vassal.instance.pid}"
            if vassal.due is not None:
                line += f", due at {vassal.due:g}s"
            lines.append(line + (f": {vassal.why}" if vassal.why else ""))
        return lines

    def _do_tally(self, words: list[str]) -> list[str]:
        counted = Counter(vassal.phase.value for vassal in self._reign.vassals.values())
        return [f"{count} × {phase}" for phase, count in counted.items()]

    def _do_blacklist(self, words: list[str]) -> list[str]:
        return [f"{item.name}: {item.level:g}s" for item in self._reign.blacklist]

    def _do_next(self, words: list[str]) -> list[str]:
        due = self._reign.next_deadline()
        return ["never" if due is None else f"at {due:g}s"]

    # -- effects in words

    def _effect(self, effect: ef.Effect) -> str:
        match effect:
            case ef.Spawn(serial, wanted):
                if serial in self._names:
                    raise BadStory(f"serial {serial} was used twice")
                self._names[serial] = wanted.name
                self._asked.append(serial)
                return f"spawn {wanted.name}#{serial}"
            case ef.Abandon(serial):
                return f"abandon {self._names[serial]}#{serial}"
            case ef.Send(serial, byte):
                return f"send {self._names[serial]}#{serial} {byte.name}"
            case ef.SendConfig(serial, wanted):
                return f"send-config {self._names[serial]}#{serial} {(wanted.config or b'').decode()}"
            case ef.Signal(serial, number):
                return f"signal {self._names[serial]}#{serial} {Signals(number).name}"
            case ef.OpenSocket(name, address):
                return f"open-socket {name} {address}"
            case ef.CloseSocket(name):
                return f"close-socket {name}"
            case ef.RunHooks(phase, wanted, pid):
                return f"hooks {phase.value} {wanted.name}" + (f" pid {pid}" if pid is not None else "")
            case ef.Note(severity, event, text, vassal):
                return f"{severity.name.lower()} {event}" + (f" {vassal}" if vassal else "") + f": {text}"
            case ef.Finish():
                return "finish"
