"""The settings of an app: one record from a file, the environment and code; later sources override earlier ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import field, frozen

from drivetrain.app.settings_parsing import from_text, parse_setting, shown
from drivetrain.app.settings_sources import code_source, environment_source, file_source
from drivetrain.contract import ConfigurationError, Retries, redact

__all__ = ["Settings", "load_settings"]

Check = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _wrong(attribute: attrs.Attribute[Any], value: object, must: str) -> ConfigurationError:
    return ConfigurationError(f"{attribute.name} is {shown(value)}; it must be {must}")


def _number(low: float, *, above: bool = False) -> Check:
    """A finite number from ``low`` on, or ``above`` it."""
    must = f"finite, and more than {low:g}" if above else f"finite, and {low:g} or more"

    def check(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and not (low <= value < math.inf and not (above and value == low)):
            raise _wrong(attribute, value, must)

    return check


def _text(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not value or value != value.strip():
        raise _wrong(attribute, value, "a name without a space at either end")


def _url(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not value.partition("://")[1]:
        raise _wrong(attribute, value, "a URL like scheme://…, for example sqlite:///work.db")


def _names(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (not value or not all(value) or len(set(value)) != len(value)):
        raise _wrong(attribute, value, "a list of names: at least one, and no duplicates")


def _plugins(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    for plugin in value:
        if plugin is None or plugin == "" or isinstance(plugin, (int, float, list, dict)):
            raise _wrong(attribute, value, "names of entry points, or (in code) objects with hooks")


def _tables(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    for name, options in value.items():
        if not isinstance(options, Mapping):
            raise ConfigurationError(f"{attribute.name}[{name!r}] is {shown(options)}; it must be a table of options")


def _queues(_settings: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    for pattern, queue in value.items():
        if not pattern or not queue:
            raise _wrong(attribute, value, "a table of queues by patterns of task names, none of them empty")


def _hidden(url: str | None) -> str:
    return repr(url and redact(url))


@frozen(kw_only=True)
class Settings:
    """The settings of an app. ``repr`` shows no secret."""

    # What the app talks to

    #: The URL of the broker.
    broker: str = field(default="sqlite:///drivetrain.db", validator=_url, repr=_hidden)
    #: The URL of the backend; None: the broker's, where its scheme is a backend too.
    backend: str | None = field(default=None, validator=_url, repr=_hidden)
    #: The app's name, and the namespace of its data: apps of different names share a service without conflicts. A URL
    #: may choose another namespace with its option ``namespace``.
    name: str = field(default="drivetrain", validator=_text)
    #: The distribution to use for a URL scheme or a name that several installed distributions serve.
    drivers: Mapping[str, str] = field(factory=dict)
    #: Plugins with hooks: names of entry points in ``drivetrain.plugins``, or (in code) objects.
    plugins: tuple[object, ...] = field(default=(), validator=_plugins)
    #: Options of plugins, by the plugin's name: ``{"prometheus": {"port": 9760}}``; in a variable, as JSON.
    plugin_options: Mapping[str, Mapping[str, object]] = field(factory=dict, validator=_tables)

    # Sending

    #: The queue of tasks that do not choose one.
    default_queue: str = field(default="default", validator=_text)
    #: The queues of calls by patterns of task names: ``{"mails.*": "mails"}``. The first pattern that fits counts. It
    #: comes before the ``queue=`` of the task, and after that of the call. In code, ``App(route=…)`` takes a function.
    routes: Mapping[str, str] = field(factory=dict, validator=_queues)
    #: The name of the serializer that writes messages and results.
    serializer: str = field(default="json", validator=_text)
    #: The names of the serializers that may be read; by default, only the one that writes.
    accept: tuple[str, ...] = field(
        default=attrs.Factory(lambda settings: (settings.serializer,), takes_self=True), validator=_names
    )
    #: The retry policy of tasks without their own; None: no retries.
    retry: Retries | None = None
    #: Whether the message of a task that has finally failed is kept in the dead letters of its queue, for tasks without
    #: their own option.
    dead_letter: bool = False
    #: How often a task may raise ``Retry(after=…)`` before it fails.
    retry_limit: int = field(default=100, validator=_number(0))
    #: How long one attempt of a task may raise ``Postpone`` before it fails, in seconds, from the first time.
    postpone_limit_seconds: float = field(default=86400.0, validator=_number(0))
    #: How long sending retries while a service is unavailable, in seconds, before it raises.
    send_seconds: float = field(default=10.0, validator=_number(0))

    # Keeping

    #: How long the record and result of a finished task are kept, in seconds; None: without limit.
    result_retention_seconds: float | None = field(default=86400.0, validator=_number(0))
    #: The shortest time for which a finished task's record is kept, in seconds, for any retention of its result: as
    #: long as its message may be delivered again, so that it does not run again.
    redelivery_window_seconds: float = field(default=86400.0, validator=_number(0))

    #: Whether the message of a task that ends without success is kept as long as its result, at most 30 days, so that
    #: an operator can retry the task.
    keep_failed: bool = True
    #: How long counts over time (`drivetrain stats`) are kept, in seconds; 0: workers write none.
    counts_retention_seconds: float = field(default=172800.0, validator=_number(0))

    # Working

    #: The queues that a worker serves, the most urgent first; None: the default queue.
    queues: tuple[str, ...] | None = field(default=None, validator=_names)
    #: How many tasks each worker process runs at a time in threads, and also in child processes.
    concurrency: int = field(default=8, validator=_number(1))
    #: How many ``async def`` tasks each worker process runs at a time.
    loop_concurrency: int = field(default=100, validator=_number(1))
    #: How many processes a worker consists of, without the supervisor.
    processes: int = field(default=1, validator=_number(1))
    #: The pool of tasks that do not choose one: threads of the worker, or child processes. ``async def`` tasks always
    #: run in an event loop.
    pool: Literal["threads", "processes"] = "threads"
    #: How many tasks a child process of a worker runs before it is replaced; None: any number. It is replaced between
    #: two tasks. For tasks that leak memory or files.
    max_tasks_per_child: int | None = field(default=None, validator=_number(1))
    #: How much resident memory a child process may use after a task, in MB (1,000,000 bytes), before it is replaced;
    #: None: any amount. It is replaced between two tasks.
    max_memory_per_child: int | None = field(default=None, validator=_number(1))
    #: The largest number of messages that a worker process receives beyond those that it runs.
    prefetch_limit: int = field(default=1000, validator=_number(1))
    #: How long running tasks may take to finish when a worker stops, in seconds, before it releases them.
    grace_seconds: float = field(default=30.0, validator=_number(0))
    #: How long a worker holds a message and the lease of its run without renewing them, in seconds. When a worker dies,
    #: another one continues its tasks after this time.
    lease_seconds: float = field(default=30.0, validator=_number(0, above=True))
    #: How many starts of one attempt may end with the death of a process before the message is dead-lettered. From its
    #: third start on, a task runs alone, so that only its own crashes count.
    max_starts: int = field(default=5, validator=_number(1))
    #: How long a message that a worker cannot run (it does not know the task, or the arguments do not fit) is offered
    #: to other workers, in seconds, before it goes to the dead letters. Set it to more than a rolling deploy takes.
    version_mismatch_seconds: float = field(default=240.0, validator=_number(0))
    #: Whether a worker logs every task that succeeds, at the level INFO.
    log_successes: bool = False
    #: How long a task must be overdue, with its message in no queue, until it is ended as lost, in seconds; None:
    #: never. Workers search five times in that time, and for longer where brokers hold messages for longer.
    rescue_after_seconds: float | None = field(default=3600.0, validator=_number(0, above=True))
    #: The level from which on a worker logs.
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    #: Whether the command ``drivetrain worker`` sets up logging; false where the application does so itself.
    configure_logging: bool = True

    #: Whether workers tick the schedules. Any number may; each tick is sent once.
    schedules: bool = True

    # Schedules

    #: Schedules by id, each a table: ``task``, ``args``, ``kwargs``, and one of ``cron`` (with ``tz``), ``every`` and
    #: ``at``; and the options of a schedule. For files and code.
    schedule: Mapping[str, Any] = field(factory=dict)
    #: The revision of the schedules that code and settings declare. Where several are deployed at once, the highest
    #: counts; the same one counts as it comes.
    schedule_revision: int = field(default=0, validator=_number(0))

    # Waiting

    #: The longest pause between two polls of a backend that does not notify, in seconds.
    poll_seconds: float = field(default=1.0, validator=_number(0, above=True))

    def __attrs_post_init__(self) -> None:
        if self.serializer not in self.accept:
            raise ConfigurationError(
                f"accept is {shown(self.accept)}; it must include the serializer {self.serializer!r}, "
                "since the app must read what it writes"
            )

    @property
    def heartbeat_seconds(self) -> float:
        """How often a worker renews its leases, in seconds: a third of the lease, so that two heartbeats may fail."""
        return self.lease_seconds / 3

    @property
    def served_queues(self) -> tuple[str, ...]:
        """The queues that a worker serves, the most urgent first."""
        return self.queues or (self.default_queue,)


def load_settings(file: str | Path | None, environ: Mapping[str, str], code: Mapping[str, object]) -> Settings:
    """Settings from a file, from ``DRIVETRAIN_*`` variables, and from code: later ones win.

    Calls share no state.

    Args:
        file: a ``.toml``, ``.yaml`` or ``.yml`` file; None: the one that ``DRIVETRAIN_CONFIG`` names, if it does.
        environ: the environment; a variable that is empty counts as not set.
        code: settings by name, as given in code.

    Raises:
        ConfigurationError: a setting is unknown or wrong in any source. ``faults`` lists all of them, each with its
            file, variable or argument.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for source in (file_source(file, environ), environment_source(environ), code_source(code)):
        faults.extend(source.faults)
        # Check every source in full, so that a wrong value is reported even where a stronger source overrides it.
        for name, raw in source.values.items():
            try:
                values[name] = _value(name, raw, text=source.text)
            except ConfigurationError as error:
                faults.extend(f"{source.location.format(name.upper())}: {fault}" for fault in error.faults)
    return _built(values, faults)


def _value(name: str, raw: Any, *, text: bool) -> Any:
    attribute = _FIELDS.get(name)
    if name in _CODE_ONLY:
        raise ConfigurationError("wrong", [f"{name!r} is not a setting; pass it in code: App({name}=…)"])
    if attribute is None:
        near = get_close_matches(name, _FIELDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError("wrong", [f"{name!r} is not a setting{hint}"])
    try:
        return parse_setting(attribute, from_text(raw, attribute.type) if text else raw)
    except ValueError as error:
        raise ConfigurationError("wrong", [f"{name} is {shown(raw)}; {error}"]) from error


def _built(values: Mapping[str, Any], faults: list[str]) -> Settings:
    if not faults:
        try:
            return Settings(**values)
        except ConfigurationError as error:
            faults.append(str(error))
    raise ConfigurationError("the settings are wrong:", faults)


#: Arguments of `App` that hold objects, which no file and no variable can hold.
_CODE_ONLY = frozenset({"driver_options", "route"})

_FIELDS: Mapping[str, attrs.Attribute[Any]] = {
    attribute.name: attribute for attribute in attrs.fields(attrs.resolve_types(Settings))
}
