"""What the server refuses or warns of, and what the driver says about it."""

import logging

import pytest

from drivetrain.contract import AuthenticationFailed, DriverContext, Message, ServiceRefused, ValueWrite
from drivetrain_redis import make_backend, make_broker


def test_a_wrong_password_is_reported_and_not_shown(redis_server, client):
    client.config_set("requirepass", "right")
    try:
        for secret in ("wr0ng", ""):
            broker = make_broker(f"redis://:{secret}@127.0.0.1:{redis_server.port}/0", DriverContext())
            with pytest.raises(AuthenticationFailed) as raised:
                broker.ping()
            assert raised.value.__cause__ is not None
            assert not secret or secret not in f"{raised.value}{broker!r}"
        right = make_broker(f"redis://:right@127.0.0.1:{redis_server.port}/0", DriverContext())
        right.ping()
        right.close()
    finally:
        client.config_set("requirepass", "")


def test_missing_permissions_of_a_user_are_reported(redis_server, client, prefix):
    client.acl_setuser("reader", enabled=True, passwords=["+x"], keys=["*"], channels=["*"], commands=["+@read"])
    try:
        broker = make_broker(f"redis://reader:x@127.0.0.1:{redis_server.port}/0?namespace={prefix}", DriverContext())
        with pytest.raises(ServiceRefused, match="README"):
            broker.publish([Message(id="m", queue="q", body=b"")])
        broker.close()
    finally:
        client.acl_deluser("reader")


def test_a_user_with_no_more_than_the_readme_lists_can_work(redis_server, client, prefix):
    commands = [
        *("+eval", "+evalsha", "+script|load", "+publish", "+subscribe", "+ping", "+time", "+select", "+client"),
        *(
            "+get",
            "+getdel",
            "+mget",
            "+set",
            "+incrby",
            "+del",
            "+unlink",
            "+exists",
            "+getrange",
            "+setrange",
            "+scan",
            "+pttl",
        ),
        *("+pexpire", "+pexpireat", "+hset", "+hsetnx", "+hget", "+hmget", "+hdel", "+hlen", "+sadd", "+srem"),
        *("+smembers", "+lpush", "+rpush", "+lpop", "+lrange", "+llen", "+lrem", "+zadd", "+zrem", "+zrange"),
        *("+zrangebyscore", "+zrangebylex", "+zpopmax", "+zcount", "+zcard", "+zscore", "+zmscore"),
    ]
    client.acl_setuser(
        "worker", enabled=True, passwords=["+x"], keys=[f"{prefix}:*"], channels=[f"{prefix}:*"], commands=commands
    )
    try:
        broker = make_broker(f"redis://worker:x@127.0.0.1:{redis_server.port}/0?namespace={prefix}", DriverContext())
        broker.publish([Message(id="m", queue="q", body=b"")])
        taken = broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=5)
        assert broker.receive(["q"], limit=1, wait_seconds=0.01, hold_seconds=5) == []
        broker.extend(taken, hold_seconds=10)
        broker.dead_letter([(taken[0], "why")])
        broker.replay("q")
        broker.acknowledge(broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=5))
        assert broker.sizes(broker.queues())["q"].ready == 0
        broker.close()
        backend = make_backend(f"redis://worker:x@127.0.0.1:{redis_server.port}/0?namespace={prefix}", DriverContext())
        (outcome,) = backend.write_values([ValueWrite(key="k", value=b"v", expires_in_seconds=60)])
        assert backend.read_values(["k"])[0].version == outcome.current.version
        assert len(backend.list_values("", limit=1).values) == 1
        backend.write_values([ValueWrite(key="k", value=None)])
        backend.sweep()
        assert backend.counts()["values"] == 0
        backend.close()
    finally:
        client.acl_deluser("worker")


def test_settings_that_could_lose_tasks_are_warned_of_once(redis_server, client, prefix, caplog):
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with caplog.at_level(logging.WARNING, "drivetrain.redis"):
            broker = make_broker(f"{redis_server.url}/0?namespace={prefix}", DriverContext())
            for _ in range(3):
                broker.ping()
                broker.close()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
    (record,) = [record for record in caplog.records if "maxmemory-policy" in record.getMessage()]
    assert "allkeys-lru" in record.getMessage()
    assert "noeviction" in record.getMessage()
