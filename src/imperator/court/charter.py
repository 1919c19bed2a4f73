"""From the settings to what the other rooms want to know of them."""

from __future__ import annotations

from imperator.config.settings import EmperorSettings
from imperator.court.binary import is_imperator
from imperator.monitors.api import MonitorOptions
from imperator.reign.arguments import Livery
from imperator.reign.names import Seconds
from imperator.reign.policy import Policy
from imperator.reign.protocol import LONGEST_CONFIG, LONGEST_OWN_CONFIG


def policy_of(settings: EmperorSettings, livery: Livery) -> Policy:
    return Policy(
        longest_config=LONGEST_OWN_CONFIG if livery.is_always(is_imperator) else LONGEST_CONFIG,
        throttle=Seconds(settings.emperor_throttle / 1000),
        max_throttle=Seconds(settings.emperor_max_throttle / 1000),
        blacklist=not settings.emperor_no_blacklist,
        required_heartbeat=Seconds(settings.emperor_required_heartbeat),
        curse_tolerance=Seconds(settings.emperor_curse_tolerance),
        mercy=Seconds(settings.reload_mercy),
        graceful_shutdown=settings.emperor_graceful_shutdown,
        wait_for_command=settings.emperor_wait_for_command and settings.emperor_command_socket is not None,
        wait_for_command_ignore=frozenset(settings.emperor_wait_for_command_ignore),
        tyrant=settings.emperor_tyrant,
    )


def livery_of(settings: EmperorSettings, binary: str) -> Livery:
    return Livery(
        binary=settings.emperor_wrapper or binary,
        wrapper_override=settings.emperor_wrapper_override,
        wrapper_fallback=settings.emperor_wrapper_fallback,
        wrapper_attribute=settings.emperor_wrapper_attr,
        inherit_before=settings.vassals_inherit_before,
        include_before=settings.vassals_include_before,
        set=settings.vassal_set,
        inherit=settings.vassals_inherit,
        include=settings.vassals_include,
        extra_extensions=settings.emperor_extra_extension,
        magic_exec=settings.emperor_magic_exec,
    )


def monitor_options_of(settings: EmperorSettings, start_directory: str) -> MonitorOptions:
    interval = settings.emperor_freq
    return MonitorOptions(
        start_directory=start_directory,
        interval=None if interval is None else Seconds(max(interval, 1)),
        extra_extensions=settings.emperor_extra_extension,
        nofollow=settings.emperor_nofollow,
        tyrant=settings.emperor_tyrant,
        tyrant_nofollow=settings.emperor_tyrant_nofollow,
        collect_attributes=settings.emperor_collect_attr,
        on_demand_extension=settings.emperor_on_demand_extension,
        on_demand_directory=settings.emperor_on_demand_directory,
        on_demand_exec=settings.emperor_on_demand_exec,
        sections=settings.emperor_sections,
        magic_exec=settings.emperor_magic_exec,
    )
