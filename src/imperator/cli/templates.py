"""Files that are there for other files to include, and that an Emperor starts as vassals all the same.

Such a file has settings and nothing to run: no socket, no application, no daemon, no program, and includes nothing.
"""

from __future__ import annotations

import re
from typing import Final

from imperator.config.formats import FORMATS
from imperator.config.given import Configuration
from imperator.config.instance_settings import InstanceSettings

_TAKES_IN: Final = frozenset({"include", "inherit", "config", *FORMATS})
_DOES_SOMETHING: Final = re.compile(
    r".*-socket|socket|https?|https2|fastrouter|rawrouter|sslrouter|.*router|emperor|vassals?|zerg.*|mule|mules|farm"
    r"|.*spooler.*|.*cron.*|.*timer.*|signal.*|legion.*|psgi|rack|rails|php-.*|ruby-.*|lua|.*paste.*|pecan|web3|pump"
    r"|attach-.*|smart-attach.*|subscribe.*|subscription.*|tuntap.*|forkpty.*|exec-.*|hook-.*|call-.*|eval|pyrun|pyshell"
    r"|python-.*|py-.*|pyimport|import|shared-import|mono-.*|jvm-.*|cgi|gccgo.*|go-.*|symcall|spooler-.*|fork-server"
    r"|worker-exec.*|programmed.*|file-serve.*|static-.*|check-static.*|route.*|cache2?|reload-on.*|emperor-.*"
)


def does_nothing(configuration: Configuration, settings: InstanceSettings, name: str) -> bool:
    """Would the vassal called ``name`` have nothing to do?"""
    if (
        settings.sockets
        or settings.has_application
        or settings.daemons
        or settings.cron
        or settings.privileged_binary_patch
        or settings.unprivileged_binary_patch
        or settings.engine == "binary"
        or settings.static_map
    ):
        return False
    says_something = False
    for given in configuration:
        is_own = given.where.rpartition(":")[0] == name
        if is_own and given.key in _TAKES_IN:
            return False
        if not given.placeholder and _DOES_SOMETHING.fullmatch(given.key):
            return False
        says_something = says_something or is_own
    return says_something
