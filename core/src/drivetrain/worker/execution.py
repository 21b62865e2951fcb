"""Execution of one attempt: decodes arguments, calls the function, makes a `RunResult` of its value or error."""

from __future__ import annotations

import decimal
import logging
import math
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import Context, copy_context
from functools import partial
from random import Random
from types import CoroutineType
from typing import Any

from drivetrain.contract import Failure, InvalidArguments, PluginFailed, State, exception_name
from drivetrain.worker.batches.batch_run import BatchRun
from drivetrain.worker.batches.running import (
    admit_rows,
    around_rows,
    decoded_rows,
    first_log,
    results_failed,
    results_returned,
)
from drivetrain.worker.context import Postpone, Retry, SoftTimeout, TaskTimeout, enter
from drivetrain.worker.coroutines import run_to_end
from drivetrain.worker.events import event_of_run
from drivetrain.worker.forked import await_in_one_process, call_in_one_process
from drivetrain.worker.log_text import shortened
from drivetrain.worker.logs import get_logger
from drivetrain.worker.options import WorkerOptions
from drivetrain.worker.progress import ProgressSink
from drivetrain.worker.publisher import postponed_since
from drivetrain.worker.registry import Pool
from drivetrain.worker.replacing import plan_replacement
from drivetrain.worker.run import Run, RunRefused, RunResult, log_extra
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Invocation

__all__ = ["Execution", "Limited", "RunRefused", "error_text", "failure_of"]

logger = get_logger("drivetrain.task")


def failure_of(invocation: Invocation, error: BaseException | None, kind: str = "", message: str = "") -> Failure:
    """The failure of an invocation, from an exception or from a kind and a message."""
    call = invocation.call
    return Failure(
        type=kind if error is None else exception_name(type(error)),
        message=message if error is None else error_text(error),
        traceback="" if error is None else _trace(error),
        task=call.task,
        task_id=call.id,
        attempt=invocation.attempt,
        args=call.args,
        kwargs=call.kwargs,
    )


def error_text(error: BaseException) -> str:
    """``str(error)``, for a log or a record. Raises nothing, also where ``error`` cannot be formatted."""
    try:
        return _writable(str(error))
    except BaseException:  # noqa: BLE001 - a __str__ may raise anything, SystemExit too
        return f"<{exception_name(type(error))} whose text cannot be read>"


def _trace(error: BaseException) -> str:
    try:
        return _writable("".join(traceback.format_exception(error)))
    except BaseException:  # noqa: BLE001 - the error's own code may raise anything; it is recorded without a traceback
        return ""


def _writable(text: str) -> str:
    """``text`` as an exact `str` without lone surrogates, which file names may contain and no serializer accepts."""
    exact = str.__str__(text)  # also of a subclass, whose methods may raise anything
    return exact if exact.isascii() else exact.encode("utf-8", "backslashreplace").decode()


#: Calls a function with a limit on its time, in seconds, at which an error is raised in it.
Limited = Callable[[float, Callable[[], Any], type[BaseException]], Any]


