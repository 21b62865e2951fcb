"""Indexes and expiry."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from pymongo.synchronous.topology import Topology

from drivetrain.contract import Completion, Group, Member, ServiceRefused, State, Transition


def end(task_id="t", **fields):
    return Transition(task_id=task_id, state=State.SUCCESS, at=2.0, **fields)


def test_several_processes_create_the_indexes_once_each(commands, make, collections):
    backends = [make() for _ in range(6)]
    barrier, errors = threading.Barrier(len(backends)), []

    def begin(number):
        barrier.wait()
        try:
            for index in range(3):
                backends[number].record([end(f"{number}-{index}")])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(len(backends))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert commands.count("createIndexes") == 2 * len(backends)  # and not for every write
    # By their keys: not every server gives indexes the names that were asked for.
    found = [[name for name, _ in index["key"]] for index in collections["records"].index_information().values()]
    assert sorted(found) == [["_id"], ["delete_at"], ["expires"], ["listed"]]
    found = [[name for name, _ in index["key"]] for index in collections["values"].index_information().values()]
    assert sorted(found) == [["_id"], ["ends"], ["key"]]


def test_the_indexes_are_asked_for_as_mongodb_knows_them(make, monkeypatch):
    asked = []
    monkeypatch.setattr(Collection, "create_indexes", lambda self, models: asked.extend(m.document for m in models))
    make().record([end()])
    assert [model["name"] for model in asked] == ["expires", "delete_at", "listed", "ends", "key"]
    assert asked[1]["expireAfterSeconds"] == 0


@pytest.mark.parametrize("code", [13, 85, 86])
def test_missing_indexes_are_only_a_warning_if_they_are_managed_elsewhere(code, make, monkeypatch, caplog):
    def refused(*_args, **_named):
        raise OperationFailure("x", code, {"errmsg": "not yours", "code": code})

    monkeypatch.setattr(Collection, "create_indexes", refused)
    assert make().record([end()])[0].applied
    assert "not yours" in caplog.text


def test_indexes_that_cannot_be_made_are_an_error(make, monkeypatch):
    def refused(*_args, **_named):
        raise OperationFailure("x", 14031, {"errmsg": "out of disk space", "code": 14031})

    backend = make()
    with monkeypatch.context() as patch:
        patch.setattr(Collection, "create_indexes", refused)
        with pytest.raises(ServiceRefused, match="disk space"):
            backend.record([end()])
    assert backend.record([end()])[0].applied  # tried again


def test_the_server_deletes_a_record_that_no_worker_swept_an_hour_later(make, collections):
    backend = make()
    before = datetime.now(UTC)
    backend.record([end("soon", retention=60.0), end("later", retention=10_000.0), end("never")])
    backend.record([Transition(task_id="runs", state=State.STARTED, run="r", at=1.0, retention=1.0)])
    backend.shorten_retention(["later"], retention_seconds=60.0)
    dates = {document["_id"]: document.get("delete_at") for document in collections["records"].find()}
    assert (dates["never"], dates["runs"]) == (None, None)
    for name in ("soon", "later"):
        assert abs(_date(dates[name]) - before - timedelta(seconds=3_660)) < timedelta(seconds=30)


def _date(date):
    # nx-27017 gives a date that was set by an update back as text.
    return (datetime.fromisoformat(date) if isinstance(date, str) else date).replace(tzinfo=UTC)


def test_a_sweep_deletes_expired_records_with_their_groups(make, collections):
    backend = make()
    backend.open_groups([Group(group_id=name, size=1) for name in ("over", "stays")])
    backend.complete([Completion(member=Member(name, 0), payload=b"v") for name in ("over", "stays")])
    backend.record([end("over", retention=0.0), end("also", retention=0.0), end("stays")])
    assert backend.sweep() == 2
    assert {document["_id"] for document in collections["records"].find()} == {"stays"}
    assert collections["members"].count_documents({}) == 1


def test_closing_does_not_wait_for_an_unavailable_server(make, stoppable, monkeypatch):
    if not stoppable.server.stoppable:
        pytest.skip("the server is not ours to stop")
    backend, allowed = make(), []
    backend.record([end()])

    def noted(topology):
        allowed.append(stoppable.patient(topology))
        return min(allowed[-1], 0.05)

    stoppable.stop()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Topology, "get_server_selection_timeout", noted)
            backend.close()
    finally:
        stoppable.start()
    assert allowed
    assert max(allowed) <= 0.5


def test_writes_are_acknowledged_by_a_majority_and_read_from_it(make):
    with make()._connection.use() as collections:
        for one in (collections.records, collections.members, collections.bodies, collections.values):
            assert one.write_concern.document == {"w": "majority", "j": True, "wtimeout": 20_000}
            assert one.read_concern.level == "majority"
        options = collections.database.client.options
        assert (options.retry_writes, options.retry_reads) == (False, False)
