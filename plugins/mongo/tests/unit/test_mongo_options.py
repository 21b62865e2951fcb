"""The options of the mongo driver: URLs and driver options."""

from pathlib import Path

import pytest
from pymongo import monitoring
from pymongo.auth_oidc import OIDCCallback
from pymongo.server_api import ServerApi

from drivetrain.contract import ConfigurationError, DriverContext, TlsOptions
from drivetrain_mongo import make_backend
from drivetrain_mongo.options import Options, Waiting


def test_a_url_is_read():
    options = Options.parse("mongodb://me:pass@one:1,two:2/work?replicaSet=rs&namespace=app_1&waiting=poll&tls=true")
    assert options.url == "mongodb://me:pass@one:1,two:2/work?replicaSet=rs&tls=true"
    assert (options.database, options.namespace, options.waiting) == ("work", "app_1", Waiting.POLL)
    assert options.prefix == "drivetrain_app_1_"
    assert not options.srv


def test_defaults():
    options = Options.parse("mongodb://host/work")
    assert options.url == "mongodb://host/work"
    assert (options.prefix, options.waiting) == ("drivetrain_", Waiting.AUTO)
    assert options.timeouts["serverSelectionTimeoutMS"] == 5_000


def test_the_clients_own_timeouts_are_not_overruled():
    timeouts = Options.parse("mongodb://host/work?serverselectiontimeoutms=9&socketTimeoutMS=8").timeouts
    assert set(timeouts) == {"connectTimeoutMS", "wTimeoutMS"}


def test_the_url_of_a_hosted_cluster_is_accepted():
    options = Options.parse("mongodb+srv://u:p@cluster0.abc.mongodb.net/work?retryWrites=true&w=majority&appName=c")
    assert options.srv
    assert options.database == "work"


def test_relative_paths_begin_in_the_directory_of_the_app():
    given = Options.parse("mongodb://host/work?tls=true&tlsCAFile=ca.pem&tlscertificatekeyfile=/own.pem")
    options = given.in_directory(Path("/srv"))
    assert options.url == "mongodb://host/work?tls=true&tlsCAFile=%2Fsrv%2Fca.pem&tlscertificatekeyfile=%2Fown.pem"
    odd = Options.parse("mongodb://me:p%40s%3Fs@host/work?authMechanismProperties=SERVICE_NAME:b%26c&namespace=n")
    assert odd.in_directory(Path("/srv")) == odd


def test_odd_characters_in_secrets_and_options_are_kept():
    url = "mongodb://me:p%40s%3Fs@host/work?authMechanismProperties=SERVICE_NAME:b%26c&namespace=n"
    assert Options.parse(url).url == "mongodb://me:p%40s%3Fs@host/work?authMechanismProperties=SERVICE_NAME%3Ab%26c"


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("mongodb:///work", ["names no host"]),
        ("mongodb://host", ["names no database"]),
        ("mongodb://host/", ["names no database"]),
        ("mongodb://host/a.b", ["the database is 'a.b'"]),
        ("mongodb://host:port/work", ["is 'port'"]),
        ("mongodb://host:0/work", ["is '0'"]),
        ("mongodb://host:99999/work", ["is '99999'"]),
        ("mongodb://ho st/work", ["'ho st'"]),
        ("mongodb://one,,two/work", ["names no host"]),
        ("mongodb+srv://one,two/work", ["one name without a port"]),
        ("mongodb://host/work?namespace=a%20", ["namespace is 'a '"]),
        ("mongodb://host/work?waiting=never", ["auto or stream or poll"]),
        ("mongodb://host/work?replicaSett=x", ["did you mean 'replicaSet'"]),
        ("mongodb://host/work?w=1", ["w must be majority"]),
        ("mongodb://host/work?journal=false", ["journal must be true"]),
        ("mongodb://host/work?readPreference=secondary", ["readPreference must be primary"]),
        ("mongodb://host/work?readConcernLevel=local", ["readConcernLevel must be majority"]),
        ("mongodb://host/work?tls=perhaps", ["the value of tls"]),
        ("mongodb://host/work?ca_file=ca.pem&verify=no", ["verify is 'no'", "write tls=true"]),
        ("mongodb://host/work?tls=true&cert_file=a&key_file=b", ["put both into cert_file"]),
        ("mongodb://host/work?call_timeout_seconds=1&socketTimeoutMS=1", ["both call_timeout_seconds and socketT"]),
        ("mongodb://host/work?tls=true&ca_file=a&tlscafile=b", ["both ca_file and tlscafile"]),
        ("mongodb://host/work?connect_timeout_seconds=0", ["connect_timeout_seconds is '0'"]),
        ("mongodb://host?w=0&x=1&waiting=no", ["no database", "waiting is", "w must be", "no option 'x'"]),
    ],
)
def test_every_fault_is_named(url, faults):
    with pytest.raises(ConfigurationError) as caught:
        Options.parse(url)
    assert len(caught.value.faults) == len(faults)
    for text, fault in zip(caught.value.faults, faults, strict=True):
        assert fault in text


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://me:hush-hush@host?tlsCertificateKeyFilePassword=hush-hush&maxPoolSize=hush-hush",
        "mongodb://me:hush-hush@:/work",
    ],
)
def test_secrets_are_in_no_message(url):
    with pytest.raises(ConfigurationError) as caught:
        Options.parse(url)
    assert "hush-hush" not in str(caught.value)


