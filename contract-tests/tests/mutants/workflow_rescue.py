"""Pairs and workers that break W22 and W23: they do not end tasks whose message is gone, or end those that are slow."""

from __future__ import annotations

from collections import defaultdict

from drivetrain.contract import QueueSection, State, evolve
from drivetrain.drivers.memory import MemoryBackend, MemoryBroker
from drivetrain.worker.rescue import ending, missed_messages, overdue, rescuer, searching
from drivetrain.worker.rescue.message_search import MessageSearch, _ids, _View
from drivetrain.worker.rescue.overdue import Overdue
from mutants.workflow_base import breaks_core, breaks_pair

# W22: what is lost ends


def lists_only(wanted):
    class Listing(MemoryBackend):
        def list_tasks(self, states, *, limit, cursor=None):
            page = super().list_tasks(states, limit=limit, cursor=cursor)
            return evolve(page, records=[record for record in page.records if wanted(record)])

    return Listing


breaks_pair("W22", "says that it lists tasks, and lists none")(lists_only(lambda _record: False))
breaks_pair("W22", "lists what workers have begun, and nothing that waits")(
    lists_only(lambda record: record.state is not State.PENDING)
)
breaks_pair("W22", "lists nothing that is between two attempts")(
    lists_only(lambda record: record.state is not State.RETRY)
)
breaks_pair("W22", "lists nothing that was started")(lists_only(lambda record: record.state is not State.STARTED))


@breaks_pair("W22", "lists the first three tasks, and no others when these have ended")
class ListsThree(MemoryBackend):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.shown = set()

    def list_tasks(self, states, *, limit, cursor=None):
        page = super().list_tasks(states, limit=limit, cursor=cursor)
        for record in page.records:
            if len(self.shown) < 3:
                self.shown.add(record.task_id)
        return evolve(page, records=[record for record in page.records if record.task_id in self.shown])


@breaks_pair("W22", "shows messages that are gone")
class ShowsAllThatWasPublished(MemoryBroker):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self.seen = defaultdict(dict)

    def peek(self, queue, section, *, limit):
        found = super().peek(queue, section, limit=limit)
        if section is not QueueSection.READY:
            return found
        self.seen[queue].update((each.id, each) for each in found)
        return list(self.seen[queue].values())[:limit]

    def publish(self, messages):
        super().publish(messages)
        for each in messages:
            _ALL[each.queue][each.id] = each
            self.seen[each.queue] = _ALL[each.queue]


_ALL = defaultdict(dict)


@breaks_pair("W22", "counts messages that are gone")
class CountsAllThatWasPublished(MemoryBroker):
    capabilities = evolve(MemoryBroker.capabilities, peeks=False, exact_sizes=False)

    def sizes(self, queues):
        return {name: evolve(sizes, ready=max(1, sizes.ready)) for name, sizes in super().sizes(queues).items()}


@breaks_core("W22", "ends what is lost, and not what waits for it")
def ends_no_more_than_the_task(patch):
    patch.setattr(ending, "downstream", lambda records, *_: [() for _ in records])


@breaks_core("W22", "says of what is lost that its worker has died")
def tells_another_cause(patch):
    failure = ending.LostTaskEnder._failure
    patch.setattr(ending.LostTaskEnder, "_failure", lambda *told: evolve(failure(*told), type="drivetrain.WorkerDied"))


@breaks_core("W22", "leaves the looking to a worker that has stopped")
def keeps_the_lock(patch):
    def leads(self):
        self._lock._seconds = 3600
        return self._lock.acquire()

    patch.setattr(rescuer.Rescuer, "_leads", leads)
    patch.setattr(rescuer.Rescuer, "_let_go", lambda _self: None)


def leaves_out(name, unwanted):
    @breaks_core("W22", name)
    def change(patch):
        def overdue_tasks(*told):
            return (one for one in overdue.overdue_tasks(*told) if not unwanted(one))

        patch.setattr(searching, "overdue_tasks", overdue_tasks)


leaves_out("does not look for what is to be retried", lambda one: one.record.state is State.RETRY)
leaves_out("does not look for what was started", lambda one: one.record.state is State.STARTED)
leaves_out("does not look for what comes after a lost task", lambda one: one.message_id != one.record.task_id)


@breaks_core("W22", "takes no empty queue for evidence")
def trusts_no_number(patch):
    patch.setattr(MessageSearch, "_count", lambda _self, queue: _View(hidden=f"nobody can look into {queue}"))


# W23: what is slow does not


@breaks_pair("W23", "shows no more than three messages")
class ShowsThree(MemoryBroker):
    def peek(self, queue, section, *, limit):
        return super().peek(queue, section, limit=min(limit, 3))


@breaks_pair("W23", "says of every queue that it is empty")
class CountsNothing(MemoryBroker):
    capabilities = evolve(MemoryBroker.capabilities, peeks=False, exact_sizes=False)

    def sizes(self, queues):
        return {name: evolve(sizes, ready=0) for name, sizes in super().sizes(queues).items()}


@breaks_core("W23", "ends what one look has missed")
def looks_once(patch):
    patch.setattr(missed_messages.MissedMessages, "_certain", lambda *_told: True)


@breaks_core("W23", "forgets when tasks are due")
def forgets_when_it_is_due(patch):
    patch.setattr(overdue, "due_since", lambda record, _unfinished: overdue._entered(record))


@breaks_core("W23", "takes what waits for a slow task for lost")
def ends_what_waits(patch):
    def stranded(_runtime, records, _before):
        return (Overdue(record=each, since=overdue._entered(each), message_id=each.task_id) for each in records)

    patch.setattr(overdue, "_stranded", stranded)


@breaks_core("W23", "takes what runs for long for lost")
def ends_what_runs(patch):
    def lose(self, found):
        failure = self._failure(found.overdue, "it has run for long")
        payload = self._runtime.payloads.dump(self._encoded(failure))
        outcome = self._record(found.overdue, None, found.overdue.record.attempt, State.FAILURE, payload=payload)
        return "ended" if outcome.applied else ""

    patch.setattr(overdue, "due_since", lambda record, _unfinished: overdue._entered(record))
    patch.setattr(overdue, "state_version", lambda record: (record.state, record.attempt))  # renewals count for nothing
    patch.setattr(ending.LostTaskEnder, "_end_as_lost", lose)


@breaks_core("W23", "looks at the first messages of a queue only")
def sees_no_backlog(patch):
    def peek(self, queue):
        found = [self._broker.peek(queue, place, limit=3) for place in (QueueSection.DELAYED, QueueSection.READY)]
        return _View(_ids([each for section in found for each in section]))

    patch.setattr(MessageSearch, "_peek", peek)
