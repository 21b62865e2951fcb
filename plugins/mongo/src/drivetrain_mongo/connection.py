"""The connection to MongoDB: a pymongo client, made by the first call and closed by `close`; and its collections."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from attrs import frozen
from pymongo import ASCENDING, DESCENDING, IndexModel, MongoClient, timeout
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.driver_info import DriverInfo
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from drivetrain.contract import Clock, ServiceRefused
from drivetrain_mongo.codec import micros
from drivetrain_mongo.errors import MONGO_ERRORS, mapped
from drivetrain_mongo.options import OVERRULED, Options
from drivetrain_mongo.server_clock import ServerClock

__all__ = ["Collections", "Connection", "Document", "latest"]

logger = logging.getLogger("drivetrain.mongo")

Document = dict[str, Any]

#: How long closing may take, in seconds.
_CLOSING_SECONDS = 0.5

#: Unauthorized, IndexOptionsConflict, IndexKeySpecsConflict: somebody else manages the indexes.
_MANAGED = (13, 85, 86)

_INDEXES = (
    # Finds unfinished and expired records.
    IndexModel([("expires", ASCENDING)], name="expires"),
    # An extra: the server deletes records that no worker has swept. Only records that expire have the field.
    IndexModel([("delete_at", ASCENDING)], name="delete_at", expireAfterSeconds=0, sparse=True),
    # Lists tasks that have ended, or are tried again. Only their records have the field; see `records`.
    IndexModel([("listed", DESCENDING)], name="listed", sparse=True),
)
_VALUE_INDEXES = (
    # Finds values that have expired, and documents that have outlived theirs.
    IndexModel([("ends", ASCENDING)], name="ends"),
    # Lists values. Only documents with a value have the field.
    IndexModel([("key", ASCENDING)], name="key", sparse=True),
)


@frozen
class Collections:
    """The collections of a namespace. Reads return what a majority has; writes return when a majority has them."""

    database: Database[Document]
    #: Tasks and groups: everything of one id, in one document.
    records: Collection[Document]
    #: The payloads of members.
    members: Collection[Document]
    bodies: Collection[Document]
    values: Collection[Document]


def latest(collection: Collection[Document]) -> Collection[Document]:
    """The collection as the primary has it. A majority may lack some documents."""
    return collection.with_options(read_concern=ReadConcern("local"))


class Connection:
    """Owns the client and makes it when it is needed. Thread-safe; only for the process that made it.

    Args:
        options: the options of the URL.
        clock: measures the age of the last answer with the server's time.
    """

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._open: _Open | None = None

    @contextmanager
    def use(self) -> Iterator[Collections]:
        """The collections; an error of pymongo inside the block becomes an error of the contract.

        Raises:
            ServiceError: a call inside the block failed.
        """
        with self._mapping():
            yield self._opened().collections

    @contextmanager
    def write(self) -> Iterator[Collections]:
        """Like `use`, after it has created the indexes: for calls that may write the first record."""
        with self._mapping():
            opened = self._opened()
            opened.ensure_indexes()
            yield opened.collections

    def now(self) -> float:
        """Unix seconds by the server's clock, which all processes share; whole microseconds."""
        with self._mapping():
            return micros(self._opened().clock.now()) / 1e6

    def notifies(self) -> bool:
        """Whether the service has change streams: it is a replica set, or several behind routers."""
        with self._mapping():
            hello = self._opened().collections.database.client.admin.command("hello")
            return "setName" in hello or hello.get("msg") == "isdbgrid"

    def close(self) -> None:
        """Close the client. The next call makes another one."""
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
    """An open client, its collections and its clock."""

    def __init__(self, client: MongoClient[Document], options: Options, clock: Clock) -> None:
        database = client[options.database]
        names = ("records", "members", "bodies", "values")
        self.collections = Collections(database, *(database[f"{options.prefix}{name}"] for name in names))
        self.clock = ServerClock(client, clock)
        self._lock = threading.Lock()
        self._indexed = False
        #: Closes the client: when called, or when this object is garbage.
        self.close = weakref.finalize(self, _close, client, os.getpid())
        self.close.atexit = False  # when the process ends, the connections do

    def ensure_indexes(self) -> None:
        """Create the indexes, once for each client. MongoDB ignores a request for an index that exists."""
        if self._indexed:
            return
        with self._lock:
            if not self._indexed:
                _create_indexes(self.collections.records, _INDEXES)
                _create_indexes(self.collections.values, _VALUE_INDEXES)
                self._indexed = True


def _create_indexes(collection: Collection[Document], indexes: Sequence[IndexModel]) -> None:
    try:
        collection.create_indexes(list(indexes))
    except OperationFailure as error:
        if error.code not in _MANAGED:
            raise
        logger.warning(
            "cannot create the indexes of %s: %s; make sure that there is one on %r",
            collection.full_name,
            (error.details or {}).get("errmsg", error),
            indexes[0].document["name"],
        )


def _close(client: MongoClient[Document], process: int) -> None:
    if os.getpid() != process:
        return  # in a fork: the sessions belong to the parent
    # A last call ends the sessions, and would wait for a server that is away. Sessions end by themselves too.
    with timeout(_CLOSING_SECONDS):
        client.close()


def _client(options: Options) -> MongoClient[Document]:
    arguments: dict[str, Any] = {**options.client_arguments, **dict.fromkeys(OVERRULED, False)}
    try:
        return MongoClient(
            options.url,
            **arguments,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            readPreference="primary",
            tz_aware=True,
            unicode_decode_error_handler="strict",
            driver=DriverInfo("drivetrain-mongo", version("drivetrain-mongo")),
            connect=False,
        )
    except (OSError, ValueError) as error:  # not pymongo's own: unreadable files, contradicting options
        raise ServiceRefused(f"{options.shown}: {error}; correct the URL, or the files that it names") from error