def test_secrets_are_in_no_representation():
    assert "hush-hush" not in repr(Options.parse("mongodb://me:hush-hush@host/work?maxPoolSize=7"))


# The names that all drivers share


def test_the_options_of_all_drivers_are_arguments_of_the_client():
    url = (
        "mongodb://host/work?connect_timeout_seconds=0.5&call_timeout_seconds=7"
        "&tls=true&ca_file=ca.pem&cert_file=/me.pem&verify=false"
    )
    options = Options.parse(url).in_directory(Path("/srv"))
    assert options.url == "mongodb://host/work?tls=true"
    assert options.tls == TlsOptions(ca_file="/srv/ca.pem", cert_file="/me.pem", verify=False)
    assert dict(options.client_arguments) == {
        "serverSelectionTimeoutMS": 5_000,
        "connectTimeoutMS": 500,
        "socketTimeoutMS": 7_000,
        "wTimeoutMS": 20_000,
        "tlsCAFile": "/srv/ca.pem",
        "tlsCertificateKeyFile": "/me.pem",
        "tlsInsecure": True,
    }


def test_a_hosted_cluster_uses_tls_by_default():
    assert Options.parse("mongodb+srv://name/work?ca_file=ca.pem").tls == TlsOptions(ca_file="ca.pem")
    with pytest.raises(ConfigurationError, match="write tls=true"):
        Options.parse("mongodb+srv://name/work?ca_file=ca.pem&tls=false")


# Driver options


class Callback(OIDCCallback):
    """Fetches no token."""

    def fetch(self, context):
        raise AssertionError(context)


def test_objects_that_no_url_can_hold_are_arguments_of_the_client():
    objects = {
        "authMechanismProperties": {"OIDC_CALLBACK": Callback()},
        "event_listeners": [monitoring.CommandListener()],
        "server_api": ServerApi("1"),
        "server_selector": list,
        "username": "me",
        "password": "hush-hush",
    }
    options = Options.parse("mongodb://host/work?authMechanism=MONGODB-OIDC", driver_options=objects)
    assert objects.items() <= options.client_arguments.items()
    assert "hush-hush" not in repr(options)


@pytest.mark.parametrize(
    ("driver_options", "words"),
    [
        ({"event_listener": []}, "did you mean 'event_listeners'"),
        ({"w": 0}, "use authMechanismProperties, auto_encryption_opts"),
        ({"retryWrites": True}, "no option 'retryWrites'"),
        ({"server_api": "hush-hush"}, "pymongo refuses server_api, of type str"),
        ({"event_listeners": ["hush-hush"]}, "pymongo refuses event_listeners, of type list"),
        ({"password": 1}, "pymongo refuses password, of type int"),
        ({"auto_encryption_opts": "hush-hush"}, "pymongo refuses auto_encryption_opts"),
    ],
)
def test_a_wrong_driver_option_is_refused_and_its_value_not_shown(driver_options, words):
    with pytest.raises(ConfigurationError) as caught:
        make_backend("mongodb://host/work", DriverContext(options=driver_options))
    assert words in str(caught.value)
    assert "hush-hush" not in str(caught.value)


def test_a_client_is_made_with_the_driver_options():
    objects = {"authMechanismProperties": {"OIDC_CALLBACK": Callback()}, "server_selector": list}
    context = DriverContext(options={**objects, "server_api": ServerApi("1", strict=True)})
    backend = make_backend("mongodb://host/work?authMechanism=MONGODB-OIDC", context)
    with backend._connection.use() as collections:  # connects at the first call only
        options = collections.database.client.options
    backend.close()
    assert options.server_selector is list
    assert options.pool_options.server_api.strict
    assert options.pool_options._credentials.mechanism == "MONGODB-OIDC"
