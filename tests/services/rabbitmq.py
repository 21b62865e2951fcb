"""RabbitMQ: one private node, with its own epmd, on ports of its own."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.processes import NotStarted, ServerProcess, free_port
from services.required import program

__all__ = ["RabbitServer"]

#: The wrappers in /usr/sbin switch user and directories, and may boot a node of their own.
_PROGRAMS = "/usr/lib/rabbitmq/bin"
_SERVICE = "rabbitmq"
_CONTROL_SECONDS = 60.0
_CONTROL_PORTS = 10
#: While it starts, RabbitMQ 3.10 has quorum queues pass on messages before it has the exchanges, and has them try again
#: after this many milliseconds; by default after three minutes. As the README of drivetrain-amqp recommends.
_DEAD_LETTER_SETTING = "{dead_letter_worker_publisher_confirm_timeout,5000}"


class RabbitServer:
    """A private RabbitMQ. What it has confirmed survives `ServerProcess.kill`."""

    def __init__(
        self,
        directory: Path,
        *,
        management: bool = False,
        advanced: Sequence[str] = (),
        certificates: Path | None = None,
    ) -> None:
        """Describe it; `start` starts it.

        Args:
            directory: of its own.
            management: whether it has the management plugin, which costs seconds at the start and the end.
            advanced: more settings of the application ``rabbit``, as ``advanced.config`` has them.
            certificates: where ``ca.crt``, ``server.crt`` and ``server.key`` are: it speaks TLS too, at `tls_url`.
        """
        self.port, self.management_port = free_port(), free_port()
        self._tls_port = free_port() if certificates else None
        self._directory, self._epmd_port = directory, free_port()
        self._server = Path(_PROGRAMS, "rabbitmq-server")
        if not self._server.exists():
            self._server = program(_SERVICE, "rabbitmq-server")
        self._write_settings(management, advanced, self._tls_settings(certificates))
        self.epmd = ServerProcess(
            [program(_SERVICE, "epmd"), "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            log=directory / "epmd.log",
            ready=self._epmd_answers,
        )
        self.process = ServerProcess(
            [self._server],
            log=directory / "output.log",
            ready=self.answers,
            environment=self._environment(),
            directory=directory,
            start_seconds=90.0,
        )

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        if not self.epmd.running:
            self.epmd.start()
        try:
            self.process.start()
        except NotStarted as error:
            raise NotStarted(f"{error}\n{self.log_tail()}") from None

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()

    def end(self) -> None:
        """End everything, at once."""
        self.process.kill()
        self.epmd.kill()

    def url(self, vhost: str = "", *, user: str = "guest:guest", options: str = "") -> str:
        """The URL of a virtual host, by its name; empty: the node's own, ``/``."""
        path = f"/{quote(vhost, safe='')}" if vhost else ""
        return f"amqp://{user}@127.0.0.1:{self.port}{path}{'?' if options else ''}{options}"

    def tls_url(self) -> str:
        """The URL of its own virtual host, with TLS."""
        return f"amqps://guest:guest@127.0.0.1:{self._tls_port}"

    def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl``; what it says. Takes about half a second."""
        done = subprocess.run(
            [self._server.with_name("rabbitmqctl"), "--quiet", *arguments],
            env=self._environment(),
            cwd=self._directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=_CONTROL_SECONDS,
        )
        assert done.returncode == 0, f"rabbitmqctl {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def add_vhost(self, name: str) -> str:
        """Make a virtual host that guest may use; its URL."""
        self.control("add_vhost", name)
        self.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.url(name)

    def drop_queues(self, unwanted: Callable[[str], bool], vhost: str = "/") -> None:
        """Delete the queues with such names."""
        listed = self.control("list_queues", "-p", vhost, "--no-table-headers", "name").splitlines()
        with self.client(vhost) as connection, connection.channel() as channel:
            for name in filter(unwanted, listed):
                channel.queue_delete(name)

    def client(self, vhost: str = "/", **settings: Any) -> Any:
        """A blocking connection of pika, for looking and for breaking."""
        import pika

        parameters = pika.ConnectionParameters("127.0.0.1", self.port, vhost, connection_attempts=1, **settings)
        return pika.BlockingConnection(parameters)

    def answers(self) -> bool:
        """Whether it takes connections; an open port is not enough. TLS comes last: its port is looked at first."""
        for port in filter(None, (self._tls_port, self.port)):
            with socket.create_connection(("127.0.0.1", port), 1.0):
                pass  # pika would log a traceback for each try
        with self.client(socket_timeout=5, blocked_connection_timeout=5) as connection:
            return bool(connection.is_open)

    def log_tail(self) -> str:
        """The last lines of its own log."""
        logs = sorted(self._directory.glob("log/*.log"))
        return "\n".join(log.read_text("utf-8", "replace")[-2000:] for log in logs) or "(no log)"

    def _epmd_answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self._epmd_port), 1.0):
            return True

    def _tls_settings(self, certificates: Path | None) -> list[str]:
        if certificates is None:
            return []
        return [
            f"listeners.ssl.1 = 127.0.0.1:{self._tls_port}",
            f"ssl_options.cacertfile = {certificates}/ca.crt",
            f"ssl_options.certfile = {certificates}/server.crt",
            f"ssl_options.keyfile = {certificates}/server.key",
            "ssl_options.verify = verify_none",
        ]

    def _write_settings(self, management: bool, advanced: Sequence[str], settings: Sequence[str]) -> None:
        home = self._directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        cookie = home / ".erlang.cookie"
        with suppress(FileNotFoundError):
            cookie.unlink()
        cookie.write_text("drivetrain-tests")
        cookie.chmod(0o600)
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "log.console = false", *settings]
        if management:
            lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self.management_port}"]
        (self._directory / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        of_rabbit = ",".join((_DEAD_LETTER_SETTING, *advanced))
        (self._directory / "advanced.config").write_text(f"[{{rabbit,[{of_rabbit}]}}].")
        (self._directory / "enabled_plugins").write_text("[rabbitmq_management]." if management else "[].")

    def _environment(self) -> dict[str, str]:
        here = self._directory
        first = free_port() if not hasattr(self, "_control_port") else self._control_port
        self._control_port = first
        self._dist_port = getattr(self, "_dist_port", None) or free_port()
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(here / "home"),
            "RABBITMQ_NODENAME": f"t{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CTL_DIST_PORT_MIN": str(first),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(min(65_535, first + _CONTROL_PORTS - 1)),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_PID_FILE": str(here / "pid"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "gen"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(here / "ff"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}",
            # An internal variable of the 3.10 script: it execs, so that the process is the node itself.
            "detached": "1",
        }
