"""A nightly task: at 02:30 in Paris a schedule sends it, once, however many workers watch the clock.

The schedule is stored in the backend. A night that fails, a queue that is purged, and a worker that dies change nothing
for the next night. The story below takes four nights of virtual time, and no time at all. In the third one, clocks in
Paris are turned forward from 02:00 to 03:00: the books are closed at 03:00.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from drivetrain import App, cron, current_task
from drivetrain.testing import VirtualTime

PARIS = ZoneInfo("Europe/Paris")

app = App("sqlite:///shop.db")


@app.task
def close_the_books() -> None:
    tick = current_task().tick
    assert tick is not None, "the schedule sends this task"
    night = tick.instant.astimezone(PARIS)
    if night.day == 28:
        raise RuntimeError(f"the books of {night:%Y-%m-%d} do not add up")
    print(f"closed the books at {night:%Y-%m-%d %H:%M}")


app.schedule("close-the-books", close_the_books.si(), cron("30 2 * * *", tz="Europe/Paris"), overlap="skip")


def main() -> None:
    with VirtualTime(app, start=datetime(2026, 3, 26, 12, tzinfo=UTC)) as virtual:
        virtual.run_for(hours=1)
        print("the next night is", app.schedules.get("close-the-books").next[0].astimezone(PARIS))
        virtual.run_for(days=4)
        schedule = app.schedules.get("close-the-books")
        print("nights:", schedule.sent, "- the schedule is", schedule.state)


if __name__ == "__main__":
    main()
