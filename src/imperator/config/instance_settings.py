"""What an instance was told, typed: the options of the catalogue that it acts on, after the language is done with them.

Field names are the option names with ``_`` for ``-``. Times are seconds unless a field says otherwise. The meaning of
each option is in the catalogue (:mod:`imperator.config.options_instance`), from which ``docs/options.md`` is made.
"""

from __future__ import annotations

from typing import Literal

from imperator.config.hook import Hook
from imperator.config.note import Note
from imperator.config.records import changed, keyword_record, record

Protocol = Literal["uwsgi", "http", "raw"]
"""What is spoken on a socket. ``raw``: the application's own business (it is given the listening socket)."""
Interface = Literal["wsgi", "asgi", "rsgi"]
EngineName = Literal["auto", "granian", "uwsgi", "gunicorn", "binary"]


@record
class SocketAsked:
    """A listening socket that the configuration asks for."""

    address: str
    """``host:port``, ``:port``, ``/path``, ``@abstract``, ``fd://N``."""
    protocol: Protocol
    option: str
    """The option that asked: ``socket``, ``http-socket``, …"""
    where: str


@record
class Mount:
    """``mount = /path=module:callable`` (or a file)."""

    path: str
    application: str
    where: str


@record
class Daemon:
    """A program that runs beside the application, as long as the instance does."""

    command: str
    option: str
    where: str
    pidfile: str | None = None
    """``smart-attach-daemon PIDFILE COMMAND``: not started where the process in this file is alive."""


@record
class Terminals:
    """An address at which whoever connects gets a terminal in the instance (``forkpty-router``)."""

    address: str
    uwsgi: bool
    """In packets, with window sizes and signals (``forkpty-urouter``); or raw."""
    option: str
    where: str


@record
class CronJob:
    """``cron = MINUTE HOUR DAY MONTH WEEKDAY COMMAND``: -1 is every one, -N every N-th."""

    minute: int
    hour: int
    day: int
    month: int
    weekday: int
    command: str
    where: str


@record
class BinaryPatch:
    """``…-binary-patch``: become another program. ``arguments`` is ``None``: with the instance's own arguments."""

    program: str
    arguments: tuple[str, ...] | None
    option: str
    where: str


