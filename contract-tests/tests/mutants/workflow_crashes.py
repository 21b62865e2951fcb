"""Worker processes that break W21: one task that kills them makes others fail, or kills for ever."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

from drivetrain_contract_tests import Service
from mutants.mutant import Mutant
from mutants.workflow_base import FOUND, Hasty

__all__: list[str] = []

_TESTS = Path(__file__).resolve().parents[1]


def _service(name):
    directory = tempfile.mkdtemp(prefix="drivetrain-mutant-")
    prelude = f"sys.path.insert(0, {str(_TESTS)!r}); import broken_workers; broken_workers.install({name!r})"
    service = Service(lambda namespace: f"sqlite:///{directory}/{namespace}.db?synchronous=normal", prelude=prelude)
    weakref.finalize(service, shutil.rmtree, directory, ignore_errors=True)
    return service


def _breaks(name, kind, by=None):
    FOUND.append(Mutant(name=name, clause="W21", contract=Patient, service=lambda: _service(kind), by=by))


class Patient(Hasty):
    """Processes take their time to begin."""

    patience_seconds = 5.0


_breaks("does not count the starts of a task", "backend_that_does_not_count")
_breaks("keeps the payload of the first time when a start is recorded again", "backend_that_keeps_the_first_payload")
_breaks("condemns whatever was started together with a task that kills", "condemns_the_company")
_breaks("runs a task that kills for ever", "never_condemns")
_breaks("runs a task that kills more often than it may", "condemns_late")
_breaks("drops the message of a task that kills", "drops_what_kills")
_breaks("runs suspects beside other tasks of their worker", "runs_suspects_in_company")
_breaks("condemns a task before its last start", "condemns_the_last_start")
_breaks("takes every start for one in which a task was alone", "takes_company_for_none")
_breaks(
    "counts lone starts before they begin",
    "records_lone_starts_at_receipt",
    by="test_tasks_that_kill_their_worker_once_do_not_use_up_the_starts_of_each_other",
)
