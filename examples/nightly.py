"""A nightly task: at 02:00 (UTC) it sends its successor, for 02:00 the day after, and then does its work.

There is no scheduler that could be down. The successor has an id of its own, so sending it twice is sending it once: a
night that is started again after a crash makes no second chain of nights. The story below takes three nights of virtual
time, and no time at all.
"""

from datetime import UTC, date, datetime, time, timedelta

from drivetrain import App, Result
from drivetrain.testing import VirtualTime

app = App("sqlite:///shop.db")


@app.task(retention=timedelta(days=7))  # so long its id is known, and not sent again
def close_the_books(day: str) -> None:
    tonight = date.fromisoformat(day)
    send_for(tonight + timedelta(days=1))  # first: if the work fails, there is a tomorrow all the same
    if tonight.day == 3:
        raise RuntimeError(f"the books of {day} do not add up")
    print("closed the books of", day)


def send_for(day: date) -> Result[None]:
    at_two = datetime.combine(day, time(2), UTC)
    return close_the_books.si(day.isoformat()).set(eta=at_two, task_id=f"close-the-books-{day}").send()


def main() -> None:
    with VirtualTime(app, start=datetime(2026, 1, 1, 12, tzinfo=UTC)) as virtual:
        first = send_for(date(2026, 1, 2))
        virtual.run_until(datetime(2026, 1, 2, 1, 59, tzinfo=UTC))
        print("at 01:59 the first night is", first.state())
        virtual.run_for(days=3)
        print("the first night is", first.state())


if __name__ == "__main__":
    main()
