"""What became of every task: from the ledgers of the workers and the records of the backend."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drivetrain import App, State, UnknownResult


@dataclass(frozen=True)
class Audit:
    """How many tasks ran, and how often."""

    #: Tasks that have succeeded.
    ran: int
    #: Tasks that were started again, before they had ended, because their worker was killed.
    redelivered: int
    #: Tasks whose success is not recorded.
    lost: int
    #: Starts of a task after its success was recorded.
    ran_twice: int
    #: Tasks that no ledger knows, although they have succeeded.
    unexplained: int

    def describe(self) -> str:
        return (
            f"{self.ran} tasks ran, {self.redelivered} were redelivered, {self.lost} were lost, "
            f"{self.ran_twice} ran twice after finishing."
        )

    def problems(self) -> list[str]:
        return [
            text
            for count, text in (
                (self.lost, "tasks were lost"),
                (self.ran_twice, "tasks ran again after they had finished"),
                (self.unexplained, "tasks succeeded that no worker says it started"),
            )
            if count
        ]


def audit(app: App, task_ids: Iterable[str], ledgers: Path) -> Audit:
    """Compare what the workers in ``ledgers`` did with what the backend knows."""
    starts = read_starts(ledgers)
    ran = redelivered = lost = ran_twice = unexplained = 0
    for task_id in task_ids:
        finished = finished_at(app, task_id)
        if finished is None:
            lost += 1
            continue
        ran += 1
        late = sum(started > finished for started in starts[task_id])
        ran_twice += late
        redelivered += len(starts[task_id]) - late > 1
        unexplained += not starts[task_id]
    return Audit(ran, redelivered, lost, ran_twice, unexplained)


def read_starts(ledgers: Path) -> dict[str, list[float]]:
    """When each task was started, in Unix seconds, by whichever worker."""
    starts = defaultdict(list)
    for ledger in ledgers.glob("ledger-*.txt"):
        for line in ledger.read_text().splitlines():
            at, what, task_id = line.split(" ", 2)
            if what == "started":
                starts[task_id].append(float(at))
    return starts


def in_hand(process_id: int) -> int:
    """How many tasks a worker has started and not finished."""
    ledger = Path(f"ledger-{process_id}.txt")
    told = ledger.read_text() if ledger.exists() else ""
    return told.count(" started ") - told.count(" succeeded ")


def finished_at(app: App, task_id: str) -> float | None:
    """When the success of a task was recorded, in Unix seconds; None if it was not."""
    try:
        record = app.result(task_id).record()
    except UnknownResult:
        return None
    return record.history[State.SUCCESS].at if record.state is State.SUCCESS else None
