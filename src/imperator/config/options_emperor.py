"""The options that an Emperor acts on, by section. The spelling is the original's; the words are ours."""

from __future__ import annotations

from imperator.config.option import Option
from imperator.config.options_protection import PROTECTION_OPTIONS, PROTECTION_SECTIONS

_SOURCES = "Sources: where vassals come from"
_START = "Starting vassals: what they are given"
_DISCIPLINE = "Discipline: throttle, blacklist, heartbeat, stopping"
_TALK = "Statistics, commands, log"
_DEMAND = "On demand"
_TYRANT = "Tyrant mode, namespaces, capabilities"
_NETWORK = "Networks of vassals"
_HOOKS = "Hooks"
_PROCESS = "The Emperor's own process"

SECTIONS = (_SOURCES, _START, _DISCIPLINE, _TALK, _DEMAND, _TYRANT, *PROTECTION_SECTIONS, _NETWORK, _HOOKS, _PROCESS)


def _option(section: str, name: str, kind: str, help: str, metavar: str = "VALUE", **more: object) -> Option:
    return Option(name, kind, help, section, metavar=metavar, **more)  # type: ignore[arg-type]


def _hook(name: str, help: str) -> Option:
    return _option(_HOOKS, f"hook-{name}", "hook", help, "ACTION:ARGUMENT")


def _old_hook(name: str, action: str, field: str) -> Option:
    text = f"the same as hook-{field.removeprefix('hook_').replace('_', '-')} = {action}:…, run after it"
    return _option(_HOOKS, name, "hook", text, "ARGUMENT", hook_action=action, field=field)


