"""Long chains: a message carries the next frames of its chain, and the backend stores the others, in parts.

A message that carried all frames would make a chain of N tasks cost N² frames: each step reads and writes all that
follow. So the worker or sender that publishes a long chain cuts it. It stores parts of `_PART` frames as bodies, of
which each names the next one, and the message names the first (`Invocation.rest`). A step hands the name on unread. The
last step before a part loads that part.

- A group needs all frames after it, and so does a failure. Both load all parts.
- A part is dropped after the message is acknowledged whose step has loaded it. Until then, a repeated delivery may need
  it. A message in the dead letters keeps its parts.
- The key of a part depends only on what it contains. So a repeated step stores the same parts again.
- A cache may drop a body, and the null backend stores none. Then messages carry all frames, as those of older versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from drivetrain.contract import Durability, SerializationError, State
from drivetrain.worker.payloads import Payloads
from drivetrain.worker.retrying import Retrier
from drivetrain.worker.run import RunResult
from drivetrain.worker.runtime import Runtime
from drivetrain.workflow.frames import Call, Frame, Frames, Invocation
from drivetrain.workflow.wire import dump_frames, load_frames

__all__ = ["LoadBodies", "LoadedFrames", "LongChains", "RestLost", "load_rest"]

#: Loads bodies from the backend, in the order of their keys; None for one that it does not have.
LoadBodies = Callable[[Sequence[str]], Sequence[bytes | None]]

#: How many frames a part has.
_PART = 20
#: A message carries at most so many frames; of a longer chain it carries more than `_PART`.
_MOST_FRAMES = 2 * _PART


class RestLost(SerializationError):
    """The backend no longer has frames that a message needs."""


class LoadedFrames(Struct, frozen=True):
    """Frames from the backend. Immutable.

    Attributes:
        frames: the frames.
        rest: the key of those that follow; empty: none follow.
        keys: the keys of the loaded parts.
        lost: the key of a part that the backend does not have; empty: all were found.
    """

    frames: Frames = ()
    rest: str = ""
    keys: tuple[str, ...] = ()
    lost: str = ""


class LongChains:
    """Cuts long chains, and loads and drops their parts. Thread-safe.

    All methods may raise what ``retrier`` raises while the backend is unavailable.
    """

    def __init__(self, runtime: Runtime, retrier: Retrier) -> None:
        self._backend = runtime.backend
        self._payloads = runtime.payloads
        self._retrier = retrier
        capabilities = runtime.backend.capabilities
        self._stores = capabilities.stores and capabilities.durability is not Durability.CACHE
        self._largest_bytes = capabilities.largest_value_bytes

    def cut(self, invocations: Sequence[Invocation]) -> Sequence[Invocation]:
        """Invocations with few frames each; the backend stores the parts of long chains."""
        if not self._stores or all(len(one.frames) <= _MOST_FRAMES for one in invocations):
            return invocations
        bodies: dict[str, bytes] = {}
        found = [self._cut(one, bodies) if len(one.frames) > _MOST_FRAMES else one for one in invocations]
        if bodies:
            self._retrier.call("store long chains", lambda: self._backend.store_bodies(bodies))
        return found

    def load_needed(self, results: list[RunResult]) -> tuple[list[RunResult], dict[str, tuple[str, ...]]]:
        """Results whose invocations have the frames that their effects need.

        Returns:
            The results, and the keys of the loaded parts by the id of the task: see `drop_loaded`.

        Raises:
            RestLost: the backend no longer has them, although the task has ended just now.
        """
        if not any(result.invocation.rest for result in results):
            return results, {}
        loaded: dict[str, tuple[str, ...]] = {}
        found = []
        for result in results:
            if result.invocation.rest and (parts := self._needed(result)) is not None:
                if parts.lost and not result.recorded:
                    raise RestLost(f"the backend no longer has the rest of its chain ({parts.lost})")
                # Otherwise it is lost after its end: its parts were dropped since, so all that follows was done.
                loaded[result.task_id] = parts.keys
                frames = () if parts.lost else (*result.invocation.frames, *parts.frames)
                result = replace(result, invocation=replace(result.invocation, frames=frames, rest=parts.rest))  # noqa: PLW2901
                if parts.lost and result.replacement:
                    result = _followed_up(result)  # noqa: PLW2901 - as above
            found.append(result)
        return found, loaded

    def load_replaced(self, results: Sequence[RunResult]) -> tuple[Sequence[RunResult], dict[str, tuple[str, ...]]]:
        """The same for tasks that are replaced, before that is recorded: their records list all that follows them."""
        if not any(result.replacement and result.invocation.rest for result in results):
            return results, {}
        found, loaded = self.load_needed([result for result in results if result.replacement])
        whole = {result.task_id: result for result in found}
        return [whole.get(result.task_id, result) for result in results], loaded

    def load_all(self, invocation: Invocation) -> LoadedFrames:
        """All frames that the backend stores for ``invocation``."""
        return load_rest(invocation.rest, self._payloads, self.load_bodies)

    def load_bodies(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See `LoadBodies`."""
        return self._retrier.call("load long chains", lambda: self._backend.load_bodies(keys))

    def drop(self, keys: Iterable[str]) -> None:
        """Drop parts that no message needs any more."""
        if dropped := list(keys):
            self._retrier.call("drop long chains", lambda: self._backend.drop_bodies(dropped))

    def keys_of(self, invocations: Iterable[Invocation]) -> list[str]:
        """The keys of all parts of these invocations."""
        return [key for one in invocations if one.rest for key in self.load_all(one).keys]

    def _needed(self, result: RunResult) -> LoadedFrames | None:
        """The parts that the effects of ``result`` need; None: none."""
        invocation = result.invocation
        if result.replacement:
            return self.load_all(invocation)
        if result.state is State.RETRY:
            return None
        if result.state is not State.SUCCESS:
            return self.load_all(invocation)
        if invocation.frames:
            return None if _takes_rest(invocation.frames[0]) else self.load_all(invocation)
        part = load_rest(invocation.rest, self._payloads, self.load_bodies, parts=1)
        return part if not part.frames or _takes_rest(part.frames[0]) else self.load_all(invocation)

    def _cut(self, invocation: Invocation, bodies: dict[str, bytes]) -> Invocation:
        """``invocation`` with its first frames; adds the parts with the other ones to ``bodies``."""
        frames, rest, added = invocation.frames, invocation.rest, {}
        while len(frames) > _MOST_FRAMES:
            body = self._payloads.dump({"frames": dump_frames(frames[-_PART:]), "rest": rest})
            if self._largest_bytes is not None and len(body) > self._largest_bytes:
                return invocation  # its arguments are too large to be stored together
            rest = f"{invocation.call.id}.rest.{blake2b(body, digest_size=8).hexdigest()}"
            added[rest] = body
            frames = frames[:-_PART]
        bodies.update(added)
        return replace(invocation, frames=frames, rest=rest)


