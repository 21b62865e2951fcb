"""map, starmap and chunks: groups of calls of one task."""

import pytest

from drivetrain import App, InvalidArguments, InvalidSignature, Rate, TaskFailed, chain, chord
from drivetrain.testing import VirtualTime


@pytest.fixture
def app():
    with App("memory://") as app:
        yield app


@pytest.fixture
def add(app):
    @app.task(name="add", queue="sums")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


@pytest.fixture
def run(app):
    with VirtualTime(app) as time:

        def run(workflow):
            handle = app.send(workflow)
            time.run_ready()
            return handle.get(timeout=0)

        yield run


def test_map_and_starmap_are_groups_with_a_task_for_each_call(add, run):
    assert run(add.map([1, 2])) == [1, 2]
    assert run(add.starmap([(1, 2), (3, 4)])) == [3, 7]
    assert run(add.starmap([])) == []


def test_chunks_make_several_calls_in_one_task(app, add, run):
    workflow = add.chunks(((n, n) for n in range(5)), 2)
    assert [len(member.args[0]) for member in workflow.members] == [2, 2, 1]
    assert run(workflow) == [[0, 2], [4, 6], [8]]
    assert app.tasks["add[]"].defaults.queue == "sums"
    assert "add[]" not in list(app.tasks)


def test_chunks_fit_into_chains_and_chords(app, add, run):
    @app.task(name="flat")
    def flat(chunks: list[list[int]]) -> int:
        return sum(map(sum, chunks))

    assert run(chord(add.chunks([(1, 2), (3, 4), (5, 6)], 2), flat.s())) == 21
    assert run(chain(add.si(1, 2), add.chunks([(1, 2)], 1), flat.s())) == 3


def test_chunks_of_coroutine_functions(app, run):
    @app.task(name="double")
    async def double(x: int) -> int:
        return 2 * x

    assert run(double.chunks([(1,), (2,)], 5)) == [[2, 4]]


def test_each_call_of_a_chunk_is_checked_when_it_is_sent(app, add):
    with pytest.raises(InvalidArguments, match="parameter 'x'"):
        app.send(add.chunks([(1, 2), ("one", 2)], 2))
    with pytest.raises(InvalidArguments, match=r"make it with task\.chunks"):
        app.send(app.signature("add[]", 1, 2))
    with pytest.raises(InvalidSignature, match="chunks of 0 calls"):
        add.chunks([(1, 2)], 0)


def test_a_chunk_fails_with_its_first_error(app, run):
    seen = []

    @app.task(name="picky")
    def picky(x: int) -> int:
        seen.append(x)
        if x == 2:
            raise ValueError("not two")
        return x

    with pytest.raises(TaskFailed, match="not two"):
        run(picky.chunks([(1,), (2,), (3,)], 3))
    assert seen == [1, 2]


def test_tasks_with_limits_have_no_chunks(app):

    task = app.task(name="slow", limits=[Rate("api", 1)])(lambda x: x)
    with pytest.raises(InvalidSignature, match="has limits"):
        app.send(task.chunks([(1,)], 1))
