"""The options: URLs, and what applications pass in ``driver_options``."""

from pathlib import Path

import pika
import pytest
from pika.credentials import ExternalCredentials

from drivetrain.contract import ConfigurationError, Host, TlsOptions
from drivetrain_amqp import AccessToken
from drivetrain_amqp.options import Options, connection_parameters
from drivetrain_amqp.topology import Topology


def test_a_bare_url_has_rabbitmqs_defaults():
    options = Options.parse("amqp://localhost")
    assert (options.hosts, options.vhost, options.tls) == ((Host("localhost", 5672),), "/", None)
    assert (options.user, options.password, options.max_priority) == ("guest", "guest", 9)


def test_a_full_url_is_taken_apart():
    options = Options.parse("amqps://us%40er:p%2Fw@one,two:5673,[::1]:99/v%2Fhost?queue_type=quorum&prefetch=10")
    assert options.hosts == (Host("one", 5671), Host("two", 5673), Host("::1", 99))
    assert (options.user, options.password, options.vhost) == ("us@er", "p/w", "v/host")
    assert (options.tls, options.quorum, options.prefetch, options.max_priority) == (TlsOptions(), True, 10, 0)


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
def test_classic_queues_are_lazy_by_default(query, mode):
    """But not delay queues, which are quorum queues."""
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
    """RabbitMQ would copy every message to each of them (W23)."""
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
    assert options.tls == TlsOptions(ca_file="/srv/ca.crt", cert_file="/own.crt", key_file="/srv/keys/own.key")
    assert Options.parse("amqps://host").in_directory(Path("/srv")) == Options.parse("amqps://host")


def test_a_parsed_url_shows_no_secret():
    options = Options.parse("amqp://me:hunter2@h?management_url=http%3A%2F%2Fa%3Ahunter3%40h%3A15672")
    assert "hunter" not in repr(options)


# What the application passes in driver_options


def parameters(url, token="", **given):
    return connection_parameters(Options.parse(url, driver_options=given), name="mine", token=token)


def token():
    return AccessToken("hunter2", 60)


def test_a_url_becomes_pikas_parameters():
    url = "amqp://me:hunter2@one,two:5673/shop?heartbeat_seconds=7&connect_timeout_seconds=3&blocked_timeout_seconds=9"
    one, two = parameters(url)
    assert ((one.host, one.port), (two.host, two.port)) == (("one", 5672), ("two", 5673))
    assert (one.virtual_host, one.heartbeat, one.socket_timeout, one.stack_timeout) == ("shop", 7, 3, 3)
    assert one.blocked_connection_timeout == 9
    assert one.credentials == pika.PlainCredentials("me", "hunter2")
    assert one.ssl_options is None
    assert one.client_properties == {"connection_name": "mine"}


def test_a_heartbeat_of_less_than_a_second_is_not_none():
    assert parameters("amqp://h?heartbeat_seconds=0.1")[0].heartbeat == 1
    assert parameters("amqp://h?heartbeat_seconds=0")[0].heartbeat == 0


@pytest.mark.parametrize(("query", "checked"), [("", True), ("?verify=true", True), ("?verify=false", False)])
def test_tls_checks_the_certificate_by_default(query, checked):
    context = parameters(f"amqps://h{query}")[0].ssl_options.context
    assert context.check_hostname is checked
    assert bool(context.verify_mode) is checked


def test_a_token_replaces_user_and_password():
    assert parameters("amqp://me:x@h", token="t")[0].credentials == pika.PlainCredentials("", "t")


def test_options_of_the_application_replace_those_of_the_url():
    context = pika.SSLOptions(parameters("amqps://h")[0].ssl_options.context, "other.host")
    (found,) = parameters(
        "amqps://me:x@h",
        credentials=ExternalCredentials(),
        ssl_options=context,
        client_properties={"connection_name": "theirs", "team": "billing"},
    )
    assert isinstance(found.credentials, ExternalCredentials)
    assert found.ssl_options is context
    assert found.client_properties == {"connection_name": "theirs", "team": "billing"}


def test_parameters_replace_the_whole_target_and_are_not_changed():
    theirs = pika.URLParameters("amqp://me:hunter2@one:99/shop?heartbeat=5&blocked_connection_timeout=2")
    options = Options.parse("amqp://?namespace=n&queue_type=quorum", driver_options={"parameters": theirs})
    (found,) = connection_parameters(options, name="mine")
    assert (found.host, found.port, found.heartbeat, found.blocked_connection_timeout) == ("one", 99, 5, 2)
    assert (options.hosts, options.vhost, options.user) == ((Host("one", 99),), "shop", "me")
    assert (options.namespace, options.quorum) == ("n", True)
    assert found.client_properties == {"connection_name": "mine"}
    assert theirs.client_properties is None
    assert "hunter2" not in repr(options)


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigurationError) as caught:
        Options.parse("amqp://h", driver_options={"credential": "hunter2", "ssl_option": None})
    assert len(caught.value.faults) == 2
    for known in ("parameters", "credentials", "ssl_options", "client_properties", "token"):
        assert known in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["parameters", "credentials", "ssl_options", "client_properties", "token"])
def test_a_wrong_type_is_refused_with_what_to_pass(name):
    with pytest.raises(ConfigurationError, match=rf"'{name}'\] is of type str; pass ") as caught:
        Options.parse("amqps://h", driver_options={name: "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "given", "fault"),
    [
        ("amqp://h", {"ssl_options": True}, "needs TLS; write amqps"),
        ("amqps://h?ca_file=x", {"ssl_options": True}, "both configure TLS"),
        ("amqps://h?verify=false", {"ssl_options": True}, "both configure TLS"),
        ("amqp://h?verify=false", {}, "TLS is off, so verify cannot be used; write amqps"),
        ("amqp://h", {"credentials": pika.PlainCredentials("a", "b"), "token": token}, "token and credentials"),
        ("amqp://me:x@", {"parameters": pika.ConnectionParameters()}, "the URL has a user"),
        ("amqp:///shop", {"parameters": pika.ConnectionParameters()}, "the URL has a virtual host"),
        ("amqp://?heartbeat_seconds=3", {"parameters": pika.ConnectionParameters()}, "the URL has heartbeat_seconds"),
        (
            "amqp://",
            {"parameters": pika.ConnectionParameters(), "credentials": ExternalCredentials()},
            "set credentials in the parameters",
        ),
        ("amqp://", {"parameters": []}, "pass pika's ConnectionParameters"),
        ("amqp://", {"parameters": pika.ConnectionParameters(heartbeat=lambda *_: 3)}, "a heartbeat that is a number"),
    ],
)
def test_what_contradicts_is_refused(url, given, fault):
    if given.get("ssl_options"):
        given = {"ssl_options": parameters("amqps://h")[0].ssl_options}
    with pytest.raises(ConfigurationError, match=fault):
        Options.parse(url, driver_options=given)