class Execution:
    """Runs attempts, each in a context of its own (`contextvars`). Thread-safe."""

    def __init__(self, runtime: Runtime, options: WorkerOptions, *, progress_sink: ProgressSink | None = None) -> None:
        """Make it.

        Args:
            runtime: the drivers and tasks of the app.
            options: the options of the worker.
            progress_sink: takes reports of the progress of tasks; None: nobody reads them.
        """
        self.progress_sink = progress_sink
        self._runtime = runtime
        self._options = options
        self._random = Random()
        self._context = _base_context()

    def fresh_context(self) -> Context:
        """The context of a new run: a copy of the one in which this was made, without its decimal context."""
        return self._context.copy()

    def run(self, run: Run, limited: Limited | None = None) -> RunResult:
        """Run a plain function, from its arguments to its result. Raises nothing.

        Args:
            run: the run.
            limited: calls a function, and raises TaskTimeout or SoftTimeout in it after a number of seconds.
        """
        return self._context.copy().run(self._run, run, limited)

    def _run(self, run: Run, limited: Limited | None) -> RunResult:
        try:
            args, kwargs = self.begin(run)
            function = partial(run.definition.function, *args, **kwargs)
            if self._runtime.acting.surrounds_runs:
                with self.around(run):
                    value = self._value(run, function, limited)
            else:
                value = self._value(run, function, limited)
        except BaseException as error:  # noqa: BLE001 - any error of a task ends only this task
            return self.failed(run, error)
        return self.returned(run, value)

    def _value(self, run: Run, function: Callable[[], Any], limited: Limited | None) -> Any:
        call, work = run.invocation.call, partial(call_in_one_process, function)
        if limited is None:
            value = work()
        else:
            if call.soft_timeout is not None:
                work = partial(limited, call.soft_timeout, work, SoftTimeout)
            value = work() if call.timeout is None else limited(call.timeout, work, TaskTimeout)
        if type(value) is CoroutineType:  # of a coroutine function under a plain decorator
            limits = (None, None) if limited is None else (call.timeout, call.soft_timeout)
            value = run_to_end(await_in_one_process(value), *limits)
        return value

    def run_here(self, run: Run, limited: Limited | None = None) -> RunResult:
        """Run a function, plain or async, in this thread; its result.

        Args:
            run: the run.
            limited: as for `run`; None: without time limits.
        """
        if run.definition.pool is not Pool.LOOP:
            return self.run(run, limited)
        return self._context.copy().run(self._run_coroutine, run, limited is not None)

    def _run_coroutine(self, run: Run, limited: bool) -> RunResult:
        try:
            args, kwargs = self.begin(run)
            with self.around(run):
                work = await_in_one_process(run.definition.function(*args, **kwargs))
                call = run.invocation.call
                value = run_to_end(work, *((call.timeout, call.soft_timeout) if limited else (None, None)))
        except BaseException as error:  # noqa: BLE001 - any error of a task ends only this task
            return self.failed(run, error)
        return self.returned(run, value)

    def begin(self, run: Run) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Make ``run`` the current task, and decode its arguments; raises InvalidArguments, or NotOurs."""
        self.admit(run)
        enter(run, self._options.name, self.progress_sink)
        if run.definition.batch is not None:
            rows = decoded_rows(self, run, self._row) if isinstance(run, BatchRun) else [self._row(run)]
            return (rows,), {}
        call = run.invocation.call
        return run.definition.binding.decode_call(call.args, call.kwargs)

    def _row(self, run: Run) -> Any:
        """The row of a batched task, decoded."""
        call = run.invocation.call
        (row,), _ = run.definition.binding.decode_call(call.args, call.kwargs)
        return row

    def around(self, run: Run) -> AbstractContextManager[None]:
        """The context managers of plugins around ``run``, which has begun. Their errors are errors of the task."""
        if not self._runtime.acting.surrounds_runs:
            return nullcontext()
        if isinstance(run, BatchRun):
            return around_rows(run, self.around)
        return self._runtime.acting.around(event_of_run(run, self._options.name, self._runtime.clock))

    def admit(self, run: Run) -> None:
        """Check that ``run`` may begin, right before it begins.

        Raises:
            RunRefused: it was cancelled, has expired, or its lease has run out, while it waited in this worker. Of a
                batch: that is so for each row.
        """
        if isinstance(run, BatchRun):
            admit_rows(self, run)
            return
        clock = self._runtime.clock
        now = clock.monotonic()
        if run.stopped or now > run.owned_until or (run.expires_at is not None and clock.now() > run.expires_at):
            raise RunRefused
        run.began = now

    def now(self) -> float:
        """The time by the monotonic clock of `Run.began`, in seconds."""
        return self._runtime.clock.monotonic()

    def returned(self, run: Run, value: Any) -> RunResult:
        """The result of a function that returned ``value``. Raises nothing."""
        if run.definition.batch is not None:
            return results_returned(self, run, value)
        return self.succeeded(run, value)

    def succeeded(self, run: Run, value: Any) -> RunResult:
        """The result of a task, or of a row, whose value is ``value``. Raises nothing."""
        if run.replacement is not None:
            return self._replaced(run, value)
        try:
            plain = run.definition.binding.encode_result(value)
        except BaseException as error:  # noqa: BLE001 - an encoder of the application may raise anything; it ends only this task
            return self.finally_failed(run, error)
        return RunResult(
            delivery=run.delivery,
            invocation=run.invocation,
            run=run,
            state=State.SUCCESS,
            value=plain,
            run_seconds=self._ran_seconds(run),
        )

    def _replaced(self, run: Run, value: object) -> RunResult:
        """The result of a function that continues with a workflow. Raises nothing."""
        try:
            frames = plan_replacement(self._runtime, run, value)
        except BaseException as error:  # noqa: BLE001 - an encoder of the application may raise anything; it ends only this task
            return self._guarded(self._final, run, error)
        return RunResult(
            delivery=run.delivery,
            invocation=run.invocation,
            run=run,
            state=State.RETRY,
            replacement=frames,
            run_seconds=self._ran_seconds(run),
        )

    def failed(self, run: Run, error: BaseException) -> RunResult:
        """The result of a function that raised ``error``: a retry, or the final failure. Raises nothing."""
        if isinstance(run, BatchRun):
            return results_failed(self, run, error)
        return self._guarded(self._failed, run, error)

    def finally_failed(self, run: Run, error: BaseException) -> RunResult:
        """The final failure because of ``error``, whatever the retry policy says. Raises nothing."""
        return self._guarded(self._final, run, error)

    def _guarded(self, end: Callable[[Run, BaseException], RunResult], run: Run, error: BaseException) -> RunResult:
        """The result that ``end`` makes of ``error``; a plain failure if ``error`` cannot be read. Raises nothing."""
        with suppress(BaseException):  # any access to the error may raise; then the failure below replaces it
            return end(run, error)
        kind, text = exception_name(type(error)), "the error raises another error when it is formatted"
        logger.error(
            "failed in attempt %d: %s: %s", run.invocation.attempt, kind, text, extra=log_extra(run.invocation)
        )
        return self._result(run, State.FAILURE, failure_of(run.invocation, None, kind, text))

    def _failed(self, run: Run, error: BaseException) -> RunResult:
        if run.stopped or isinstance(error, RunRefused):
            return RunResult(delivery=run.delivery, invocation=run.invocation, run=run, state=State.RECEIVED)
        if isinstance(error, InvalidArguments) and _raised_by_binding(error):
            failure = failure_of(run.invocation, error)
            return self._result(run, State.FAILURE, failure, dead_reason=f"wrong arguments: {error}", mismatch=True)
        if isinstance(error, Postpone):
            return self._postponed(run, error)
        try:
            delay = self._retry_delay(run.invocation, error)
        except Exception as problem:  # noqa: BLE001 - a third-party policy may raise anything; the failure names it
            return self._final(run, error, dead_reason=f"its retry policy cannot be used: {problem!r}")
        blamed = _cause_of_retry(error)
        return self._final(run, blamed) if delay is None else self._retry(run, blamed, delay)

    def _retry(self, run: Run, error: BaseException, delay: float) -> RunResult:
        self._notify_raised(run, error, retrying=True)
        logger.info(
            "attempt %d failed with %s; retrying in %.3f s",
            run.invocation.attempt,
            exception_name(type(error)),
            delay,
            exc_info=error if logger.isEnabledFor(logging.DEBUG) else None,
            extra=log_extra(run.invocation),
        )
        failure, due = failure_of(run.invocation, error), self._runtime.clock.now() + delay
        return self._result(run, State.RETRY, failure, retry_at=due)

    def _postponed(self, run: Run, error: Postpone) -> RunResult:
        """The result of a run that was postponed; a failure at the deadline."""
        now, since = self._runtime.clock.now(), postponed_since(run.delivery.message)
        allowed = self._options.postpone_limit_seconds if error.within_seconds is None else error.within_seconds
        deadline = (now if since is None else since) + allowed
        if now >= deadline:
            return self._final(run, error)
        due = min(now + error.after_seconds, deadline)
        logger.info("postponed for %.3f s: %s", due - now, error_text(error), extra=log_extra(run.invocation))
        return RunResult(
            delivery=run.delivery,
            invocation=run.invocation,
            run=run,
            state=State.RECEIVED,
            postponed_until=due,
            run_seconds=self._ran_seconds(run),
        )

    def _final(self, run: Run, error: BaseException, *, dead_reason: str | None = None) -> RunResult:
        self._notify_raised(run, error, retrying=False)
        failure = failure_of(run.invocation, error)
        logger.error(
            "failed in attempt %d: %s: %s",
            failure.attempt,
            failure.type,
            shortened(failure.message),
            exc_info=error if first_log(run, error) else None,
            extra=log_extra(run.invocation),
        )
        return self._result(run, State.FAILURE, failure, dead_reason=dead_reason)

    def _result(
        self,
        run: Run,
        state: State,
        failure: Failure,
        *,
        dead_reason: str | None = None,
        retry_at: float | None = None,
        mismatch: bool = False,
    ) -> RunResult:
        return RunResult(
            delivery=run.delivery,
            invocation=run.invocation,
            run=run,
            state=state,
            failure=self._runtime.registry.codec.encode(failure),
            error=failure,
            retry_at=retry_at,
            dead_reason=dead_reason,
            mismatch=mismatch,
            run_seconds=self._ran_seconds(run),
        )

    def _notify_raised(self, run: Run, error: BaseException, *, retrying: bool) -> None:
        observers = self._runtime.observers
        if observers.watches("task_raised"):
            state = State.RETRY if retrying else State.FAILURE
            ran = self._ran_seconds(run)
            event = event_of_run(run, self._options.name, self._runtime.clock, state=state, run_seconds=ran)
            observers.notify("task_raised", event=event, error=error, retrying=retrying)

    def _retry_delay(self, invocation: Invocation, error: BaseException) -> float | None:
        retries, number = invocation.call.retries, invocation.attempt + 1
        asked = isinstance(error, Retry)
        allowed = retries.max_retries if retries is not None else self._options.retry_limit if asked else 0
        if number > allowed or not isinstance(error, Exception | TaskTimeout):
            return None
        if isinstance(error, Retry) and error.after_seconds is not None:
            return error.after_seconds
        if retries is None:
            return 0.0
        cause = error.__cause__ if isinstance(error, PluginFailed) else None
        if not asked and not retries.retries(cause or error):
            return None
        policy = self._runtime.retry_policy(retries.policy, retries.parameters)
        delay = policy.delay_seconds(number, self._random)
        if not 0 <= delay < math.inf:
            raise ValueError(f"the policy {retries.policy!r} returned a delay of {delay!r} seconds")
        return delay

    def _ran_seconds(self, run: Run) -> float:
        return 0.0 if run.began is None else self._runtime.clock.monotonic() - run.began


def _cause_of_retry(error: BaseException) -> BaseException:
    """The error that made a task raise Retry, if there is one: alerts need its type, not Retry."""
    if not isinstance(error, Retry):
        return error
    handled = None if error.__suppress_context__ else error.__context__
    return error.__cause__ or handled or error


def _base_context() -> Context:
    """A copy of the current context without its decimal context, which all runs would share and could change."""
    base = Context()
    for variable, value in copy_context().items():
        if not isinstance(value, decimal.Context):
            base.run(variable.set, value)
    return base


#: The code that calls decoders and no function of a task.
_DECODERS = frozenset({Execution.begin.__code__, Execution._row.__code__})


def _raised_by_binding(error: BaseException) -> bool:
    # A task may send another task with wrong arguments. That is an error of its code, not of its message.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        if trace.tb_frame.f_code in _DECODERS:
            return True
        trace = trace.tb_next
    return False
