"""Pairs and senders that break W25: an id that belongs to several tasks."""

from __future__ import annotations

from drivetrain.app import sending, task_ids
from drivetrain.contract import InvalidSignature, State, apply, evolve
from mutants.backend_base import Ruled
from mutants.workflow_base import breaks_core, breaks_pair


@breaks_pair("W25", "keeps no name of a task that was only sent")
class NamesWhatHasBegun(Ruled):
    def rule(self, before, wish, now):
        return apply(before, evolve(wish, task="") if wish.state is State.PENDING else wish, now)


@breaks_pair("W25", "forgets the name of a task that has ended")
class ForgetsNamesAtTheEnd(Ruled):
    def rule(self, before, wish, now):
        after = apply(before, wish, now)
        return evolve(after, task="") if after is not None and after.state.terminal else after


@breaks_pair("W25", "lets a task that is sent again begin again")
class BeginsAgain(Ruled):
    def rule(self, before, wish, now):
        over = before is not None and before.state.terminal and wish.state is State.PENDING
        return apply(None if over else before, wish, now)


@breaks_core("W25", "does not look whether an id is known")
def looks_at_nothing(patch):
    patch.setattr(sending, "check_known", lambda *_told: None)


@breaks_core("W25", "looks at the first id of a workflow only")
def looks_at_the_first(patch):
    def first(planned, same=None):
        found = task_ids.names(planned) if same is None else task_ids.names(planned, same)
        return found if same is None else dict(list(found.items())[:1])

    patch.setattr(sending, "names", first)


@breaks_core("W25", "looks at the ids of tasks, and not at those of groups")
def looks_at_no_groups(patch):
    def of_tasks(planned, same=None):
        found = task_ids.names(planned) if same is None else task_ids.names(planned, same)
        return found if same is None else {key: name for key, name in found.items() if name != "drivetrain.group"}

    patch.setattr(sending, "names", of_tasks)


@breaks_core("W25", "looks at what is sent, and not at its callbacks")
def looks_at_no_callbacks(patch):
    def callbacks(one):
        return [*getattr(one, "on_success", ()), *getattr(one, "on_error", ())]

    given = task_ids.parts

    def without_callbacks(planned):
        planned = list(planned)
        inside = {id(each) for one in given(planned) for then in callbacks(one) for each in given([then])}
        return (one for one in given(planned) if id(one) not in inside)

    patch.setattr(task_ids, "parts", without_callbacks)


@breaks_core("W25", "refuses a task after it has recorded what waits for it")
def refuses_late(patch):
    check, announce = sending.Sender._check, sending.Sender.announce
    late = []

    def put_off(self, planned, made):
        late.append((self, planned, made))

    def announce_and_check(self, effects):
        announce(self, effects)
        while late:
            check(*late.pop())

    patch.setattr(sending.Sender, "_check", put_off)
    patch.setattr(sending.Sender, "announce", announce_and_check)


@breaks_core("W25", "forgets a task that has ended when it is sent again")
def starts_again(patch):
    def forget_the_ended(given, records, same):
        task_ids.check_known(given, records, same)
        ended.extend(record.task_id for record in records if record is not None and record.state.terminal)

    def announce_and_forget(self, effects):
        self._runtime.backend.forget(ended)
        ended.clear()
        announce(self, effects)

    ended, announce = [], sending.Sender.announce
    patch.setattr(sending, "check_known", forget_the_ended)
    patch.setattr(sending.Sender, "announce", announce_and_forget)


@breaks_core("W25", "refuses a task that is sent again")
def refuses_the_same(patch):
    def check_known(given, records, _same):
        if any(record is not None for record in records):
            raise InvalidSignature(f"one of the ids {', '.join(given)} is taken")

    patch.setattr(sending, "check_known", check_known)


@breaks_core("W25", "takes one id for two tasks of a workflow")
def takes_it_twice(patch):
    def names(planned, *_same):
        return {
            part.id if hasattr(part, "id") else part.group_id: getattr(part, "task", "drivetrain.group")
            for part in task_ids.parts(planned)
        }

    patch.setattr(sending, "names", names)
