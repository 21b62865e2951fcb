"""A chord of ten thousand members on one SQLite file, with two workers: complete, in order, its callback once."""

from collections import Counter

import pytest

from drivetrain import App, chord, current_task
from support.waiting import Log

MEMBERS = 10_000


@pytest.mark.slow
def test_a_chord_of_ten_thousand_members_fires_once(tmp_path):
    app = App(f"sqlite:///{tmp_path}/work.db")
    ran, called = Log(), Log()

    @app.task(name="member")
    def member(number: int) -> int:
        ran.note(number)
        return number

    @app.task(name="callback")
    def callback(numbers: list[int]) -> list[int]:
        called.note((current_task().task_id, len(numbers)))
        return numbers

    with app, app.worker(), app.worker():
        handle = chord([member.s(number) for number in range(MEMBERS)], callback.s()).send()
        assert handle.get(timeout=90) == list(range(MEMBERS))
    assert len(called.notes) == 1
    assert Counter(ran.notes) == Counter(range(MEMBERS))
