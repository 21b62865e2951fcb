"""Members of a group completed by several processes: here, for another process imports what it is to do by its name."""

import random

from drivetrain.contract import Completion, Member

__all__ = ["MEMBERS", "complete_all"]

MEMBERS = 10_000
_BATCH = 200


def complete_all(backend, number, _line_up):
    """Complete every member of group ``g``, in a shuffled order; the number of complete members in the last answer."""
    order = random.Random(number).sample(range(MEMBERS), MEMBERS)
    told = []
    for first in range(0, MEMBERS, _BATCH):
        some = order[first : first + _BATCH]
        batch = [Completion(member=Member("g", index), payload=b"%d" % index) for index in some]
        told += [progress.done for progress in backend.complete(batch)]
        if told[-1] == MEMBERS:
            assert None not in backend.read_members("g"), "reported complete before all payloads are there"
    assert told == sorted(told), "the count went down"
    return told[-1]
