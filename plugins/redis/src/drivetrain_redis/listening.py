"""Looking, and sleeping until there is reason to look again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from drivetrain.contract import reset_after_fork
from drivetrain_redis.bell import Bell
from drivetrain_redis.errors import CLIENT_ERRORS, mapped
from drivetrain_redis.options import Options
from drivetrain_redis.server import Server

__all__ = ["Listening"]

T = TypeVar("T")

#: After so long one looks anyway: a connection may have died without a word.
_LONGEST_SLEEP_SECONDS = 15.0
#: How many subscriptions are kept for those who wait next.
_SPARE_BELLS = 4


class Listening:
    """Lets threads wait for something on a server. Thread-safe.

    Waiting is counted by the machine's own clock, for the server lives in real time.
    """

    def __init__(self, options: Options, server: Server) -> None:
        self._options = options
        self._server = server
        self._lock = threading.Lock()
        self._closings = 0
        self._spare: deque[Bell] = deque()
        self._used: set[Bell] = set()
        reset_after_fork(self)

    @property
    def shown(self) -> str:
        """The URL without its secrets."""
        return self._options.shown

    def until(
        self,
        look: Callable[[float, str], tuple[float, list[T]]],
        nothing: list[T],
        wait_seconds: float,
        said: Callable[[list[bytes]], list[T]] | None = None,
    ) -> list[T]:
        """Look until something is found or the time is out.

        Args:
            look: given how long one would sleep, and the channel by which one can be woken: how long to sleep at most,
                and what was found. The last look is given no channel.
            nothing: what to return when this object is closed meanwhile.
            wait_seconds: how long in all.
            said: what was found by what was said on the channel, without another look; None: nothing ever is.
        """
        deadline = time.monotonic() + wait_seconds
        closings = self._closings
        bell = self._take()
        try:
            while True:
                self._listen(bell)
                left = deadline - time.monotonic()
                pause, told = look(max(0.0, left), bell.channel if left > 0 else "")
                if left <= 0 or told:
                    return told
                heard = self._sleep(bell, min(left, pause))
                if heard and said is not None and (told := said(heard)):
                    return told  # also when this object is closed: it may have been handed over for good
                if self._closings != closings:
                    # Somebody who looks once more leaves its channel nowhere, and takes nothing.
                    return nothing
        except BaseException:
            bell.disconnect()  # the server that it listens to may be another one next time
            raise
        finally:
            self._give_back(bell, closings)

    def _listen(self, bell: Bell) -> None:
        generation = self._server.generation
        if bell.generation != generation:
            bell.disconnect()
        try:
            bell.listen()
        except CLIENT_ERRORS as error:
            raise mapped(error, self.shown) from error
        bell.generation = generation

    def _sleep(self, bell: Bell, seconds: float) -> list[bytes]:
        try:
            return bell.wait(min(seconds, _LONGEST_SLEEP_SECONDS))
        except CLIENT_ERRORS:
            # Lost, perhaps long ago: listening anew says whether the server is away. Other connections are lost too.
            self._server.close()
            return []

    def _take(self) -> Bell:
        with self._lock:
            bell = self._spare.pop() if self._spare else Bell(self._options.prefix, self._server.connect)
            self._used.add(bell)
            return bell

    def _give_back(self, bell: Bell, closings: int) -> None:
        with self._lock:
            self._used.discard(bell)
            keep = self._closings == closings and len(self._spare) < _SPARE_BELLS
            if keep:
                self._spare.append(bell)
        if not keep:
            bell.close()

    def close(self) -> None:
        """Wake all who wait, and let go of connections."""
        with self._lock:
            self._closings += 1
            spare, self._spare = self._spare, deque()
            for bell in self._used:
                bell.ring()
        for bell in spare:
            with suppress(OSError):
                bell.close()

    def after_fork(self) -> None:
        """See `drivetrain.contract.ForkAware`: they are the parent's."""
        self._lock = threading.Lock()
        self._spare, self._used = deque(), set()
