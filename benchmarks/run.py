"""``make bench``: drivetrain beside other task queues, on this machine. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from charts import draw
from comparison import GROUPS
from contestants import ENTRIES, Entry
from hot_spots import SUBJECTS, hot_spots
from measures import MEASURES
from report import as_json, as_markdown, machine
from servers import why_missing
from session import Plan, run

_RESULTS = Path(__file__).with_name("results")
_ROUNDS = 5


def main() -> None:
    options = _options()
    _RESULTS.mkdir(exist_ok=True)
    entries = _entries(options)
    if options.profile:
        ours = next(entry for entry in entries if entry.system == "drivetrain")
        for subject in SUBJECTS:
            print(hot_spots(subject, ours, _RESULTS), flush=True)
        return
    plan = Plan(
        entries=entries,
        measures=[
            measure
            for name, measure in MEASURES.items()
            if name in (options.measures or MEASURES)
            if options.measures or not options.quick or measure.quick_size is not None
        ],
        rounds=options.rounds or (1 if options.quick else _ROUNDS),
        quick=options.quick,
        where=_RESULTS,
        tasks=options.tasks,
    )
    facts = machine(_RESULTS)
    results = run(plan, MEASURES["drain"])
    text = as_markdown(plan, results, facts)
    print(text)
    (_RESULTS / "latest.md").write_text(text)
    (_RESULTS / "latest.json").write_text(json.dumps(as_json(plan, results, facts), indent=1))
    draw(results, _RESULTS)
    if results.failures:
        raise SystemExit("\n".join(results.failures))


def _entries(options: argparse.Namespace) -> Sequence[Entry]:
    groups = options.groups or (["redis"] if options.quick or options.profile else GROUPS)
    wanted = [
        entry
        for name, entry in ENTRIES.items()
        if any(entry.group.startswith(group) for group in groups)
        if not options.only or any(part.lower() in name.lower() for part in options.only)
    ]
    with TemporaryDirectory() as directory:
        missing = {
            service: why
            for entry in wanted
            for service in entry.services
            if (why := why_missing(service, Path(directory)))
        }
    for service, why in missing.items():
        print(f"Without what needs {service}: {why}.", file=sys.stderr)
    if not (there := [entry for entry in wanted if not missing.keys() & set(entry.services)]):
        raise SystemExit(f"nothing to measure; there are the groups {', '.join(GROUPS)} and: {', '.join(ENTRIES)}")
    return there


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", default=_is_set("QUICK"), help="main measures, few tasks, one round, on Redis")
    add("--profile", action="store_true", default=_is_set("PROFILE"), help="only say where the time of drivetrain goes")
    add("--rounds", type=int, help=f"by default {_ROUNDS}; 1 if quick")
    add("--measures", nargs="+", choices=MEASURES, metavar="MEASURE", help=f"of {', '.join(MEASURES)}")
    add("--groups", nargs="+", metavar="GROUP", help=f"of {', '.join(GROUPS)}; only those that begin like this")
    add("--only", nargs="+", metavar="TEXT", help="only rows with one of these in their name")
    add("--tasks", type=int, help="in place of the measures' own numbers of tasks, for each")
    return parser.parse_args()


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "") not in {"", "0"}


if __name__ == "__main__":
    main()
