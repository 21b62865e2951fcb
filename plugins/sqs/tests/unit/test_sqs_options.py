"""The options of an SQS URL and of ``driver_options``, and their faults."""

import pytest
from boto3.session import Session
from botocore.config import Config

from drivetrain import App
from drivetrain.contract import ConfigurationError, DriverContext
from drivetrain_sqs import make_broker
from drivetrain_sqs.connection import connect
from drivetrain_sqs.options import Options


def test_urls():
    options = Options.parse(
        "sqs://eu-central-1?namespace=app&create=true&fifo=true&account=123456789012&max_receive_count=5"
    )
    assert (options.endpoint, options.region, options.prefix, options.account) == (
        "",
        "eu-central-1",
        "app",
        "123456789012",
    )
    assert (options.create, options.fifo, options.max_receive_count) == (True, True, 5)
    assert Options.parse("sqs://") == Options()
    local = Options.parse("sqs+http://key:s%2Fecret@127.0.0.1:4566?namespace=app&region=us-east-1")
    assert (local.endpoint, local.credentials, local.region) == (
        "http://127.0.0.1:4566",
        ("key", "s/ecret"),
        "us-east-1",
    )
    assert "ecret" not in repr(local)


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("sqs://key:secret@eu-central-1", ["holds credentials"]),
        ("sqs://127.0.0.1:4566", ["is not an AWS region"]),
        ("sqs://eu-central-1?region=us-east-1", ["two regions"]),
        ("sqs://eu-central-1/app", ["?namespace="]),
        ("sqs://eu-central-1?namespace=", ["namespace is ''"]),
        ("sqs://eu-central-1?create=yes&fife=true", ["use true or false", "did you mean 'fifo'?"]),
        (
            "sqs://eu-central-1?account=1&calls_in_flight=0&message_bytes=1",
            ["12 digits", "calls_in_flight is", "message_bytes is"],
        ),
        ("sqs+http://", ["names no host"]),
        ("sqs+http://key@host", ["key:secret@host"]),
        ("sqs+http://one,two", ["several endpoints"]),
        ("sqs+http://key:secret@host:port", ["is 'port'"]),
        ("sqs+http://key:secret@host:0", ["is '0'"]),
        ("sqs+http://key:secret@host:65536", ["is '65536'"]),
        ("sqs://eu-central-1#x", ["contains a #"]),
    ],
)
def test_every_fault_of_a_url_is_named_and_no_secret(url, faults):
    with pytest.raises(ConfigurationError) as caught:
        Options.parse(url)
    assert len(caught.value.faults) == len(faults)
    for fault, found in zip(sorted(faults), sorted(caught.value.faults), strict=False):
        assert fault in "\n".join(caught.value.faults), found
    assert "secret@" not in str(caught.value).replace("key:secret@host", "")


# TLS


def test_certificates_of_the_url_are_used(tmp_path):
    url = "sqs+https://key:secret@localhost?region=us-east-1&ca_file=ca.pem&cert_file=/etc/c.pem&key_file=k.pem"
    client = connect(Options.parse(url, DriverContext(directory=tmp_path))).request
    assert client._endpoint.http_session._verify == str(tmp_path / "ca.pem")
    assert client.meta.config.client_cert == ("/etc/c.pem", str(tmp_path / "k.pem"))
    unchecked = connect(Options.parse("sqs+https://key:secret@localhost?region=us-east-1&verify=false")).request
    assert unchecked._endpoint.http_session._verify is False


@pytest.mark.parametrize("url", ["sqs+http://localhost?ca_file=ca.pem", "sqs+http://localhost?verify=false"])
def test_an_endpoint_without_tls_has_no_certificates(url):
    with pytest.raises(ConfigurationError, match=r"cannot be used; write sqs\+https://"):
        Options.parse(url)


# Driver options


def test_the_applications_session_and_config_are_used():
    session = Session(aws_access_key_id="key", aws_secret_access_key="secret", region_name="eu-central-1")
    config = Config(proxies={"https": "http://proxy:3128"}, user_agent_extra="shop")
    context = DriverContext(options={"session": session, "config": config})
    clients = make_broker("sqs://?call_timeout_seconds=7&connect_timeout_seconds=3", context)._api.clients()
    for client in (clients.request, clients.long_poll):
        assert client.meta.region_name == "eu-central-1"
        assert client._request_signer._credentials.access_key == "key"
        assert client.meta.config.proxies == {"https": "http://proxy:3128"}
        assert client.meta.config.user_agent_extra == "shop"
        assert client.meta.config.retries["total_max_attempts"] == 1, "core retries, and botocore does not"
        assert client.meta.config.connect_timeout == 3
    assert (clients.request.meta.config.read_timeout, clients.long_poll.meta.config.read_timeout) == (7, 27)


def test_the_region_of_the_url_overrides_that_of_the_session():
    session = Session(aws_access_key_id="key", aws_secret_access_key="secret", region_name="eu-central-1")
    clients = connect(Options.parse("sqs://us-east-1", DriverContext(options={"session": session})))
    assert clients.request.meta.region_name == "us-east-1"


@pytest.mark.parametrize(
    ("url", "passed", "fault"),
    [
        ("sqs://", {"sesion": 1}, "no option 'sesion'; did you mean 'session'"),
        ("sqs://", {"session": "eu"}, "is a str; pass a boto3.Session"),
        ("sqs://", {"config": {}}, "is a dict; pass a botocore.config.Config"),
        ("sqs://?profile=shop", {"session": Session()}, "pass one of the two"),
        ("sqs+http://key:secret@host", {"session": Session()}, "pass one of the two"),
        ("sqs://", {"config": Config(retries={"max_attempts": 9})}, "retries failed calls itself"),
        ("sqs://", {"config": Config(read_timeout=9)}, "set call_timeout_seconds in the URL"),
        ("sqs://", {"config": Config(connect_timeout=9)}, "set connect_timeout_seconds in the URL"),
        ("sqs://", {"config": Config(max_pool_connections=9)}, "set calls_in_flight in the URL"),
    ],
)
def test_a_wrong_driver_option_is_named(url, passed, fault):
    with pytest.raises(ConfigurationError, match=fault) as caught:
        Options.parse(url, DriverContext(options=passed))
    assert len(caught.value.faults) == 1


def test_an_app_passes_its_driver_options():
    with pytest.raises(ConfigurationError, match="no option 'sesion'"):
        App("sqs://eu-central-1", backend="memory://", driver_options={"sqs": {"sesion": 1}}).runtime.broker.ping()
