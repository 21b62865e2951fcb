"""Every error of hiredis, of sockets and of the server has one of ours, and a sentence that says what to do."""

import inspect
import logging
import ssl

import hiredis
import pytest

from drivetrain.contract import (
    AuthenticationFailed,
    DriverContext,
    Message,
    ServiceError,
    ServiceRefused,
    ServiceUnavailable,
)
from drivetrain_redis import make_broker
from drivetrain_redis.errors import CLIENT_ERRORS, ConnectionLost, mapped

SHOWN = "redis://***@host/0"
CLASSES = [kind for _, kind in inspect.getmembers(hiredis, inspect.isclass) if issubclass(kind, Exception)]
EXPECTED = {"ProtocolError": ServiceUnavailable, "ReplyError": ServiceRefused}

#: What servers have answered: Redis 7, and Redis 6 out of a script.
ANSWERS = [
    ("NOAUTH Authentication required.", AuthenticationFailed, "put it into the URL"),
    ("WRONGPASS invalid username-password pair or user is disabled.", AuthenticationFailed, "correct the URL"),
    ("ERR AUTH <password> called without any password configured", AuthenticationFailed, "take it out"),
    ("NOPERM this user has no permissions to run the 'evalsha' command", ServiceRefused, "README"),
    ("OOM command not allowed when used memory > 'maxmemory'. script: a", ServiceRefused, "make room"),
    ("ERR Error running script (call to f_1): @user_script:4: -OOM command not allowed", ServiceRefused, "make room"),
    ("READONLY You can't write against a read only replica.", ServiceRefused, "name the master"),
    ("ERR Error running script: @user_script: 6: -READONLY You can't write", ServiceRefused, "name the master"),
    ("MISCONF Redis is configured to save RDB snapshots", ServiceRefused, "disk"),
    ("NOREPLICAS Not enough good replicas to write.", ServiceUnavailable, "replicas"),
    ("LOADING Redis is loading the dataset in memory", ServiceUnavailable, "loading"),
    ("BUSY Redis is busy running a script.", ServiceUnavailable, "busy"),
    ("MASTERDOWN Link with MASTER is down", ServiceUnavailable, "master"),
    ("CLUSTERDOWN The cluster is down", ServiceUnavailable, "cluster"),
    ("TRYAGAIN Multiple keys request during rehashing of slot", ServiceUnavailable, "moving"),
    ("MOVED 3999 127.0.0.1:6381", ServiceUnavailable, "redis+cluster://"),
    ("CROSSSLOT Keys in request don't hash to the same slot", ServiceRefused, "redis+cluster://"),
    ("WRONGTYPE Operation against a key", ServiceRefused, "namespace"),
    ("NOSCRIPT No matching script.", ServiceUnavailable, "scripts"),
    ("ERR max number of clients reached", ServiceUnavailable, "maxclients"),
    ("ERR unknown command 'LMPOP'", ServiceRefused, "6.2"),
    ("ERR something new", ServiceRefused, "something new"),
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_of_error_is_mapped(kind):
    error = kind("what was said")
    assert isinstance(error, CLIENT_ERRORS)
    ours = mapped(error, SHOWN)
    assert isinstance(ours, EXPECTED.get(kind.__name__, ServiceError))
    assert type(ours) is not ServiceError, "it says nothing about what to do"
    assert SHOWN in str(ours)


@pytest.mark.parametrize("error", [OSError(), TimeoutError("timed out"), ConnectionLost("gone"), ssl.SSLError("bad")])
def test_errors_of_sockets_mean_that_the_service_is_away(error):
    assert isinstance(mapped(error, SHOWN), ServiceUnavailable)


@pytest.mark.parametrize(("text", "kind", "advice"), ANSWERS, ids=[text[:30] for text, _, _ in ANSWERS])
def test_every_answer_is_mapped(text, kind, advice):
    ours = mapped(hiredis.ReplyError(text), SHOWN)
    assert type(ours) is kind
    assert advice in str(ours)


def test_a_wrong_password_is_said_to_be_wrong_and_not_shown(redis_server, client):
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


def test_a_user_who_may_not_is_told_so(redis_server, client, prefix):
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
        *("+zrangebyscore", "+zpopmax", "+zcount", "+zcard", "+zscore", "+zmscore"),
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
