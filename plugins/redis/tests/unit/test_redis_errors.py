"""Every error of redis-py and of the server has one of ours, and a sentence that says what to do."""

import inspect
import ssl

import pytest
import redis.exceptions
from redis.connection import DefaultParser

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable
from drivetrain_redis.errors import CLIENT_ERRORS, mapped

SHOWN = "redis://***@host/0"
#: What redis-py raises over a connection; the rest belongs to clients, locks and caches that are not used.
CLASSES = [
    kind
    for _, kind in inspect.getmembers(redis.exceptions, inspect.isclass)
    if issubclass(kind, (redis.exceptions.RedisError, redis.exceptions.RedisClusterException))
]
REDIRECTIONS = (redis.exceptions.AskError,)

#: What servers have answered: Redis 7, and Redis 6 out of a script.
ANSWERS = [
    ("NOAUTH Authentication required.", AuthenticationFailed, "add it to the URL"),
    ("WRONGPASS invalid username-password pair or user is disabled.", AuthenticationFailed, "correct the URL"),
    ("ERR AUTH <password> called without any password configured", AuthenticationFailed, "remove it"),
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
    ("ERR This instance has cluster support disabled", ServiceRefused, "redis://"),
    ("ERR something new", ServiceRefused, "something new"),
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_of_error_is_mapped(kind):
    error = kind("7 host:1" if issubclass(kind, REDIRECTIONS) else "what was said")
    assert isinstance(error, CLIENT_ERRORS)
    ours = mapped(error, SHOWN)
    assert type(ours) is not ServiceError, "it does not say whether to try again"
    assert SHOWN in str(ours)


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(), TimeoutError("timed out"), ssl.SSLError("bad")),
        *(redis.exceptions.ConnectionError("gone"), redis.exceptions.TimeoutError("late")),
        redis.exceptions.InvalidResponse("Protocol error, got 'H' as reply type byte"),
    ],
)
def test_connection_errors_mean_that_the_service_is_unavailable(error):
    assert type(mapped(error, SHOWN)) is ServiceUnavailable


@pytest.mark.parametrize(("text", "kind", "advice"), ANSWERS, ids=[text[:30] for text, _, _ in ANSWERS])
def test_every_answer_is_mapped(text, kind, advice):
    ours = mapped(DefaultParser.parse_error(text), SHOWN)
    assert type(ours) is kind
    assert advice in str(ours)
    assert text.partition(" ")[0].removeprefix("ERR") in str(ours), "the code of the server is shown"


def test_the_reason_why_no_node_of_a_cluster_could_be_asked_is_shown():
    with pytest.raises(redis.exceptions.RedisClusterException) as raised:
        raise redis.exceptions.RedisClusterException("unhelpful") from DefaultParser.parse_error("WRONGPASS invalid x")
    ours = mapped(raised.value, SHOWN)
    assert type(ours) is AuthenticationFailed
    assert "WRONGPASS" in str(ours)
