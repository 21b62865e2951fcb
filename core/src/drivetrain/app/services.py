"""The services of an app: its drivers, and what sends, waits and decodes with them. Each process makes its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from attrs import evolve, field, frozen

from drivetrain.app.decoding import ResultDecoder
from drivetrain.app.discovery import Drivers
from drivetrain.app.driver_options import DriverOptions
from drivetrain.app.per_process import PerProcess
from drivetrain.app.plugins import PluginSettings
from drivetrain.app.sending import Sender
from drivetrain.app.settings import Settings
from drivetrain.app.waiter import Waiter
from drivetrain.contract import Backend, Broker, Clock, ConfigurationError, DriverContext, PluginContext, redact
from drivetrain.worker.payloads import Payloads
from drivetrain.worker.registry import Registry
from drivetrain.worker.runtime import Runtime

__all__ = ["Services"]

T = TypeVar("T")

#: The largest number of threads that read and decode results for coroutines.
_READER_THREADS = 8


@frozen
class _Target:
    """The URLs of the broker and the backend, and the drivers that serve them."""

    broker: str
    backend: str | None
    context: DriverContext
    drivers: Drivers


@frozen
class _ProcessServices:
    """What one process makes at first use."""

    runtime: Runtime
    sender: Sender
    waiter: Waiter
    decoder: ResultDecoder
    readers: ThreadPoolExecutor
    #: The brokers of workers that do not share that of the app.
    more_brokers: list[Broker] = field(factory=list)


class Services:
    """The services of one app. Making it connects to nothing. Thread-safe, except `using`.

    Args:
        settings: the app's settings.
        registry: the app's tasks.
        clock: the app's clock.
        driver_options: see `drivetrain.app.driver_options`.

    Raises:
        ConfigurationError: ``driver_options`` names a driver that the app does not use, or (its children) a plugin
            cannot be used.
    """

    def __init__(self, settings: Settings, registry: Registry, clock: Clock, driver_options: DriverOptions) -> None:
        self.settings = settings
        #: The plugins of the app, as it names them.
        self.plugins: tuple[object, ...] = settings.plugins
        self._registry = registry
        self._driver_options = driver_options
        context = DriverContext(clock=clock, namespace=settings.name)
        self._target = self._make_target(settings.broker, settings.backend, context)
        self._target.drivers.check_options(settings.broker, settings.backend)
        self._made = PerProcess(lambda: self._assemble(self._make_runtime()))

    @property
    def drivers(self) -> Drivers:
        """The drivers that are installed, and the app's own plugins."""
        return self._target.drivers

    @property
    def are_made(self) -> bool:
        """Whether this process has made its services already: from then on, to get them takes no time."""
        return self._made.is_made

    @property
    def runtime(self) -> Runtime:
        """The drivers of this process, with the settings that senders and workers share."""
        return self._made.get().runtime

    @property
    def sender(self) -> Sender:
        """Sends and cancels workflows."""
        return self._made.get().sender

    @property
    def waiter(self) -> Waiter:
        """Waits for tasks to end."""
        return self._made.get().waiter

    @property
    def decoder(self) -> ResultDecoder:
        """Decodes results."""
        return self._made.get().decoder

    @property
    def readers(self) -> ThreadPoolExecutor:
        """The threads that read and decode results for coroutines."""
        return self._made.get().readers

    def with_retries(self, what: str, function: Callable[[], T]) -> T:
        """Call ``function``, again while a service is unavailable, for at most ``send_seconds``; its result."""
        return self.sender.retrier.call(what, function)

    def another_broker(self) -> Broker:
        """Another broker object of the same URL. It is closed with the app at the latest."""
        broker = self._target.drivers.broker(self._target.broker)
        self._made.get().more_brokers.append(broker)
        return broker

    def add_plugins(self, plugins: Iterable[object]) -> None:
        """Use more plugins from now on; see `App.add_plugins`."""
        before, target = self.plugins, self._target
        self.plugins = (*before, *plugins)
        if self.plugins == before:
            return
        try:
            self._switch(self._make_target(target.broker, target.backend, target.context))
        except ConfigurationError:
            self.plugins = before
            raise

    @contextmanager
    def using(
        self, broker: str, backend: str | None, clock: Clock | None, plugins: Iterable[object] = ()
    ) -> Iterator[None]:
        """Use other drivers and more plugins until the context ends; see `App.using`."""
        before, plugins_before = self._target, self.plugins
        context = before.context if clock is None else evolve(before.context, clock=clock)
        self.plugins = (*plugins_before, *plugins)
        try:
            self._switch(self._make_target(broker, backend, context))
            yield
        finally:
            self.plugins = plugins_before
            self._switch(before)

    def close(self) -> None:
        """Close the connections of this process. The next use connects again."""
        if (made := self._made.take()) is not None:
            drivers: list[Broker | Backend] = [made.runtime.broker, *made.more_brokers, made.runtime.backend]
            _close_all(drivers)  # this ends the waits of late threads
            if made.runtime.late_threads.join():
                _close_all(drivers)  # a thread that was about to wait has connected again
            made.readers.shutdown(wait=False)

    def _switch(self, target: _Target) -> None:
        self.close()
        self._target = target

    def _make_target(self, broker: str, backend: str | None, context: DriverContext) -> _Target:
        settings = self.settings
        plugin_context = PluginContext(
            app=settings.name, broker=redact(broker), backend=redact(backend or broker), clock=context.clock
        )
        plugins = PluginSettings(plugins=self.plugins, options=settings.plugin_options, context=plugin_context)
        return _Target(broker, backend, context, Drivers(context, settings.drivers, plugins, self._driver_options))

    def _assemble(self, runtime: Runtime) -> _ProcessServices:
        return _ProcessServices(
            runtime,
            Sender(runtime, limit_seconds=self.settings.send_seconds),
            Waiter(runtime, self.settings.poll_seconds),
            ResultDecoder(runtime),
            ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="drivetrain-read"),
        )

    def _make_runtime(self) -> Runtime:
        settings, target = self.settings, self._target
        drivers = target.drivers
        serializer = drivers.serializer(settings.serializer)
        return Runtime(
            broker=drivers.broker(target.broker),
            backend=drivers.backend(drivers.backend_url(target.broker, target.backend)),
            payloads=Payloads(serializer, lambda content_type: drivers.serializer_for(content_type, settings.accept)),
            registry=self._registry,
            observers=drivers.observers,
            acting=drivers.acting,
            has_plugins=bool(self.plugins),
            clock=target.context.clock,
            retry_policy=drivers.retry_policy,
            default_queue=settings.default_queue,
            directory=target.context.directory,
            retention_seconds=settings.result_retention_seconds,
            redelivery_window_seconds=settings.redelivery_window_seconds,
            keeps_failed=settings.keep_failed,
        )


def _close_all(drivers: Iterable[Broker | Backend]) -> None:
    for driver in drivers:
        driver.close()
