"""Workers on a Redis that is killed, full, read-only, or replaced by its replica: nothing is lost, and they go on."""

import threading
from contextlib import suppress

import pytest

from drivetrain import App
from drivetrain.contract import DriverContext, Message, ServiceRefused
from drivetrain_redis import make_broker
from services.redis import RedisSentinels, RedisServer
from support.waiting import until

TASKS = 300


class Load:
    """An app with a worker, to which a thread sends tasks; every result is waited for."""

    def __init__(self, url, **settings):
        self.app = App(url, url, concurrency=4, lease_seconds=2.0, send_seconds=60.0, **settings)
        self.ran = []

        @self.app.task(name="double")
        def double(number: int) -> int:
            self.ran.append(number)
            return 2 * number

        self.double = double
        self.handles = []
        self._sender = threading.Thread(target=self._send, daemon=True)

    def __enter__(self):
        self.worker = self.app.worker().start()
        self._sender.start()
        return self

    def _send(self):
        with suppress(ServiceRefused):
            for number in range(TASKS):
                self.handles.append(self.double.send(number))

    def await_some(self, count):
        until(lambda: len(self.ran) >= count, f"{count} tasks have run", timeout=60)

    def finish(self):
        """All were sent, and each gives its result."""
        self._sender.join(60)
        assert len(self.handles) == TASKS, "the sender has given up"
        assert [handle.get(timeout=60) for handle in self.handles] == [2 * number for number in range(TASKS)]

    def __exit__(self, *_):
        self.worker.stop(grace_seconds=5.0)
        self.app.close()


def test_a_server_that_is_killed_and_started_again_under_load(redis_server, url):
    with Load(url) as load:
        for count in (30, 120):
            load.await_some(count)
            redis_server.process.kill()
            redis_server.process.start()
        load.finish()


def test_connections_that_are_cut_and_scripts_that_are_forgotten_under_load(url, client):
    with Load(url) as load:
        for count in (20, 80, 140, 200):
            load.await_some(count)
            client.script_flush()
            client.client_kill_filter(_type="pubsub")
            client.client_kill_filter(_type="normal", skipme=True)
        load.finish()


def test_a_full_server_is_reported_and_work_continues_when_there_is_room(tmp_path):
    server = RedisServer(tmp_path, options=("--maxmemory-policy", "noeviction"))
    server.process.start()
    try:
        with server.client() as client, Load(f"{server.url}/0") as load:
            load.await_some(10)
            broker = make_broker(f"{server.url}/0", DriverContext())
            client.config_set("maxmemory", "1mb")
            with pytest.raises(ServiceRefused, match="memory is full") as raised:
                broker.publish([Message(id="m", queue="elsewhere", body=b"")])
            assert raised.value.__cause__ is not None
            client.config_set("maxmemory", "0")
            broker.close()
            _send_the_rest(load)
            load.finish()
    finally:
        server.process.kill()


def _send_the_rest(load):
    """A full server raises at once, and the sender decides. This one retries."""
    load._sender.join(60)
    for number in range(len(load.handles), TASKS):
        load.handles.append(load.double.send(number))


def test_a_read_only_replica_says_what_to_do(tmp_path, redis_server, prefix):
    replica = RedisServer(tmp_path, options=("--replicaof", f"127.0.0.1 {redis_server.port}"))
    replica.process.start()
    try:
        broker = make_broker(f"{replica.url}/0?namespace={prefix}", DriverContext())

        def refused():
            with pytest.raises(Exception) as raised:
                broker.publish([Message(id="m", queue="q", body=b"")])
            return isinstance(raised.value, ServiceRefused) and raised.value

        error = until(refused, "the replica follows its master, and refuses writes")
        assert "read-only replica" in str(error)
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        broker.publish([Message(id="m", queue="q", body=b"")])
        broker.close()
    finally:
        replica.process.kill()


def test_a_failover_under_load_loses_nothing_that_a_replica_has(tmp_path):
    """With ``wait_replicas=1`` a write is answered when the replica has it too: the failover loses none of those."""
    sentinels = RedisSentinels(tmp_path)
    sentinels.start()
    try:
        with Load(f"{sentinels.url}?wait_replicas=1&call_timeout_seconds=4") as load:
            load.await_some(50)
            sentinels.fail_over()
            # The old master is not there to follow the new one, so writes would wait for it: a new replica takes over.
            sentinels.restart_as_replica()
            load.finish()
    finally:
        sentinels.kill()
