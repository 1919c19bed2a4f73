"""What the Emperor was told, typed: the options of the catalogue that it acts on, after the language is done with them.

Times are in the unit that the option's documentation says. Field names are the option names with ``_`` for ``-``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from imperator.config.hook import Hook
from imperator.config.note import Note
from imperator.config.quantities import DeviceAmounts


@dataclass(frozen=True, slots=True, kw_only=True)
class EmperorSettings:
    """The Emperor's own options. Every field is one option of ``docs/options.md``."""

    emperor: tuple[str, ...] = ()
    emperor_freq: int | None = None
    """Seconds between two safety-net readings of every source; ``None``: each monitor's own choice."""
    emperor_nofollow: bool = False
    emperor_extra_extension: tuple[str, ...] = ()
    emperor_collect_attr: tuple[str, ...] = ()
    emperor_magic_exec: bool = False
    emperor_sections: bool | None = None
    """``None``: only of files that leave no doubt (see :mod:`imperator.monitors.sections`)."""

    binary_path: str | None = None
    emperor_wrapper: str | None = None
    emperor_wrapper_override: tuple[str, ...] = ()
    emperor_wrapper_fallback: tuple[str, ...] = ()
    emperor_wrapper_attr: str | None = None
    emperor_chdir_attr: str | None = None
    vassals_inherit: tuple[str, ...] = ()
    vassals_inherit_before: tuple[str, ...] = ()
    vassals_include: tuple[str, ...] = ()
    vassals_include_before: tuple[str, ...] = ()
    vassal_set: tuple[str, ...] = ()

    emperor_throttle: int = 1000
    """Milliseconds."""
    emperor_max_throttle: int = 180_000
    """Milliseconds."""
    emperor_no_blacklist: bool = False
    emperor_required_heartbeat: int = 30
    """Seconds."""
    emperor_curse_tolerance: int = 30
    """Seconds."""
    emperor_graceful_shutdown: bool = False
    reload_mercy: int = 30
    """Seconds that a Ragnarok waits before it kills."""

    emperor_stats: str | None = None
    stats_http: bool = False
    emperor_command_socket: str | None = None
    emperor_wait_for_command: bool = False
    emperor_wait_for_command_ignore: tuple[str, ...] = ()
    emperor_pidfile: str | None = None
    pidfile: str | None = None
    emperor_procname: str | None = None
    emperor_subreaper: bool = False

    emperor_on_demand_extension: str | None = None
    emperor_on_demand_directory: str | None = None
    emperor_on_demand_exec: str | None = None

    emperor_tyrant: bool = False
    emperor_tyrant_nofollow: bool = False
    emperor_tyrant_initgroups: bool = False

    emperor_use_clone: tuple[str, ...] = ()
    """Names of namespaces, each entry with commas between them."""
    emperor_cap: tuple[str, ...] = ()
    """Names of capabilities, likewise; empty: no bound."""
    vassal_net: Literal["host", "none", "bridge"] = "host"
    vassal_net_bridge: str = "imperator0"
    vassal_net_pool: str = "10.91.0.0/16"
    vassal_net_isolate: bool = False
    tuntap_router: tuple[str, ...] = ()
    """``DEVICE SOCKET [STATS [GATEWAY]]``."""
    tuntap_router_firewall_in: tuple[str, ...] = ()
    tuntap_router_firewall_out: tuple[str, ...] = ()
    tuntap_router_route: tuple[str, ...] = ()
    tuntap_router_stats: str | None = None
    tuntap_use_credentials: str | None = None
    """``None``: not asked for."""
    cap: tuple[str, ...] = ()

    cgroup: tuple[str, ...] = ()
    cgroup_opt: tuple[str, ...] = ()
    cgroup_dir_mode: int = 0o700
    vassal_cgroup: bool = False
    cgroup_parent: str | None = None
    vassal_memory_max: int | None = None
    """Bytes; ``None``: no limit."""
    vassal_cpu_max: float | None = None
    """Cores."""
    vassal_pids_max: int | None = None
    vassal_io_weight: int | None = None
    vassal_io_max: tuple[DeviceAmounts, ...] = ()

    vassal_no_new_privs: bool | None = None
    """``None``: in tyrant mode, and where something else of this needs it."""
    vassal_seccomp: Literal["default", "none"] = "none"
    vassal_read_only: bool = False
    vassal_writable: tuple[str, ...] = ()
    vassal_private_tmp: bool = False
    vassal_hidden_proc: bool = False

    vassals_start_hook: str | None = None
    vassals_stop_hook: str | None = None
    hook_emperor_start: tuple[Hook, ...] = ()
    hook_as_root: tuple[Hook, ...] = ()
    """Of the Emperor itself."""
    hook_as_emperor_before_vassal: tuple[Hook, ...] = ()
    hook_as_emperor: tuple[Hook, ...] = ()
    hook_as_emperor_setns: tuple[Hook, ...] = ()
    hook_as_vassal_before_drop: tuple[Hook, ...] = ()
    hook_as_vassal: tuple[Hook, ...] = ()
    hook_as_on_demand_vassal: tuple[Hook, ...] = ()
    hook_as_on_config_vassal: tuple[Hook, ...] = ()

    uid: str | None = None
    """The Emperor's own user (name or number): it drops to it before it starts anything."""
    gid: str | None = None
    chdir: str | None = None
    umask: int | None = None
    env: tuple[str, ...] = ()
    unenv: tuple[str, ...] = ()
    logto: str | None = None
    log_maxsize: int = 0
    """Bytes; 0: never rotated."""
    log_backupname: str | None = None
    log_format: Literal["text", "json"] = "text"
    """``--log-format text|json`` on the Emperor. (An instance's own ``log-format`` is another matter.)"""
    vassal_log: Literal["prefix", "inherit"] = "prefix"
    listen: int = 100
    """Backlog of the sockets that the Emperor opens."""
    chmod_socket: int | None = None
    """Mode of the UNIX sockets that the Emperor opens for statistics."""
    imperial_monitor_list: bool = False

    notes: tuple[Note, ...] = field(default=())
    """Options that are known but do nothing here, unknown ones, and the like: one line each, for the log."""
