"""The options: URLs, and what applications pass in ``driver_options``."""

from pathlib import Path

import pytest

from drivetrain.contract import ConfigurationError, Host
from drivetrain_amqp.options import Options
from drivetrain_amqp.topology import Topology


def test_a_bare_url_has_rabbitmqs_defaults():
    options = Options.parse("amqp://localhost")
    assert (options.hosts, options.vhost, options.tls) == ((Host("localhost", 5672),), "/", False)
    assert (options.user, options.password, options.max_priority) == ("guest", "guest", 9)


def test_a_full_url_is_taken_apart():
    options = Options.parse("amqps://us%40er:p%2Fw@one,two:5673,[::1]:99/v%2Fhost?queue_type=quorum&prefetch=10")
    assert options.hosts == (Host("one", 5671), Host("two", 5673), Host("::1", 99))
    assert (options.user, options.password, options.vhost) == ("us@er", "p/w", "v/host")
    assert (options.tls, options.quorum, options.prefetch, options.max_priority) == (True, True, 10, 0)


@pytest.mark.parametrize("path", ["", "/", "/%2F"])
def test_the_usual_virtual_host_has_three_spellings(path):
    assert Options.parse(f"amqp://localhost{path}").vhost == "/"


def test_arguments_of_queues_have_types():
    options = Options.parse("amqp://h?queue_arguments=x-max-length:10,x-overflow:reject-publish,x-single:true")
    assert options.queue_arguments == {"x-max-length": 10, "x-overflow": "reject-publish", "x-single": True}


@pytest.mark.parametrize(
    ("query", "mode"),
    [("", "lazy"), ("?queue_mode=lazy", "lazy"), ("?queue_mode=default", None), ("?queue_type=quorum", None)],
)
def test_classic_queues_are_lazy_unless_told_otherwise(query, mode):
    """But for those of delays, whose messages are to be at hand when they are due."""
    topology = Topology(Options.parse(f"amqp://h{query}"))
    (task, *_), (dead, *_) = topology.task_queue("q"), topology.dead_queue("q.dead")
    assert task.arguments.get("x-queue-mode") == dead.arguments.get("x-queue-mode") == mode
    assert "x-queue-mode" not in topology.delay_arguments()


def test_every_fault_is_named_and_no_secret():
    with pytest.raises(ConfigurationError) as caught:
        Options.parse(
            "amqp://me:hunter2@,host:x/?prefetchh=1&max_priority=300&queue_type=lazy&namespace=&exchange=amq.x"
            "&heartbeat_seconds=-1&queue_arguments=x-queue-type:quorum&management_url=host"
        )
    assert len(caught.value.faults) == 10
    assert "did you mean 'prefetch'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["tasks", "tasks.#.{queue}", "{queue}.{queue}", "*.{queue}"])
def test_one_key_for_several_queues_is_refused(key):
    """Otherwise every message would be copied to each of them (W23)."""
    with pytest.raises(ConfigurationError, match="binding_key"):
        Options.parse(f"amqp://h?exchange=e&binding_key={key.replace('#', '%23')}")


@pytest.mark.parametrize(
    "query", ["exchange_type=topic", "binding_key={queue}.x", "ca_file=x", "queue_type=quorum&queue_mode=lazy"]
)
def test_options_that_mean_nothing_alone_are_refused(query):
    with pytest.raises(ConfigurationError):
        Options.parse(f"amqp://h?{query}")


def test_relative_paths_begin_in_the_directory_of_the_app():
    url = "amqps://host?ca_file=ca.crt&cert_file=/own.crt&key_file=keys/own.key"
    options = Options.parse(url).in_directory(Path("/srv"))
    assert (options.ca_file, options.cert_file, options.key_file) == ("/srv/ca.crt", "/own.crt", "/srv/keys/own.key")
    assert Options.parse("amqps://host").in_directory(Path("/srv")) == Options.parse("amqps://host")


def test_a_parsed_url_shows_no_secret():
    options = Options.parse("amqp://me:hunter2@h?management_url=http%3A%2F%2Fa%3Ahunter3%40h%3A15672")
    assert "hunter" not in repr(options)
