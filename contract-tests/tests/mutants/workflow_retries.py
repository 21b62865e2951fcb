"""Core and backends that break W28: a retry that leaves a part of its workflow behind, or runs too much of it again."""

from __future__ import annotations

from attrs import evolve

from drivetrain.app.bulk import retry, revival
from drivetrain.drivers.memory import MemoryBackend
from mutants.workflow_base import breaks_core, breaks_pair


@breaks_core("W28", "opens no group again")
def opens_no_group(patch):
    patch.setattr(retry.TaskReviver, "_open", lambda *_args: None)


@breaks_core("W28", "retries the one member of a group that was named")
def retries_one_member(patch):
    planned = revival.RevivalPlanner._failed_group

    def without_others(self, group):
        found = planned(self, group)
        return revival.replace(found, causes={})

    patch.setattr(revival.RevivalPlanner, "_failed_group", without_others)


@breaks_core("W28", "lets what waited for a task stay failed")
def leaves_the_rest_failed(patch):
    patch.setattr(retry.TaskReviver, "_forget_ended", lambda *_args: None)


@breaks_core("W28", "forgets the results of the members that have succeeded")
def forgets_the_others(patch):
    opens = retry.TaskReviver._open

    def without_results(self, groups):
        opens(self, [evolve(one, group=revival.replace(one.group, succeeded={})) for one in groups])

    patch.setattr(retry.TaskReviver, "_open", without_results)


@breaks_core("W28", "sends the attempt that has failed once more")
def sends_the_same_attempt(patch):
    following = revival._next_attempt

    def same(invocation, record, workflow):
        return following(revival.replace(invocation, attempt=invocation.attempt - 1), record, workflow)

    patch.setattr(revival, "_next_attempt", same)


@breaks_pair("W28", "keeps the members of a group that was forgotten")
class KeepsMembers(MemoryBackend):
    def forget(self, task_ids):
        kept = {group.group_id for group in self.read_groups(task_ids) if group is not None}
        super().forget([task_id for task_id in task_ids if task_id not in kept])
