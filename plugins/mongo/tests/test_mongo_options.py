"""What a ``mongodb://`` URL may say."""

from pathlib import Path

import pytest

from drivetrain.contract import ConfigurationError
from drivetrain_mongo.options import Options, Waiting


def test_what_a_url_says():
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


def test_urls_that_are_given_out_by_others_are_taken():
    options = Options.parse("mongodb+srv://u:p@cluster0.abc.mongodb.net/work?retryWrites=true&w=majority&appName=c")
    assert options.srv
    assert options.database == "work"


def test_relative_paths_begin_in_the_directory_of_the_app():
    given = Options.parse("mongodb://host/work?tls=true&tlsCAFile=ca.pem&tlscertificatekeyfile=/own.pem")
    options = given.in_directory(Path("/srv"))
    assert options.url == "mongodb://host/work?tls=true&tlsCAFile=%2Fsrv%2Fca.pem&tlscertificatekeyfile=%2Fown.pem"
    odd = Options.parse("mongodb://me:p%40s%3Fs@host/work?authMechanismProperties=SERVICE_NAME:b%26c&namespace=n")
    assert odd.in_directory(Path("/srv")) == odd


def test_odd_signs_in_secrets_and_options_are_kept():
    url = "mongodb://me:p%40s%3Fs@host/work?authMechanismProperties=SERVICE_NAME:b%26c&namespace=n"
    assert Options.parse(url).url == "mongodb://me:p%40s%3Fs@host/work?authMechanismProperties=SERVICE_NAME%3Ab%26c"


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("mongodb:///work", ["names no host"]),
        ("mongodb://host", ["names no database"]),
        ("mongodb://host/", ["names no database"]),
        ("mongodb://host/a.b", ["is no name of a database"]),
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
        ("mongodb://host?w=0&x=1&waiting=no", ["no database", "waiting is", "w must be", "no option 'x'"]),
    ],
)
def test_every_fault_is_named(url, faults):
    with pytest.raises(ConfigurationError) as caught:
        Options.parse(url)
    assert len(caught.value.faults) == len(faults)
    for told, fault in zip(caught.value.faults, faults, strict=True):
        assert fault in told


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
