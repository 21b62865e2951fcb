"""The client: made at the first call, let go of by `close`, its errors mapped."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from attrs import frozen
from pymongo import ASCENDING, IndexModel, MongoClient, timeout
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.driver_info import DriverInfo
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from drivetrain.contract import Clock, ServiceRefused
from drivetrain_mongo.documents import micros
from drivetrain_mongo.errors import MONGO_ERRORS, mapped
from drivetrain_mongo.options import OVERRULED, Options
from drivetrain_mongo.servertime import ServerTime

__all__ = ["Collections", "Connection", "Document"]

logger = logging.getLogger("drivetrain.mongo")

Document = dict[str, Any]

#: How long closing may take, in seconds.
_CLOSING_SECONDS = 0.5

#: Unauthorized, IndexOptionsConflict, IndexKeySpecsConflict: somebody else looks after the indexes.
_NOT_OURS = (13, 85, 86)

_INDEXES = (
    # By which unfinished records and expired ones are found.
    IndexModel([("expires", ASCENDING)], name="expires"),
    # An extra: drops what no worker has swept for long. Only records that expire have the field.
    IndexModel([("delete_at", ASCENDING)], name="delete_at", expireAfterSeconds=0, sparse=True),
)


@frozen
class Collections:
    """The collections of a namespace. Reads see what a majority has; writes return when a majority has them."""

    database: Database[Document]
    #: Tasks and groups: all that is known of an id, in one document.
    records: Collection[Document]
    #: The payloads of members.
    members: Collection[Document]
    bodies: Collection[Document]
    locks: Collection[Document]

    @property
    def latest_members(self) -> Collection[Document]:
        """The members as the primary has them, a majority or not: for what is followed by a write there."""
        return self.members.with_options(read_concern=ReadConcern("local"))

    @property
    def latest_records(self) -> Collection[Document]:
        """The records as the primary has them, a majority or not."""
        return self.records.with_options(read_concern=ReadConcern("local"))


class Connection:
    """Makes the client when it is needed. Thread-safe; used in the process that made it only.

    Args:
        options: of the URL.
        clock: measures how long ago the server has told its time.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._open: _Open | None = None

    @contextmanager
    def use(self) -> Iterator[Collections]:
        """The collections; what pymongo raises meanwhile is raised as an error of the contract.

        Raises:
            ServiceError: of the kind that says what is to be done.
        """
        with self._mapping():
            yield self._opened().collections

    @contextmanager
    def write(self) -> Iterator[Collections]:
        """As `use`, once the indexes are there: for calls that may make the first record."""
        with self._mapping():
            opened = self._opened()
            opened.ensure_indexes()
            yield opened.collections

    def now(self) -> float:
        """Unix seconds by the server's clock, which all who share the records go by; whole microseconds."""
        with self._mapping():
            return micros(self._opened().time.now()) / 1e6

    def notifies(self) -> bool:
        """Whether the service has change streams: it is a replica set, or several behind routers."""
        with self._mapping():
            hello = self._opened().collections.database.client.admin.command("hello")
            return "setName" in hello or hello.get("msg") == "isdbgrid"

    def close(self) -> None:
        """Let go of the client. The next call makes another one."""
        with self._lock:
            opened, self._open = self._open, None
        if opened is not None:
            opened.close()

    def _opened(self) -> _Open:
        opened = self._open
        if opened is not None:
            return opened
        with self._lock:
            if self._open is None:
                self._open = _Open(_client(self._options), self._options, self._clock)
            return self._open

    @contextmanager
    def _mapping(self) -> Iterator[None]:
        try:
            yield
        except MONGO_ERRORS as error:
            raise mapped(error, self._options.shown, srv=self._options.srv) from error


class _Open:
    """A client, and what is known by it."""

    def __init__(self, client: MongoClient[Document], options: Options, clock: Clock) -> None:
        database = client[options.database]
        names = ("records", "members", "bodies", "locks")
        self.collections = Collections(database, *(database[f"{options.prefix}{name}"] for name in names))
        self.time = ServerTime(client, clock)
        self._lock = threading.Lock()
        self._indexed = False
        #: Closes the client: when it is told to, or when nobody can use it any more.
        self.close = weakref.finalize(self, _close, client, os.getpid())
        self.close.atexit = False  # when the process ends, the connections do

    def ensure_indexes(self) -> None:
        """See that the indexes are there, once for each client. Doing so again, or from many workers, does no harm."""
        if self._indexed:
            return
        with self._lock:
            if not self._indexed:
                _create_indexes(self.collections)
                self._indexed = True


def _create_indexes(collections: Collections) -> None:
    try:
        collections.records.create_indexes(list(_INDEXES))
    except OperationFailure as error:
        if error.code not in _NOT_OURS:
            raise
        logger.warning(
            "the indexes of %s are left as they are: %s; see that there is one on 'expires'",
            collections.records.full_name,
            (error.details or {}).get("errmsg", error),
        )


def _close(client: MongoClient[Document], process: int) -> None:
    if os.getpid() != process:
        return  # in a fork: the sessions are the parent's
    # Sessions are ended by a last call, which would wait for a server that is away; they end by themselves as well.
    with timeout(_CLOSING_SECONDS):
        client.close()


def _client(options: Options) -> MongoClient[Document]:
    settings: dict[str, Any] = {**options.timeouts, **dict.fromkeys(OVERRULED, False)}
    try:
        return MongoClient(
            options.url,
            **settings,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            readPreference="primary",
            tz_aware=True,
            unicode_decode_error_handler="strict",
            driver=DriverInfo("drivetrain-mongo", version("drivetrain-mongo")),
            connect=False,
        )
    except (OSError, ValueError) as error:  # not pymongo's own: files that cannot be read, options that do not fit
        raise ServiceRefused(f"{options.shown}: {error}; mend the URL, or what it names") from error
