"""What contestants share that keep each result under a key of its own in Redis."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import redis

from contestants.base import Contestant
from place import Place

__all__ = ["OnRedis"]


class OnRedis(Contestant):
    """Whether results are there is asked of Redis itself, with one EXISTS, past the contestant."""

    def __init__(self, place: Place, number: int = 0) -> None:
        super().__init__(place, number)
        self.url = place.servers["redis"].url
        self.redis = redis.Redis.from_url(self.url)

    @abstractmethod
    def key(self, handle: Any) -> str:
        """Under which the result lies."""

    def stored(self, handles: Sequence[Any]) -> int:
        return int(self.redis.exists(*map(self.key, handles)))
