"""The options that an instance acts on, by section. The spelling is the original's; the words are ours."""

from __future__ import annotations

from imperator.config.option import Option

_ENGINE = "Instance: the engine"
_SOCKETS = "Instance: where it listens"
_APPLICATION = "Instance: the application"
_PROCESSES = "Instance: its processes"
_REQUESTS = "Instance: requests and their log"
_RIGHTS = "Instance: rights and limits"
_TRACES = "Instance: log, pid file, name, statistics"
_BESIDE = "Instance: beside and instead of the application"
_HOOKS = "Instance: hooks"

INSTANCE_SECTIONS = (
    _ENGINE,
    _SOCKETS,
    _APPLICATION,
    _PROCESSES,
    _REQUESTS,
    _RIGHTS,
    _TRACES,
    _BESIDE,
    _HOOKS,
)


def _option(section: str, name: str, kind: str, help: str, metavar: str = "VALUE", **more: object) -> Option:
    actor = more.pop("actor", "instance")
    return Option(name, kind, help, section, actor=actor, metavar=metavar, **more)  # type: ignore[arg-type]


def _socket(name: str, help: str, *aliases: str) -> Option:
    return _option(_SOCKETS, name, "special", help, "ADDRESS", aliases=aliases, field="sockets")


def _hook(name: str, help: str) -> Option:
    return _option(_HOOKS, f"hook-{name}", "hook", help, "ACTION:ARGUMENT")


def _old_hook(name: str, action: str, field: str) -> Option:
    text = f"the same as hook-{field.removeprefix('hook_').replace('_', '-')} = {action}:…, run after it"
    return _option(_HOOKS, name, "hook", text, "ARGUMENT", hook_action=action, field=field)


def _limit(name: str, help: str) -> Option:
    return _option(_RIGHTS, f"limit-{name}", "special", help, "NUMBER", field="rlimits")


_PHASES = {
    "asap": "as soon as the configuration was read",
    "pre-jail": "before namespaces are unshared and the root directory is changed",
    "post-jail": "after that",
    "in-jail": "after that, inside the new namespaces",
    "as-root": "before rights are dropped",
    "as-user": "after rights were dropped",
    "pre-app": "before the application is loaded",
    "post-app": "after the application was loaded",
}

