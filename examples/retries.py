"""A task that fails now and then, its retries, and what is told when it has finally failed."""

import tempfile
import threading
from pathlib import Path

from drivetrain import App, Failure, TaskFailed, current_task, retry

app = App(f"sqlite:///{Path(tempfile.mkdtemp(), 'work.db')}")
told = threading.Event()


@app.task(retry=retry.exponential(base=0.05, max_retries=4, retry_on=ConnectionError))
def fetch(page: str, works_in_attempt: int) -> str:
    attempt = current_task().attempt
    if attempt < works_in_attempt:
        raise ConnectionError(f"{page} did not answer in attempt {attempt}")
    return f"{page}, in attempt {attempt}"


@app.task
def tell(failure: Failure) -> None:
    print(f"told: {failure.type} in attempt {failure.attempt}: {failure.message}")
    told.set()


def main() -> None:
    with app.worker():
        print("fetched:", fetch.send("news", works_in_attempt=2).get(timeout=30))
        lost = fetch.s("archive", works_in_attempt=9).set(on_error=[tell.s()]).send()
        try:
            lost.get(timeout=30)
        except TaskFailed as error:
            print(f"failed: {error.failure.message}")
        told.wait(timeout=30)


if __name__ == "__main__":
    main()
