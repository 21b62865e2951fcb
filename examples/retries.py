"""A task that fails now and then, its retries, and a callback for its final failure."""

import tempfile
import threading
from pathlib import Path

from drivetrain import App, Failure, TaskFailed, current_task, retry

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}")
reported = threading.Event()


@app.task(retry=retry.exponential(base=0.05, max_retries=4, retry_on=ConnectionError))
def fetch(page: str, works_in_attempt: int) -> str:
    attempt = current_task().attempt
    if attempt < works_in_attempt:
        raise ConnectionError(f"{page} did not answer in attempt {attempt}")
    return f"{page}, in attempt {attempt}"


@app.task
def report(failure: Failure) -> None:
    print(f"reported: {failure.type} in attempt {failure.attempt}: {failure.message}")
    reported.set()


def main() -> None:
    with app.worker():
        print("fetched:", fetch.send("news", works_in_attempt=2).get(timeout=30))
        lost = fetch.s("archive", works_in_attempt=9).set(on_error=[report.s()]).send()
        try:
            lost.get(timeout=30)
        except TaskFailed as error:
            print(f"failed: {error.failure.message}")
        reported.wait(timeout=30)


if __name__ == "__main__":
    main()