INSTANCE_OPTIONS: tuple[Option, ...] = (
    _option(
        _ENGINE,
        "engine",
        "string",
        "what serves the application: granian for HTTP, uwsgi for the uwsgi protocol and for options that only uWSGI "
        "has, gunicorn in pure Python, binary for any other program. auto chooses, and says why",
        "auto|granian|uwsgi|gunicorn|binary",
        default="auto",
    ),
    _socket("socket", "listen here and speak the uwsgi protocol, or what protocol says"),
    _socket("uwsgi-socket", "listen here and speak the uwsgi protocol"),
    _socket("http-socket", "listen here and speak HTTP", "http11-socket", "http"),
    _option(
        _SOCKETS, "protocol", "string", "what plain sockets, and an on-demand socket, speak: uwsgi or http", "PROTOCOL"
    ),
    _option(_SOCKETS, "chown-socket", "string", "owner of the UNIX sockets", "USER[:GROUP]"),
    _option(_SOCKETS, "reuse-port", "flag", "bind with SO_REUSEPORT"),
    _option(_SOCKETS, "vacuum", "flag", "remove the UNIX sockets and the pid file at the end"),
    _option(
        _APPLICATION,
        "module",
        "string",
        "the application: a module, and a name in it",
        "MODULE[:NAME]",
        aliases=("wsgi",),
        short="w",
    ),
    _option(_APPLICATION, "wsgi-file", "string", "the application: a file", "FILE[:NAME]", aliases=("file",)),
    _option(_APPLICATION, "callable", "string", "what it is called in there", "NAME", default="application"),
    _option(_APPLICATION, "asgi", "string", "an ASGI application: a module, and a name in it", "MODULE[:NAME]"),
    _option(_APPLICATION, "rsgi", "string", "an RSGI application: a module, and a name in it", "MODULE[:NAME]"),
    _option(_APPLICATION, "interface", "string", "what the application speaks", "wsgi|asgi|rsgi", default="found out"),
    _option(
        _APPLICATION, "mount", "special", "an application for the requests below a path", "PATH=MODULE_OR_FILE[:NAME]"
    ),
    _option(_APPLICATION, "manage-script-name", "flag", "take a mounted application's path out of PATH_INFO"),
    _option(_APPLICATION, "need-app", "flag", "end with an error where there is no application"),
    _option(_APPLICATION, "lazy-apps", "flag", "load the application in each worker, not before", aliases=("lazy",)),
    _option(_APPLICATION, "single-interpreter", "flag", "one interpreter for all applications: always so here"),
    _option(
        _APPLICATION,
        "home",
        "string",
        "the application's virtual environment",
        "DIRECTORY",
        aliases=("virtualenv", "venv", "pyhome"),
        short="H",
    ),
    _option(
        _APPLICATION,
        "pythonpath",
        "list",
        "look for modules here too; may be a pattern",
        "DIRECTORY",
        aliases=("python-path", "pp"),
    ),
    _option(
        _APPLICATION,
        "import",
        "list",
        "import this before the application",
        "MODULE",
        aliases=("pyimport", "py-import", "shared-import"),
        field="import_",
    ),
    _option(_APPLICATION, "chdir2", "string", "go to this directory after the application was loaded", "DIRECTORY"),
    _option(_APPLICATION, "static-map", "special", "serve files of a directory below a path", "PATH=DIRECTORY"),
    _option(_APPLICATION, "check-static", "list", "serve a file of this directory where there is one", "DIRECTORY"),
    _option(
        _PROCESSES, "processes", "integer", "how many workers", "NUMBER", default="1", aliases=("workers",), short="p"
    ),
    _option(_PROCESSES, "threads", "integer", "threads in each worker", "NUMBER", default="1"),
    _option(_PROCESSES, "enable-threads", "flag", "threads of the application's own: always possible here"),
    _option(_PROCESSES, "master", "flag", "a process above the workers: there is one where it is needed", short="M"),
    _option(_PROCESSES, "max-requests", "integer", "replace a worker after so many requests", "NUMBER", short="R"),
    _option(_PROCESSES, "max-requests-delta", "integer", "so many more for each worker after the first", "NUMBER"),
    _option(_PROCESSES, "max-worker-lifetime", "integer", "replace a worker after so many seconds", "SECONDS"),
    _option(_PROCESSES, "harakiri", "integer", "kill a worker whose request takes longer", "SECONDS", short="t"),
    _option(_PROCESSES, "harakiri-verbose", "flag", "log where it was at that moment"),
    _option(_PROCESSES, "cheap", "flag", "start no worker before the first request"),
    _option(
        _PROCESSES,
        "idle",
        "integer",
        "after so many seconds without a request: end the workers (cheap), or with die-on-idle the instance",
        "SECONDS",
    ),
    _option(_PROCESSES, "die-on-idle", "flag", "end the instance when it is idle"),
    _option(_PROCESSES, "die-on-term", "flag", "SIGTERM ends the instance: always so here"),
    _option(_PROCESSES, "exit-on-reload", "flag", "end where a reload was ordered"),
    _option(
        _PROCESSES,
        "worker-reload-mercy",
        "integer",
        "seconds that a worker has for the requests it is at",
        "SECONDS",
        default="60",
    ),
    _option(_PROCESSES, "touch-reload", "list", "reload when this file changes", "FILE"),
    _option(_PROCESSES, "touch-chain-reload", "list", "the same, one worker after the other", "FILE"),
    _option(_PROCESSES, "heartbeat", "integer", "tell the Emperor so often that the workers are well", "SECONDS"),
    _option(
        _REQUESTS,
        "buffer-size",
        "integer",
        "the largest head of a request; 64 KiB are always allowed",
        "BYTES",
        default="4096",
        short="b",
    ),
    _option(
        _REQUESTS,
        "post-buffering",
        "integer",
        "read bodies before the application sees them: granian always does for WSGI",
        "BYTES",
    ),
    _option(_REQUESTS, "http-timeout", "integer", "seconds without a byte from a client", "SECONDS"),
    _option(_REQUESTS, "socket-timeout", "integer", "the same", "SECONDS", short="z"),
    _option(_REQUESTS, "disable-logging", "flag", "log no requests", aliases=("disable-log",), short="L"),
    _option(_REQUESTS, "log-format", "string", "a line of the request log", "FORMAT", aliases=("logformat",)),
    _option(_REQUESTS, "log-date", "string", "the format of the time in the request log", "FORMAT"),
    _option(_REQUESTS, "log-x-forwarded-for", "flag", "log the client that X-Forwarded-For names"),
    _option(_RIGHTS, "add-gid", "list", "a further group", "GROUP"),
    _option(_RIGHTS, "chroot", "string", "make this directory the root directory", "DIRECTORY"),
    _option(_RIGHTS, "unshare", "special", "have namespaces of its own: fs, net, ipc, pid, uts, user", "KIND,…"),
    _option(_RIGHTS, "unshare2", "special", "the same, after the root was changed", "KIND,…"),
    _option(
        _RIGHTS,
        "pivot-root",
        "string",
        "make a directory the root, and put the old root into another one below it",
        "NEW_ROOT PUT_OLD",
        aliases=("pivot_root",),
    ),
    _option(_RIGHTS, "jailed", "flag", "run the post-jail hooks although the instance has no namespaces of its own"),
    _option(
        _RIGHTS,
        "tuntap-device",
        "list",
        "make a TUN device, and connect it with the Emperor's tuntap-router",
        "DEVICE [SOCKET]",
    ),
    _option(
        _RIGHTS,
        "tuntap-device-rule",
        "list",
        "a rule that the router applies to this instance's devices; the actions are allow, deny, and route or gateway "
        "with an address and a port",
        "in|out SOURCE DESTINATION ACTION [TARGET]",
    ),
    _option(_RIGHTS, "limit-as", "integer", "the most address space", "MEGABYTES"),
    _limit("nproc", "the most processes of its user"),
    _limit("nofile", "the most open files of each process"),
    _option(_RIGHTS, "no-orphans", "flag", "workers end with the instance: always so here"),
    _option(_TRACES, "logto2", "string", "as logto, but opened after rights were dropped", "FILE"),
    _option(
        _TRACES,
        "pidfile2",
        "string",
        "as pidfile, but written after rights were dropped",
        "FILE",
        aliases=("safe-pidfile", "safe-pidfile2"),
    ),
    _option(_TRACES, "procname", "string", "what ps shows", "TEXT"),
    _option(_TRACES, "log-truncate", "flag", "empty the log file at the start"),
    _option(
        _TRACES,
        "logfile-chown",
        "flag",
        "give the log file to the user that the instance becomes",
        aliases=("log-file-chown",),
    ),
    _option(_TRACES, "logfile-chmod", "octal", "mode of the log file", "MODE", aliases=("log-file-chmod",)),
    _option(_TRACES, "auto-procname", "flag", "tell in ps which process is what"),
    _option(_TRACES, "procname-prefix", "string", "put this before what ps shows", "TEXT"),
    _option(
        _TRACES, "procname-prefix-spaced", "special", "the same, with a space after it", "TEXT", field="procname_prefix"
    ),
    _option(_TRACES, "procname-append", "string", "put this after what ps shows", "TEXT"),
    _option(_TRACES, "stats", "string", "serve the instance's statistics here", "ADDRESS", aliases=("stats-server",)),
    _option(
        _BESIDE,
        "attach-daemon",
        "special",
        "run a program beside the application",
        "COMMAND",
        aliases=("attach-daemon2",),
        field="daemons",
    ),
    _option(
        _BESIDE,
        "smart-attach-daemon",
        "special",
        "the same, if the process in its pid file is not alive",
        "PIDFILE COMMAND",
        aliases=("smart-attach-daemon2",),
        field="daemons",
    ),
    _option(
        _BESIDE,
        "forkpty-router",
        "special",
        "give whoever connects here a terminal in the instance, raw",
        "ADDRESS",
        aliases=("forkptyrouter",),
        field="terminals",
    ),
    _option(
        _BESIDE,
        "forkpty-urouter",
        "special",
        "the same in uwsgi packets, which carry window sizes and signals too",
        "ADDRESS",
        aliases=("forkptyurouter",),
        field="terminals",
    ),
    _option(
        _BESIDE,
        "forkptyrouter-command",
        "string",
        "what runs in such a terminal",
        "COMMAND",
        aliases=("forkpty-router-command", "forkptyrouter-cmd", "forkpty-router-cmd"),
        default="/bin/sh",
    ),
    _option(_BESIDE, "forkptyrouter-rows", "integer", "the rows of such a terminal", "NUMBER", default="24"),
    _option(_BESIDE, "forkptyrouter-cols", "integer", "its columns", "NUMBER", default="80"),
    _option(
        _BESIDE,
        "cron",
        "special",
        "run a command by the clock; -1 is every one, -5 every fifth",
        "MINUTE HOUR DAY MONTH WEEKDAY COMMAND",
    ),
    _option(
        _BESIDE, "privileged-binary-patch", "special", "become another program, before rights are dropped", "PROGRAM"
    ),
    _option(
        _BESIDE,
        "privileged-binary-patch-arg",
        "special",
        "the same, with these arguments",
        "PROGRAM ARGUMENTS",
        field="privileged_binary_patch",
    ),
    _option(
        _BESIDE, "unprivileged-binary-patch", "special", "become another program, after rights were dropped", "PROGRAM"
    ),
    _option(
        _BESIDE,
        "unprivileged-binary-patch-arg",
        "special",
        "the same, with these arguments",
        "PROGRAM ARGUMENTS",
        field="unprivileged_binary_patch",
    ),
    _option(
        _BESIDE,
        "plugins",
        "list",
        "uWSGI's plugins: what is built in is not loaded",
        "NAME,…",
        aliases=("plugin", "need-plugin", "need-plugins"),
    ),
    *(_hook(name, help) for name, help in _PHASES.items()),
    _hook("accepting", "whenever a worker accepts requests"),
    _hook("accepting-once", "when the first worker does"),
    _hook("as-user-atexit", "when the instance ends"),
    _hook("emperor-stop", "when the Emperor tells the instance to stop"),
    _hook("emperor-reload", "when the Emperor tells the instance to reload"),
    _hook("emperor-lost", "when the Emperor is gone"),
    *(
        _old_hook(name, "exec", "hook_" + name.removeprefix("exec-").replace("-", "_"))
        for name in (
            "exec-asap",
            "exec-pre-jail",
            "exec-post-jail",
            "exec-in-jail",
            "exec-as-root",
            "exec-as-user",
            "exec-as-user-atexit",
            "exec-pre-app",
            "exec-post-app",
        )
    ),
    *(
        _old_hook(f"{action}-{phase}", action, "hook_" + phase.replace("-", "_"))
        for action in ("mount", "umount")
        for phase in ("asap", "pre-jail", "post-jail", "in-jail", "as-root", "as-user", "pre-app", "post-app")
    ),
)
