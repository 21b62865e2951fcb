"""``make bench``: drivetrain beside Huey, on this machine. See README.md."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from contestants import ENTRIES
from hot_spots import SUBJECTS, hot_spots
from measures import MEASURES
from report import as_json, as_markdown, machine
from session import Plan, run

_RESULTS = Path(__file__).with_name("results")


def main() -> None:
    options = _options()
    _RESULTS.mkdir(exist_ok=True)
    if options.profile:
        for subject in SUBJECTS:
            print(hot_spots(subject, options.threads, _RESULTS), flush=True)
        return
    plan = Plan(
        entries=[entry for name, entry in ENTRIES.items() if options.only in name],
        measures=[MEASURES[name] for name in options.measures],
        rounds=options.rounds or (1 if options.quick else 5),
        quick=options.quick,
        where=_RESULTS,
    )
    facts = machine(_RESULTS)
    results = run(plan, MEASURES["drain"])
    text = as_markdown(plan, results, facts)
    print(text)
    name = "quick" if plan.quick else "full"
    (_RESULTS / f"{name}.md").write_text(text)
    (_RESULTS / f"{name}.json").write_text(json.dumps(as_json(plan, results, facts), indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", default=_is_set("QUICK"), help="few tasks, one round")
    parser.add_argument("--profile", action="store_true", default=_is_set("PROFILE"), help="only say where time goes")
    parser.add_argument("--rounds", type=int, help="by default 5; 1 if quick")
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="MEASURE")
    parser.add_argument("--only", default="", help="only rows with this in their name")
    parser.add_argument("--threads", type=int, default=4, help="worker threads while profiling")
    return parser.parse_args()


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") not in {"", "0"}


if __name__ == "__main__":
    main()
