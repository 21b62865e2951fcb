"""Runs the census with two workers, kills one of them halfway, starts another, and checks everything at the end."""

import argparse
import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Self

from drivetrain import Result, ResultTimeout, chord, group
from drivetrain.app.progress import progress_bar
from stdlib_census.audit import audit, in_hand
from stdlib_census.tasks import Census, analyse, app, merge

#: Another worker takes over what a killed one held when this has passed.
LEASE_SECONDS = 3
LONGEST_SECONDS = 300
COMMAND = (str(Path(sys.executable).with_name("drivetrain")), "worker", "stdlib_census.tasks:app")
#: Without a supervisor, since it is the workers themselves that are killed here.
OPTIONS = ("--no-supervisor", "--concurrency", "2", "--lease-seconds", str(LEASE_SECONDS))
#: The workers run in another directory, and find the tasks here.
EXAMPLES = str(Path(__file__).resolve().parent.parent)
TOP = 12


class Workers:
    """Workers started from the command line, each with a log of its own in the current directory."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []
        self.problems: list[str] = []
        self.log_of: dict[int, Path] = {}

    def start(self) -> None:
        number = len(list(Path().glob("worker-*.log"))) + 1
        path = Path(f"worker-{number}.log")
        with path.open("wb") as log:
            process = subprocess.Popen(
                [*COMMAND, *OPTIONS],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": EXAMPLES},
            )
        self.running.append(process)
        self.log_of[process.pid] = path

    def kill_one(self) -> bool:
        """SIGKILL to one that has work in hand: it cannot finish, say goodbye or give anything back."""
        victim = next((process for process in self.running if in_hand(process.pid)), None)
        if victim is None:
            return False
        self.running.remove(victim)
        victim.kill()
        victim.wait()
        return True

    def check(self) -> None:
        for process in self.running:
            if process.poll() is not None:
                raise SystemExit(f"a worker has ended with {process.returncode}:\n{self.logs()}")

    def stop(self) -> None:
        """SIGTERM: each finishes what it runs."""
        for process in self.running:
            self.await_start(process)  # before, the signal would just end it
            process.terminate()
        self.problems += [
            f"a worker has ended with {process.returncode}:\n{self.logs()}"
            for process in self.running
            if process.wait(timeout=60) != 0
        ]

    def await_start(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + 60
        while "receives from" not in self.log_of[process.pid].read_text() and process.poll() is None:
            if time.monotonic() > end:
                raise SystemExit(f"a worker has not started:\n{self.logs()}")
            time.sleep(0.02)

    def logs(self) -> str:
        return "\n".join(log.read_text() for log in sorted(Path().glob("worker-*.log")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="how many files to take; all by default")
    directory = Path(sysconfig.get_path("stdlib"))
    paths = python_files(directory)[: parser.parse_args().limit]
    with (
        tempfile.TemporaryDirectory(prefix="drivetrain-demo-") as work,
        contextlib.chdir(work),
        # The workers start in this directory, and so their app finds the file by itself; this one was made elsewhere.
        app.using(f"sqlite:///{work}/drivetrain.db"),
    ):
        problems = run(str(directory), paths)
    for problem in problems:
        print(f"WRONG: {problem}")
    return 1 if problems else 0


def python_files(directory: Path) -> list[str]:
    """The Python files of the standard library, relative to its directory."""
    found = (path.relative_to(directory) for path in directory.rglob("*.py"))
    return sorted(path.as_posix() for path in found if not {"site-packages", "dist-packages"}.intersection(path.parts))


def run(directory: str, paths: list[str]) -> list[str]:
    """The whole story; what is wrong at the end of it."""
    print(f"{len(paths)} files of Python {sys.version.split()[0]}, one task for each, merged by one more: a chord.")
    print("Two workers share them by way of an SQLite file; there is no server. Halfway, one of them is killed.")
    began = time.monotonic()
    header = group(analyse.si(directory, path).set(task_id=path) for path in paths).set(group_id="files")
    result = app.send(chord(header, merge.s().set(task_id="merge")))
    with Workers() as workers:
        workers.start()
        workers.start()
        watch(workers, len(paths))
        census = wait_for(result, workers)
        took = time.monotonic() - began
        workers.stop()
    print_table(census)
    print(f"That took {took:.1f} s. Now the same in a plain loop, to compare …")
    same = merge([analyse(directory, path) for path in paths]) == census
    print(f"The plain loop finds {'the same' if same else 'SOMETHING ELSE'}.")
    found = audit(app, [*paths, "merge"], Path())
    print(found.describe())
    print("The tasks are examples/stdlib_census/tasks.py, and this is demo.py beside it; README.md shows how to begin.")
    return [*([] if same else ["the totals differ"]), *found.problems(), *workers.problems]


def watch(workers: Workers, total: int) -> None:
    """Show how far the group is; when it is halfway, kill one worker and start another."""
    files = app.result("files")
    show = progress_bar(total)
    ended = killed = False
    while not ended:
        ended = files.wait(0.2)
        (counts,) = app.runtime.backend.read_groups([files.id])
        done = 0 if counts is None else counts.done
        show(done, total)
        if not killed and done >= total / 2 and workers.kill_one():
            workers.start()
            killed = True
        workers.check()
    print(
        "Halfway, one worker was killed with SIGKILL and another was started."
        if killed
        else "It was over before a worker could be killed."
    )


def wait_for(result: Result[Census], workers: Workers) -> Census:
    deadline = time.monotonic() + LONGEST_SECONDS
    while True:
        try:
            return result.get(timeout=1)
        except ResultTimeout:
            workers.check()
            if time.monotonic() > deadline:
                raise


def print_table(census: Census) -> None:
    columns = "{:<18}{:>7}{:>10}{:>11}{:>9}  {}"
    print(columns.format("module", "files", "lines", "functions", "classes", "longest function"))
    largest = sorted(census.modules, key=lambda module: -module.lines)[:TOP]
    for one in (*largest, census.total):
        longest = f"{one.longest.name} ({one.longest.lines} lines)" if one.longest.name else ""
        print(columns.format(one.module, one.files, one.lines, one.functions, one.classes, longest))
    print(f"{census.total.unparsed} of the files do not parse.")


if __name__ == "__main__":
    sys.exit(main())
