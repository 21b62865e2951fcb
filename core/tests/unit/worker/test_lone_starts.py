"""How a task is started that may have killed its worker."""

from drivetrain.worker.lone_starts import lone_start
from drivetrain.worker.unfinished import Unfinished


def test_a_lone_start_keeps_the_other_fields_of_the_payload():
    known = Unfinished(due=5.0, failure={"type": "OSError"}, queue="mails", lone_starts=1)
    lone = lone_start(known, max_starts=5, tally="started 4 times")
    assert lone is not None
    assert lone.before == known
    assert lone.record == Unfinished(due=5.0, failure={"type": "OSError"}, queue="mails", lone_starts=2)
