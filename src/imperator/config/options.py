"""Every option there is, by name: is it one, does it take a value, does it act at once? Ours and uWSGI's together.

This is what the language has to know; what an option means is in the catalogue. The names of ours are here once more,
because the catalogue takes longer to load than a file to read.
"""

from __future__ import annotations

from imperator.config import options_uwsgi
from imperator.config.formats import FORMATS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_OURS_WORDS = """
asgi cap cgroup-parent emperor-cap emperor-chdir-attr emperor-collect-attr emperor-collect-attribute
emperor-command-socket emperor-wait-for-command-ignore emperor-wrapper-attr engine forkpty-router
forkpty-router-cmd forkpty-router-command forkpty-urouter forkptyrouter forkptyrouter-cmd forkptyrouter-cols
forkptyrouter-command forkptyrouter-rows forkptyurouter hook-as-emperor-before-vassal hook-as-emperor-setns
hook-as-on-config-vassal hook-as-on-demand-vassal hook-as-vassal-before-drop interface limit-nofile
log-file-chmod mount-as-user mount-post-app mount-pre-app rsgi tuntap-device tuntap-device-rule tuntap-router
tuntap-router-firewall-in tuntap-router-firewall-out tuntap-router-route tuntap-router-stats
tuntap-use-credentials umount-as-user umount-post-app umount-pre-app vassal-cpu-max vassal-io-max
vassal-io-weight vassal-log vassal-memory-max vassal-net vassal-net-bridge vassal-net-pool vassal-pids-max
vassal-seccomp vassal-writable
"""
_OUR_FLAGS_WORDS = """
disable-log emperor-sections emperor-subreaper emperor-tyrant-initgroups emperor-wait-for-command log-file-chown
vassal-cgroup vassal-hidden-proc vassal-net-isolate vassal-no-new-privs vassal-private-tmp vassal-read-only
"""
_OURS = frozenset(_OURS_WORDS.split())
_OUR_FLAGS = frozenset(_OUR_FLAGS_WORDS.split())


def is_option(name: str) -> bool:
    """Is it an option of ours or of uWSGI's?"""
    return options_uwsgi.is_option(name) or name in _OURS or name in _OUR_FLAGS or name in FORMATS


def is_of_uwsgi(name: str) -> bool:
    """Is it an option of uWSGI's? Others may be placeholders in a file that was written for it."""
    return options_uwsgi.is_option(name)


def ours() -> frozenset[str]:
    """The options that uWSGI does not have."""
    return _OURS | _OUR_FLAGS


def is_immediate(name: str) -> bool:
    """Does it act as soon as it is met, before the options after it?"""
    return options_uwsgi.is_immediate(name) or name in FORMATS


def takes_value(name: str) -> bool:
    """On the command line: is the word after it its value?"""
    return options_uwsgi.takes_value(name) or name in _OURS or (name in FORMATS and not options_uwsgi.is_option(name))


def arity(name: str) -> options_uwsgi.Arity:
    """The same with a third answer, ``optional``: only what is written together with it, ``--name=value``."""
    return options_uwsgi.arity(name) or ("required" if takes_value(name) else "none")


def name_of_letter(letter: str) -> str | None:
    """``-s`` is ``socket``; ``None``: there is no such letter."""
    return options_uwsgi.by_letter(letter)


def unabbreviated(written: str, further: Iterable[str] = ()) -> str | None:
    """The option that is meant by a word on the command line, or by the beginning of one (getopt_long(3)).

    ``further``: options that were declared. uWSGI's come first: what its users write goes on meaning that.
    ``None``: there is no such option, or more than one that begins like this.
    """
    for names in (frozenset({*options_uwsgi.names(), *further}), frozenset({*ours(), *FORMATS})):
        if written in names:
            return written
        near = [name for name in names if name.startswith(written)]
        if len(near) == 1 and len(written) > 1:
            return near[0]
    return None


def suggestion(name: str) -> str:
    """``did you mean …?`` for a name that is no option; empty if nothing is near."""
    from imperator.config import catalogue

    return catalogue.suggestion(name)