EMPEROR_OPTIONS: tuple[Option, ...] = (
    _option(
        _SOURCES,
        "emperor",
        "list",
        "watch a source and keep one vassal running for each configuration in it: a directory, a pattern, or "
        "scheme://…; may be given several times",
        "SOURCE",
    ),
    _option(
        _SOURCES,
        "emperor-freq",
        "integer",
        "seconds between two whole readings of each source. Changes are noticed at once, so this is only the safety "
        "net for a lost notification",
        "SECONDS",
        default="60, more for thousands of files; 3 on network file systems",
    ),
    _option(
        _SOURCES,
        "emperor-nofollow",
        "flag",
        "a symlink's own modification time counts, not that of the file behind it (touch --no-dereference reloads)",
    ),
    _option(
        _SOURCES,
        "emperor-extra-extension",
        "list",
        "a further ending of valid configuration files; such a vassal is started with --config",
        "ENDING",
        aliases=("emperor-extra-ext",),
    ),
    _option(
        _SOURCES,
        "emperor-collect-attr",
        "list",
        "read this key of the [emperor] section of each vassal's file; shown in the statistics, used by the *-attr "
        "options",
        "KEY",
        aliases=("emperor-collect-attribute",),
    ),
    _option(
        _SOURCES,
        "emperor-sections",
        "flag",
        "each section of a file is a vassal of its own, called FILE:SECTION; false: none ever is. Without effect in "
        "tyrant mode",
        default="only in a file that has no [uwsgi] section and others that are plainly instances",
    ),
    _option(_SOURCES, "emperor-magic-exec", "flag", "run executable configuration files and take what they print"),
    _option(
        _SOURCES,
        "imperial-monitor-list",
        "flag",
        "print the schemes that can be watched, and end",
        aliases=("imperial-monitors-list",),
    ),
    _option(
        _START,
        "binary-path",
        "string",
        "the program that vassals are, instead of Imperator itself (the command beside its own interpreter)",
        "PROGRAM",
    ),
    _option(_START, "emperor-wrapper", "string", "start vassals as this program instead of the binary", "PROGRAM"),
    _option(_START, "emperor-wrapper-override", "list", "try this program first", "PROGRAM"),
    _option(_START, "emperor-wrapper-fallback", "list", "try this program when the others are not there", "PROGRAM"),
    _option(_START, "emperor-wrapper-attr", "string", "the attribute that names a vassal's own program", "KEY"),
    _option(_START, "emperor-chdir-attr", "string", "the attribute that names a vassal's own directory", "KEY"),
    _option(_START, "vassals-inherit", "list", "start every vassal with --inherit FILE after its own file", "FILE"),
    _option(_START, "vassals-inherit-before", "list", "the same, before its own file", "FILE"),
    _option(_START, "vassals-include", "list", "start every vassal with --include FILE after its own file", "FILE"),
    _option(_START, "vassals-include-before", "list", "the same, before its own file", "FILE"),
    _option(
        _START, "vassal-set", "list", "start every vassal with --set KEY=VALUE", "KEY=VALUE", aliases=("vassals-set",)
    ),
    _option(
        _DISCIPLINE,
        "emperor-throttle",
        "integer",
        "milliseconds that a vassal which keeps dying waits at first, and by which its wait grows",
        "MS",
        default="1000",
    ),
    _option(
        _DISCIPLINE, "emperor-max-throttle", "integer", "milliseconds that it waits at the most", "MS", default="180000"
    ),
    _option(
        _DISCIPLINE,
        "emperor-no-blacklist",
        "flag",
        "do not blacklist vassals that die before they have managed a request",
    ),
    _option(
        _DISCIPLINE,
        "emperor-required-heartbeat",
        "integer",
        "seconds without a heartbeat after which a vassal that sends some is reloaded",
        "SECONDS",
        default="30",
    ),
    _option(
        _DISCIPLINE,
        "emperor-curse-tolerance",
        "integer",
        "seconds from telling a vassal to stop to killing it",
        "SECONDS",
        default="30",
    ),
    _option(_DISCIPLINE, "emperor-graceful-shutdown", "flag", "tell vassals to stop gracefully (byte 2, uWSGI 2.1)"),
    _option(
        _DISCIPLINE,
        "reload-mercy",
        "integer",
        "seconds that the end of the Emperor waits for its vassals before it kills them",
        "SECONDS",
        actor="both",
        default="30",
    ),
    _option(
        _TALK,
        "emperor-stats",
        "string",
        "serve the statistics as JSON on host:port or a UNIX socket",
        "ADDRESS",
        aliases=("emperor-stats-server",),
    ),
    _option(_TALK, "stats-http", "flag", "put HTTP headers before the statistics", actor="both"),
    _option(
        _TALK,
        "emperor-command-socket",
        "string",
        "take the commands spawn, respawn, stop and log as datagrams on host:port or a UNIX socket",
        "ADDRESS",
    ),
    _option(
        _TALK,
        "emperor-wait-for-command",
        "flag",
        "start no vassal before the spawn command (needs emperor-command-socket)",
    ),
    _option(_TALK, "emperor-wait-for-command-ignore", "list", "but start this one at once", "NAME"),
    _option(
        _TALK,
        "log-format",
        "string",
        "text for people, or json for one object a line (in a vassal's file: the format of its request log)",
        "text|json",
        actor="both",
        default="text",
    ),
    _option(
        _TALK,
        "vassal-log",
        "string",
        "prefix: pass the vassals' output on with their names in front; inherit: let them write to our own output",
        "prefix|inherit",
        default="prefix",
    ),
    _option(
        _TALK,
        "logto",
        "string",
        "write the log to a file, or to host:port over UDP",
        "FILE",
        actor="both",
        aliases=("logto2",),
    ),
    _option(_TALK, "log-maxsize", "integer", "rotate the log file at this size", "BYTES", actor="both"),
    _option(_TALK, "log-backupname", "string", "the name of the rotated log file", "FILE", actor="both"),
    _option(
        _DEMAND,
        "emperor-on-demand-extension",
        "string",
        "a file called as the vassal's with this ending holds a socket's address: the vassal starts when somebody "
        "connects to it",
        "ENDING",
        aliases=("emperor-on-demand-ext",),
    ),
    _option(
        _DEMAND,
        "emperor-on-demand-directory",
        "string",
        "every vassal starts when somebody connects to DIRECTORY/NAME.socket",
        "DIRECTORY",
        aliases=("emperor-on-demand-dir",),
    ),
    _option(_DEMAND, "emperor-on-demand-exec", "string", "what COMMAND NAME prints is the socket's address", "COMMAND"),
    _option(
        _TYRANT,
        "emperor-tyrant",
        "flag",
        "run each vassal as the owner of its configuration file, who must not be root",
    ),
    _option(_TYRANT, "emperor-tyrant-nofollow", "flag", "the owner of a symlink counts, not that of its file"),
    _option(_TYRANT, "emperor-tyrant-initgroups", "flag", "give the vassal its user's supplementary groups too"),
    _option(
        _TYRANT,
        "emperor-use-clone",
        "list",
        "give every vassal namespaces of its own: some of fs, ipc, net, pid, uts, user, with commas between them",
        "NAMES",
    ),
    _option(
        _TYRANT,
        "emperor-cap",
        "list",
        "the only capabilities that a vassal can ever have (names of capabilities(7), with commas between them)",
        "NAMES",
    ),
    _option(
        _TYRANT,
        "cap",
        "list",
        "the capabilities that are kept when root becomes another user by uid: a tyrant needs setgid,setuid, and kill "
        "to be able to kill a vassal that does not stop",
        "NAMES",
        actor="both",
    ),
    *PROTECTION_OPTIONS,
    _option(
        _NETWORK,
        "vassal-net",
        "string",
        "the network of each vassal: the host's; none, its own with nothing but lo in it; or bridge, its own with an "
        "address and a way out",
        "host|none|bridge",
        default="host",
    ),
    _option(
        _NETWORK,
        "vassal-net-bridge",
        "string",
        "what the bridge of vassal-net = bridge is called; it is made, and removed at the end",
        "NAME",
        default="imperator0",
    ),
    _option(
        _NETWORK,
        "vassal-net-pool",
        "string",
        "where the addresses come from; the first is the host's own, and the vassals' gateway",
        "NETWORK/BITS",
        default="10.91.0.0/16",
    ),
    _option(_NETWORK, "vassal-net-isolate", "flag", "vassals reach this host and the outside, and not one another"),
    _option(
        _NETWORK,
        "tuntap-router",
        "list",
        "make a TUN device and route between it and the devices that connect to the socket; with statistics, and an "
        "address for packets over UDP",
        "DEVICE SOCKET [STATS [GATEWAY]]",
    ),
    _option(
        _NETWORK,
        "tuntap-router-firewall-in",
        "list",
        "allow or deny packets to devices: the first rule that matches counts; 0.0.0.0 is any address",
        "ACTION [SOURCE DESTINATION]",
    ),
    _option(
        _NETWORK,
        "tuntap-router-firewall-out",
        "list",
        "allow or deny packets from devices",
        "ACTION [SOURCE DESTINATION]",
    ),
    _option(
        _NETWORK,
        "tuntap-router-route",
        "list",
        "send packets from devices to another router's gateway address, over UDP",
        "SOURCE DESTINATION ADDRESS:PORT",
    ),
    _option(_NETWORK, "tuntap-router-stats", "string", "serve the tuntap router's statistics as JSON", "ADDRESS"),
    _option(
        _NETWORK,
        "tuntap-use-credentials",
        "string",
        "devices present the user they run as before they are listened to (for router and devices alike)",
        "true",
        actor="both",
    ),
    _hook("as-root", "when the Emperor's sockets and devices are open, and it has root's rights yet"),
    _old_hook("exec-as-root", "exec", "hook_as_root"),
    _option(_HOOKS, "vassals-start-hook", "string", "run COMMAND NAME in the vassal before it starts", "COMMAND"),
    _option(_HOOKS, "vassals-stop-hook", "string", "run COMMAND NAME after a vassal's death", "COMMAND"),
    _hook("emperor-start", "when the Emperor starts; if it fails, the Emperor does not"),
    _hook("as-emperor-before-vassal", "before a vassal is spawned; if it fails, the vassal is not"),
    _hook("as-emperor", "after a vassal was spawned"),
    _hook("as-emperor-setns", "after a vassal was spawned, inside its namespaces"),
    _hook("as-vassal-before-drop", "in the vassal's process, before it becomes its user"),
    _hook("as-vassal", "in the vassal's process, just before its program is executed"),
    _hook("as-on-demand-vassal", "whenever a vassal goes to sleep to be woken by a connection"),
    _hook("as-on-config-vassal", "when the configuration of a sleeping vassal changes"),
    *(
        _old_hook(f"{action}-as-{who}", action, f"hook_as_{who}")
        for who in ("emperor", "vassal")
        for action in ("exec", "mount", "umount")
    ),
    _option(_PROCESS, "uid", "string", "become this user before anything is started", "USER", actor="both"),
    _option(_PROCESS, "gid", "string", "become this group", "GROUP", actor="both"),
    _option(_PROCESS, "chdir", "string", "go to this directory first", "DIRECTORY", actor="both"),
    _option(_PROCESS, "umask", "octal", "file mode creation mask", "MODE", actor="both"),
    _option(_PROCESS, "env", "list", "set an environment variable", "NAME=VALUE", actor="both"),
    _option(_PROCESS, "unenv", "list", "remove an environment variable", "NAME", actor="both"),
    _option(_PROCESS, "emperor-pidfile", "string", "write the Emperor's pid to a file", "FILE"),
    _option(_PROCESS, "pidfile", "string", "the same", "FILE", actor="both", aliases=("pidfile2",)),
    _option(_PROCESS, "emperor-procname", "string", "what ps shows as the Emperor", "NAME", aliases=("procname",)),
    _option(_PROCESS, "emperor-subreaper", "flag", "adopt and reap the orphans of vassals"),
    _option(
        _PROCESS,
        "listen",
        "integer",
        "backlog of the sockets that are opened",
        "NUMBER",
        actor="both",
        default="100",
        short="l",
    ),
    _option(_PROCESS, "chmod-socket", "octal", "mode of the UNIX sockets that are opened", "MODE", actor="both"),
)
