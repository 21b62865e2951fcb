"""Listing unfinished tasks among very many keys: page after page, each of bounded work, over one server or several."""

import pytest

from drivetrain.contract import DriverContext, State, TaskReach, Transition
from drivetrain_redis import admin, make_backend

UNFINISHED = TaskReach.UNFINISHED.states


@pytest.fixture(params=["one", "cluster"])
def many(request, prefix, monkeypatch):
    """A backend for which a step passes five keys, and a page three steps."""
    monkeypatch.setattr(admin, "_STEP", 5)
    monkeypatch.setattr(admin, "_MOST_STEPS", 3)
    if request.param == "one":
        url = f"{request.getfixturevalue('redis_server').url}/0?namespace={prefix}"
    else:
        url = f"{request.getfixturevalue('redis_cluster').url}?durability=none&namespace={prefix}"
    backend = make_backend(url, DriverContext())
    yield backend
    backend.close()


def send(backend, names):
    backend.record([Transition(task_id=name, state=State.PENDING, at=1.0) for name in names])


def finish(backend, names):
    backend.record([Transition(task_id=name, state=State.SUCCESS, at=2.0, run=None) for name in names])


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_every_page_is_bounded_and_together_they_hold_all(many, limit):
    names = [f"task-{number}" for number in range(100)]
    send(many, names)
    finish(many, names[::3])
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = many.list_tasks(UNFINISHED, limit=limit, cursor=cursor)
        assert len(page.records) <= limit
        seen += [record.task_id for record in page.records]
        cursor, pages = page.cursor, pages + 1
    assert set(seen) == set(names) - set(names[::3])
    assert pages > 100 / limit / 2


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_keys_that_vanish_between_two_pages_hide_no_other(many, limit):
    """A step of a scan then passes other keys than the step of the page before from the same position."""
    for repetition in range(10):
        names = [f"{repetition}-{number}" for number in range(30)]
        send(many, names)
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = many.list_tasks(UNFINISHED, limit=limit, cursor=cursor)
            found = [record.task_id for record in page.records]
            many.forget(found[-1:])
            seen += found
            cursor, pages = page.cursor, pages + 1
        assert sorted(set(seen)) == sorted(names)
        many.forget(names)


def test_a_page_of_finished_tasks_is_empty_and_not_the_last(many):
    names = [f"task-{number}" for number in range(200)]
    send(many, names)
    finish(many, names)
    page = many.list_tasks(UNFINISHED, limit=10)
    assert (list(page.records), page.cursor is None) == ([], False)
