"""What a chord of ten thousand members costs in round trips and bytes: counted, so that load changes nothing."""

from drivetrain.contract import Completion, Group, Member, State, Transition
from drivetrain_memcache.connection import Connection
from drivetrain_memcache.protocol import batches

MEMBERS = 10_000
#: What a worker that is busy records at once.
BATCH = 200
PAYLOAD = b"p" * 100


def test_a_chord_of_ten_thousand_costs_what_its_members_cost(memcached, backends, monkeypatch):
    """No member's end rewrites or rereads more than the bits; the figures are those of the README."""
    cost = Cost(monkeypatch)
    backend = backends(f"{memcached.url}/?namespace=cost")
    backend.open_groups([Group(group_id="g", size=MEMBERS)])
    opening = cost.taken()
    for first in range(0, MEMBERS, BATCH):
        outcomes = backend.record([end(index) for index in range(first, first + BATCH)])
    assert outcomes[-1].group.complete
    ending = cost.taken()
    assert backend.read_members("g") == [PAYLOAD] * MEMBERS
    reading = cost.taken()
    assert opening[0] <= 3
    assert ending[0] <= 5 * MEMBERS / BATCH  # the record's gets and cas, the header, the payloads, the bits
    assert ending[1] < MEMBERS * 900
    assert reading[0] <= MEMBERS / 400 + 2
    assert reading[1] < MEMBERS * 250
    backend.forget(["g"])


def test_ends_one_by_one_cost_the_bits_each_and_not_the_group(memcached, backends, monkeypatch):
    backend = backends(f"{memcached.url}/?namespace=cost-alone")
    backend.open_groups([Group(group_id="g", size=MEMBERS)])
    backend.complete([completion(index) for index in range(MEMBERS - 100)])
    cost = Cost(monkeypatch)
    for index in range(MEMBERS - 100, MEMBERS):
        (progress,) = backend.complete([completion(index)])
    trips, bytes_ = cost.taken()
    assert progress.complete
    assert trips == 3 * 100
    assert bytes_ < 100 * 2.5 * MEMBERS / 8 + 100 * 1_000
    backend.forget(["g"])


def end(index):
    member = Member("g", index)
    return Transition(task_id=f"t{index}", state=State.SUCCESS, at=1.0, payload=PAYLOAD, member=member, retention=60.0)


def completion(index):
    return Completion(member=Member("g", index), payload=PAYLOAD)


class Cost:
    """Counts what goes to a server and back."""

    def __init__(self, monkeypatch):
        self._trips = self._bytes = 0
        exchange = Connection.exchange

        def counted(connection, requests):
            replies = exchange(connection, requests)
            self._trips += sum(1 for _ in batches(requests))
            self._bytes += sum(len(request.data) for request in requests) + sum(map(size, replies))
            return replies

        monkeypatch.setattr(Connection, "exchange", counted)

    def taken(self):
        """Round trips and bytes since the last time."""
        taken, self._trips, self._bytes = (self._trips, self._bytes), 0, 0
        return taken


def size(reply):
    """About as it was on its way."""
    if isinstance(reply, bytes):
        return len(reply) + 2
    return sum(len(name) + len(found.value) + len(found.cas) + 20 for name, found in reply.items()) + 5
