"""``python -m bench [NAME...] [--only original|imperator]``: runs both, prints figures, ratios and goals."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import jails, routers, serving
from bench.emperors import NAMES
from bench.empires import Empires
from bench.goals import GOALS, Figures

EMPIRES = ("new_file", "touch_reload", "cold_start", "idle", "kill_respawn", "fork_bomb")
SERVING: dict[str, tuple[Callable[[Path, Sequence[str], int], serving.Results], int]] = {
    "hello": (serving.hello, 6),
    "hello_logged": (serving.hello_logged, 6),
    "hello_http11": (serving.hello_http11, 6),
    "behind_nginx": (serving.behind_nginx, 6),
    "django": (serving.django, 15),
    "show_config": (serving.show_config, 30),
}
"""Of one instance; the number of rounds of each side."""
JAILS: dict[str, Callable[[Path], Figures]] = {
    "jail_spawn": jails.jail_spawn,
    "vassal_net": jails.vassal_net,
    "tuntap": routers.tuntap_router,
}
"""Of ours alone, as root."""
BENCHMARKS = (*EMPIRES, *SERVING, *JAILS)


def _show(benchmark: str, name: str, figures: Figures) -> None:
    print(f"{benchmark:14} {name:10} " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()), flush=True)


def _conclude(benchmark: str, results: dict[str, Figures]) -> None:
    """The ratios, more than 1 being better where less is better, and what that says about the goals."""
    ours = results.get("imperator")
    if ours is None:
        return
    original = results.get("original")
    if original is not None:
        ratios = {}
        for key in ours:
            if original[key] and ours[key] and key not in ("vassals", "processes"):
                more_is_better = key.endswith("/s")
                ratios[key] = ours[key] / original[key] if more_is_better else original[key] / ours[key]
        _show(benchmark, "× better", ratios)
    for goal in GOALS.get(benchmark, ()):
        verdict = goal.judge(original, ours)
        if verdict is not None:
            print(f"{benchmark:14} {'goal':10} {verdict}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--only", choices=NAMES)
    parser.add_argument("--size", type=int, default=2000, help="vassals, for cold_start, idle and kill_respawn")
    parser.add_argument("--rounds", type=int, help=f"of each side, for {', '.join(SERVING)}")
    arguments = parser.parse_args()
    names = NAMES if arguments.only is None else (arguments.only,)
    print(f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, {time.ctime()}")
    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        empires: Empires | None = None
        for benchmark in arguments.names or BENCHMARKS:
            results: dict[str, Figures] = {}
            if benchmark in JAILS:
                results["imperator"] = JAILS[benchmark](Path(root))
                _show(benchmark, "imperator", results["imperator"])
            elif benchmark in SERVING:
                measure, rounds = SERVING[benchmark]
                results = measure(Path(root), names, arguments.rounds or rounds)
                for name in names:
                    _show(benchmark, name, results[name])
            else:
                empires = empires or Empires(Path(root), arguments.size)
                for name in names:
                    empires.reports.drain()
                    results[name] = getattr(empires, benchmark)(name)
                    _show(benchmark, name, results[name])
            _conclude(benchmark, results)


if __name__ == "__main__":
    main()