def _takes_rest(frame: Frame) -> bool:
    """Whether the next step hands the key on unread. A group and a task that was replaced need all frames."""
    return isinstance(frame, Call) and not frame.replaced


def _followed_up(result: RunResult) -> RunResult:
    """The result of a task whose replacement was sent by an earlier delivery: nothing follows from it any more."""
    call = replace(result.invocation.call, on_success=(), on_error=(), workflow_on_error=())
    return replace(result, state=State.SUCCESS, replacement=(), invocation=replace(result.invocation, call=call))


def load_rest(rest: str, payloads: Payloads, load: LoadBodies, *, parts: int | None = None) -> LoadedFrames:
    """The frames of the part ``rest`` and of those after it; as far as the backend has them.

    Args:
        rest: the key of the first part; empty: there is none.
        payloads: reads the parts.
        load: loads their bodies.
        parts: how many parts to load; None: all.

    Raises:
        SerializationError: a part cannot be read.
    """
    frames: list[Any] = []
    keys: list[str] = []
    while rest and (parts is None or len(keys) < parts):
        (body,) = load([rest])
        if body is None:
            return LoadedFrames(tuple(frames), keys=tuple(keys), lost=rest)
        part = msgspec.convert(payloads.load(body), dict[str, Any])
        frames += load_frames(part["frames"])
        keys.append(rest)
        rest = part["rest"]
    return LoadedFrames(tuple(frames), rest, tuple(keys))
