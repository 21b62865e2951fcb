"""What the members of a chord cost in commands and bytes: counted, so that load changes nothing.

The README tells the figures for ten thousand; here there are fewer, since the server of the tests is slow.
"""

import bson
from pymongo import monitoring

from drivetrain.contract import Completion, Group, Member, State, Transition

MEMBERS = 1_000
#: What a worker that is busy records at once.
BATCH = 200
PAYLOAD = b"p" * 100
ALONE = 20


def test_a_chord_costs_what_its_members_cost(make, listeners):
    """No member's end rewrites or rereads more than the bits; the figures are those of the README."""
    cost = Cost(listeners)
    backend = make()
    backend.open_groups([Group(group_id="g", size=MEMBERS)])
    opening = cost.taken()
    for first in range(0, MEMBERS, BATCH):
        outcomes = backend.record([end(index) for index in range(first, first + BATCH)])
    assert outcomes[-1].group.complete
    ending = cost.taken()
    assert backend.read_members("g") == [PAYLOAD] * MEMBERS
    reading = cost.taken()
    assert opening[0] <= 4  # an index or two among them
    assert ending[0] <= 7 * MEMBERS / BATCH  # that is not there (twice), the records, the group, the payloads, the bits
    assert ending[1] < MEMBERS * 1_200
    assert reading[0] <= MEMBERS / 1_000 + 2  # the group, then a thousand at a time
    assert reading[1] < MEMBERS * 300
    backend.forget(["g"])


def test_ends_one_by_one_cost_the_bits_each_and_not_the_group(make, listeners):
    cost = Cost(listeners)
    backend = make()
    backend.open_groups([Group(group_id="g", size=MEMBERS)])
    backend.complete([completion(index) for index in range(MEMBERS - ALONE)])
    cost.taken()
    for index in range(MEMBERS - ALONE, MEMBERS):
        (progress,) = backend.complete([completion(index)])
    commands, bytes_ = cost.taken()
    assert progress.complete
    assert commands == 3 * ALONE
    assert bytes_ < ALONE * (5 * MEMBERS / 8 + 2_000)
    backend.forget(["g"])


def end(index):
    member = Member("g", index)
    return Transition(task_id=f"t{index}", state=State.SUCCESS, at=1.0, payload=PAYLOAD, member=member, retention=60.0)


def completion(index):
    return Completion(member=Member("g", index), payload=PAYLOAD)


class Cost(monitoring.CommandListener):
    """Counts what goes to the server and back, by the clients that are made from now on."""

    def __init__(self, listeners):
        self._commands = self._bytes = 0
        listeners.append(self)

    def started(self, event):
        if event.command_name != "hello":
            self._commands += 1
            self._bytes += len(bson.encode(event.command))

    def succeeded(self, event):
        self._bytes += len(bson.encode(event.reply))

    def failed(self, event):
        raise AssertionError(event)

    def taken(self):
        """Commands and bytes since the last time."""
        taken, self._commands, self._bytes = (self._commands, self._bytes), 0, 0
        return taken
