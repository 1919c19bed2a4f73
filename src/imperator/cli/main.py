"""The command ``imperator``: an Emperor, or one of the sub-commands.

Everything is imported where it is needed: an Emperor stays small, and ``--help`` is quick.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from imperator.config.given import Configuration

USAGE_ERROR = 2
CONFIGURATION_ERROR = 1
INTERRUPTED = 128 + 2  # as a shell says of a program that SIGINT has ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line says; returns the exit code."""
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:  # before anything was begun that would end in an order of its own
        return INTERRUPTED


def _main(arguments: list[str]) -> int:
    match arguments:
        case ["status", *rest]:
            from imperator.cli import status

            return status.main(rest)
        case ["check", *rest]:
            from imperator.cli import check

            return check.main(rest)
        case ["audit", *rest]:
            from imperator.cli import audit

            return audit.main(rest)
        case ["shell", *rest]:
            from imperator.cli import shell

            return shell.main(rest)
        case ["explain", *rest]:
            from imperator.cli import explain

            return explain.main(rest)
        case ["--version" | "version" | "-V"]:
            from imperator import __version__

            print(__version__)
            return 0
        case ["--help" | "-h" | "help", *_]:
            from imperator.cli.arguments import render_help

            print(render_help(), end="")
            return 0
        case _:
            return run(arguments)


def run(arguments: list[str]) -> int:
    """Be what the configuration says, or its ``fallback-config`` if that ends with 1."""
    code, fallback = _run(arguments)
    if code == CONFIGURATION_ERROR and fallback:
        print(f"imperator: it ends with {code}: {fallback} is tried instead (fallback-config)", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [*sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1], fallback])
    return code


def _run(arguments: list[str]) -> tuple[int, str | None]:
    from imperator.config.errors import ConfigurationError
    from imperator.config.language import load
    from imperator.config.variables import variables_of_process

    try:
        further = variables_of_process(arguments)
        configuration = load(arguments, os.environ, os.getcwd(), program=sys.argv[0], further=further)
        if configuration.last("show-config") is not None:
            from imperator.config.show import show_config

            sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
            print("\n" + show_config(configuration))
            return 0, None
        fallback = configuration.last("fallback-config")
        if configuration.last("emperor") is None and not configuration.last("imperial-monitor-list"):
            return be_instance(configuration, arguments), None if fallback is None else fallback.value
        return reign(configuration), None if fallback is None else fallback.value
    except ConfigurationError as error:
        print(f"imperator: {error}", file=sys.stderr)
        return error.code, error.fallback


def be_instance(configuration: Configuration, arguments: list[str]) -> int:
    """Serve an application until the end."""
    if not list(configuration):
        print(
            "imperator: nothing to do: say --emperor DIRECTORY, or name an application's file (try --help)",
            file=sys.stderr,
        )
        return USAGE_ERROR
    from imperator.instance.run import run as live

    return live(configuration, arguments, os.getcwd())


def reign(configuration: Configuration) -> int:
    """Be an Emperor until the end."""
    from imperator.config.loader import emperor_settings

    settings = emperor_settings(configuration)
    if settings.imperial_monitor_list:
        from imperator.monitors.registry import known_schemes

        print("\n".join(sorted(known_schemes())))
        return 0
    if not settings.emperor:
        print("imperator: nothing to reign over: say --emperor DIRECTORY (try --help)", file=sys.stderr)
        return USAGE_ERROR

    from imperator.bureau.journal import Journal
    from imperator.court.binary import NoBinary
    from imperator.court.run import CannotReign, run
    from imperator.reign.effects import Severity

    journal = Journal.open(settings)
    try:
        for note in settings.notes:
            journal.write(Severity.WARNING, "configuration", f"{note.where}: {note.text}")
        if settings.chdir is not None:
            os.chdir(settings.chdir)
        return run(settings, journal, os.getcwd())
    except (CannotReign, NoBinary) as error:
        journal.write(Severity.ERROR, "cannot-reign", str(error))
        return CONFIGURATION_ERROR
    finally:
        journal.close()