@keyword_record
class InstanceSettings:
    """An instance's own options."""

    engine: EngineName = "auto"

    # -- where it listens
    sockets: tuple[SocketAsked, ...] = ()
    protocol: str | None = None
    """What plain ``socket`` (and the on-demand socket, fd 0) speaks."""
    listen: int = 100
    chmod_socket: int | None = None
    chown_socket: str | None = None
    """``user[:group]``."""
    reuse_port: bool = False
    vacuum: bool = False

    # -- the application
    module: str | None = None
    wsgi_file: str | None = None
    """``wsgi-file``, ``file``."""
    callable: str | None = None
    mount: tuple[Mount, ...] = ()
    manage_script_name: bool = False
    interface: Interface | None = None
    """Said by ``asgi = …``, ``rsgi = …`` or ``interface = …``; ``None``: guessed from the application."""
    need_app: bool = False
    lazy_apps: bool = False
    single_interpreter: bool = False
    home: str | None = None
    """``home``, ``virtualenv``, ``venv``, ``pyhome``."""
    pythonpath: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    unenv: tuple[str, ...] = ()
    import_: tuple[str, ...] = ()
    """``import``, ``shared-import``: modules imported before the application."""
    chdir: str | None = None
    chdir2: str | None = None
    """Gone to after the application was loaded."""
    static_map: tuple[tuple[str, str], ...] = ()
    """Prefix and directory of ``static-map = /prefix=/directory``."""
    check_static: tuple[str, ...] = ()
    log_x_forwarded_for: bool = False

    # -- its processes
    processes: int = 1
    threads: int | None = None
    """``None``: not said (one)."""
    enable_threads: bool = False
    master: bool = False
    max_requests: int = 0
    max_requests_delta: int = 0
    max_worker_lifetime: int = 0
    harakiri: int = 0
    harakiri_verbose: bool = False
    cheap: bool = False
    idle: int = 0
    die_on_idle: bool = False
    die_on_term: bool = False
    exit_on_reload: bool = False
    reload_mercy: int = 60
    worker_reload_mercy: int = 60
    touch_reload: tuple[str, ...] = ()
    touch_chain_reload: tuple[str, ...] = ()
    heartbeat: int = 0

    # -- requests
    buffer_size: int = 4096
    """Bytes; the largest request head."""
    post_buffering: int = 0
    http_timeout: int | None = None
    socket_timeout: int | None = None
    disable_logging: bool = False
    log_format: str | None = None
    log_date: str | None = None

    # -- its rights and limits
    uid: str | None = None
    gid: str | None = None
    add_gid: tuple[str, ...] = ()
    umask: int | None = None
    chroot: str | None = None
    cap: tuple[str, ...] = ()
    """Names of capabilities to keep when root becomes another user, each entry with commas between them."""
    unshare: tuple[str, ...] = ()
    unshare2: tuple[str, ...] = ()
    """The same, after the root was changed."""
    pivot_root: str | None = None
    """``NEW_ROOT PUT_OLD``, the second one below the first."""
    jailed: bool = False
    tuntap_device: tuple[str, ...] = ()
    tuntap_device_rule: tuple[str, ...] = ()
    tuntap_use_credentials: str | None = None
    """``None``: not asked for."""
    limit_as: int = 0
    """MiB of address space."""
    rlimits: tuple[tuple[str, int], ...] = ()
    """``limit-nproc``, ``limit-nofile``, …: name as in :mod:`resource` without ``RLIMIT_``, value."""
    no_orphans: bool = False

    # -- its traces
    pidfile: str | None = None
    """Written before the rights are dropped."""
    pidfile2: str | None = None
    """``pidfile2``, ``safe-pidfile``: written after."""
    procname: str | None = None
    procname_prefix: str = ""
    procname_append: str = ""
    auto_procname: bool = False
    logto: str | None = None
    """Opened before the rights are dropped."""
    logto2: str | None = None
    """Opened after."""
    log_maxsize: int = 0
    log_backupname: str | None = None
    log_truncate: bool = False
    logfile_chown: bool = False
    logfile_chmod: int | None = None
    stats: str | None = None
    stats_http: bool = False

    # -- beside it
    daemons: tuple[Daemon, ...] = ()
    cron: tuple[CronJob, ...] = ()
    terminals: tuple[Terminals, ...] = ()
    forkptyrouter_command: str | None = None
    """``None``: a shell."""
    forkptyrouter_rows: int = 24
    forkptyrouter_cols: int = 80

    # -- instead of it
    privileged_binary_patch: BinaryPatch | None = None
    unprivileged_binary_patch: BinaryPatch | None = None

    # -- hooks, in the order of the original's phases
    hook_asap: tuple[Hook, ...] = ()
    hook_pre_jail: tuple[Hook, ...] = ()
    hook_in_jail: tuple[Hook, ...] = ()
    hook_post_jail: tuple[Hook, ...] = ()
    hook_as_root: tuple[Hook, ...] = ()
    hook_as_user: tuple[Hook, ...] = ()
    hook_pre_app: tuple[Hook, ...] = ()
    hook_post_app: tuple[Hook, ...] = ()
    hook_accepting: tuple[Hook, ...] = ()
    hook_accepting_once: tuple[Hook, ...] = ()
    hook_as_user_atexit: tuple[Hook, ...] = ()
    hook_emperor_stop: tuple[Hook, ...] = ()
    hook_emperor_reload: tuple[Hook, ...] = ()
    hook_emperor_lost: tuple[Hook, ...] = ()

    # -- for whoever chooses the engine
    uwsgi_only: tuple[tuple[str, str], ...] = ()
    """Options that only the real uWSGI acts on, each with its ``where``."""
    notes: tuple[Note, ...] = ()
    """Options that are known but have nothing to do here, unknown ones, and the like: one line each, for the log."""

    def of_worker(self) -> InstanceSettings:
        """What is left of them in a worker: what only its master does is taken out."""
        return changed(self, daemons=(), terminals=(), cron=(), touch_reload=(), touch_chain_reload=(), log_maxsize=0)

    @property
    def has_application(self) -> bool:
        return bool(self.module or self.wsgi_file or self.mount)
