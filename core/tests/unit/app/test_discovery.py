"""Finding drivers: lazily, by name only, and with errors that say what to do."""

import json
import subprocess
import sys
from random import Random
from types import SimpleNamespace

import attrs
import pytest

from drivetrain.app import entry_points
from drivetrain.app.discovery import Drivers
from drivetrain.app.entry_points import Kind
from drivetrain.app.installed_drivers import InstalledDriver
from drivetrain.contract import (
    AmbiguousDriver,
    Backend,
    Broker,
    ConfigurationError,
    DriverBroken,
    DriverContext,
    DriverNotFound,
    InvalidSignature,
    RetryPolicy,
    Serializer,
    UnknownContentType,
    hookimpl,
)

CONTEXT = DriverContext()


def drivers(**given) -> Drivers:
    return Drivers(CONTEXT, **given)


# What comes with core


def test_core_s_own_drivers_come_through_entry_points():
    found = drivers()
    assert isinstance(found.broker("memory://"), Broker)
    assert isinstance(found.backend("memory://"), Backend)
    assert isinstance(found.serializer("json"), Serializer)
    assert found.serializer("json") is found.serializer("json")
    assert isinstance(found.retry_policy("never", {}), RetryPolicy)


def test_retry_policies_are_kept_by_name_and_parameters():
    found = drivers()
    one = found.retry_policy("intervals", {"seconds": [1, 2]})
    assert found.retry_policy("intervals", {"seconds": [1, 2]}) is one
    assert found.retry_policy("intervals", {"seconds": [1, 3]}).delay_seconds(2, Random()) == 3
    for number in range(1000):
        assert found.retry_policy("fixed", {"seconds": number}).delay_seconds(1, Random()) == number
    assert len(found._policies) < 300, "parameters come with messages: they must not fill the memory"


def test_wrong_parameters_of_a_policy_are_the_policy_s_own_error():
    with pytest.raises(InvalidSignature, match="seconds is missing"):
        drivers().retry_policy("fixed", {})


def test_a_serializer_is_found_by_content_type_among_the_accepted_only(site, code):
    site.install("fake-pickle", "[drivetrain.serializers]\npickle=MODULE", code.serializer)
    found = drivers()
    assert found.serializer_for("application/x-pickle", ["json", "pickle"]) is found.serializer("pickle")
    with pytest.raises(UnknownContentType, match=r"'application/x-pickle' is not accepted.*application/json \(json\)"):
        found.serializer_for("application/x-pickle", ["json"])


# Who is missing


@pytest.fixture
def hide_plugins(monkeypatch):
    """Only core is installed, whatever this environment holds."""
    import importlib_metadata

    everything = importlib_metadata.distributions
    entry_points._read.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(
            importlib_metadata, "distributions", lambda: [found for found in everything() if found.name == "drivetrain"]
        )
        yield
    entry_points._read.cache_clear()


@pytest.mark.parametrize(
    ("url", "package"),
    [
        *((f"{scheme}://h", "drivetrain-redis") for scheme in ("redis", "rediss", "redis+socket", "unix")),
        *((f"{scheme}://h", "drivetrain-redis") for scheme in ("redis+sentinel", "redis+cluster", "REDIS")),
        *((f"{scheme}://h", "drivetrain-amqp") for scheme in ("amqp", "amqps")),
        *((f"{scheme}://h", "drivetrain-sqs") for scheme in ("sqs", "sqs+http", "sqs+https")),
    ],
)
def test_a_known_broker_that_is_missing_names_its_package(url, package, hide_plugins):
    with pytest.raises(DriverNotFound, match=f"pip install {package}$"):
        drivers().broker(url)


@pytest.mark.parametrize(
    ("scheme", "package"),
    [
        ("redis", "drivetrain-redis"),
        ("mongodb", "drivetrain-mongo"),
        ("mongodb+srv", "drivetrain-mongo"),
        ("memcache", "drivetrain-memcache"),
    ],
)
def test_a_known_backend_that_is_missing_names_its_package(scheme, package, hide_plugins):
    with pytest.raises(DriverNotFound, match=f"pip install {package}$"):
        drivers().backend(f"{scheme}://user:hunter2@h")


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda found: found.broker("mongodb://h"), "'mongodb' is a backend only (installed: memory, sqlite)"),
        (lambda found: found.backend("amqp://h"), "'amqp' is a broker only (installed: memory, null, sqlite)"),
        (lambda found: found.broker("null://"), "'null' is a backend only"),
        (lambda found: found.broker("amqpp://h"), "did you mean amqp or amqps?"),
        (lambda found: found.broker("sqllite:///x"), "did you mean sqlite?"),
        (
            lambda found: found.broker("zzz://h"),
            "no installed package serves zzz:// as a broker (installed: memory, sqlite)",
        ),
        (lambda found: found.serializer("jsn"), "serves the serializer 'jsn' (installed: json); did you mean json?"),
        (lambda found: found.retry_policy("exponentail", {}), "did you mean exponential?"),
    ],
)
def test_the_error_of_an_unknown_name_lists_known_and_similar_names(ask, told, hide_plugins):
    with pytest.raises(DriverNotFound) as caught:
        ask(drivers())
    assert told in str(caught.value)


@pytest.mark.parametrize("url", ["memory", "://x", "", "user:hunter2@host"])
def test_a_text_that_is_not_a_url(url):
    with pytest.raises(ConfigurationError, match="not a driver URL") as caught:
        drivers().broker(url)
    assert "hunter2" not in str(caught.value)


def test_the_backend_is_the_broker_where_it_can_be():
    found = drivers()
    assert found.backend_url("sqlite:///a.db", None) == "sqlite:///a.db"
    assert found.backend_url("amqp://h", "null://") == "null://"
    with pytest.raises(ConfigurationError, match=r"amqp://\*\*\*@h stores no results: set backend="):
        found.backend_url("amqp://user:hunter2@h", None)


# Who is broken


def test_a_driver_that_cannot_be_imported(site):
    site.install("fake-odd", "[drivetrain.brokers]\nodd=MODULE", "import a_module_that_is_not_there", version="2.5")
    with pytest.raises(
        DriverBroken, match=r"'odd' of fake-odd 2\.5 cannot be imported .*a_module_that_is_not_there"
    ) as e:
        drivers().broker("odd://")
    assert isinstance(e.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("", "has no hook make_broker"),
        ("def make_broker(url, context): ...", "has no hook make_broker"),
        (
            "from drivetrain.contract import hookimpl\n@hookimpl\ndef make_backend(url, context): ...",
            "has no hook make_broker",
        ),
        ("from drivetrain.contract import hookimpl\n@hookimpl\ndef make_broker(url, context): ...", "returned None"),
        ("from drivetrain.contract import hookimpl\n@hookimpl\ndef make_broker(url, clock): ...", "'clock'"),
        ("from drivetrain.contract import hookimpl\n@hookimpl\ndef make_brokers(url): ...", "make_brokers"),
        (
            "from drivetrain.contract import hookimpl\n@hookimpl\ndef make_broker(url):\n raise KeyError('no ' + url)",
            "has failed in make_broker: KeyError: 'no odd://***@h'",
        ),
        (
            "from drivetrain.contract import hookimpl\n@hookimpl\ndef make_broker(url):\n return 3",
            "did not make a broker: int lacks acknowledge, capabilities, close",
        ),
    ],
)
def test_a_driver_that_does_not_fit(site, source, told):
    site.install("fake-odd", "[drivetrain.brokers]\nodd=MODULE", source)
    with pytest.raises(DriverBroken) as caught:
        drivers().broker("odd://user:hunter2@h")
    assert told in str(caught.value)
    assert "fake-odd" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_driver_s_own_configuration_error_passes(site):
    source = (
        "from drivetrain.contract import hookimpl, ConfigurationError\n@hookimpl\n"
        "def make_broker(url):\n raise ConfigurationError('wrong', ['a', 'b'])"
    )
    site.install("fake-odd", "[drivetrain.brokers]\nodd=MODULE", source)
    with pytest.raises(ConfigurationError) as caught:
        drivers().broker("odd://")
    assert (type(caught.value), caught.value.faults) == (ConfigurationError, ("a", "b"))


def test_damaged_metadata_breaks_no_other_driver(site, code, caplog):
    site.install("fake-garbage", "[drivetrain.brokers]\nthis is no entry point")
    site.install("fake-nameless", "[drivetrain.brokers]\nodd=MODULE", code.broker, metadata=False)
    found = drivers()
    assert found.broker("odd://").url == "odd://"
    assert found.broker("memory://") is not None
    assert "cannot be read" in caplog.text


# Who is chosen


def test_two_claims_name_both_and_the_way_to_choose(site, code):
    site.install("fake-one", "[drivetrain.brokers]\nodd=MODULE", "raise RuntimeError('never imported')")
    two = site.install("Fake.Two", "[drivetrain.brokers]\nodd=MODULE", code.broker, version="2.0")
    with pytest.raises(AmbiguousDriver) as caught:
        drivers().broker("odd://")
    assert "Fake.Two 2.0 and fake-one 1.0" in str(caught.value)
    assert 'drivers = {"odd": ' in str(caught.value)
    assert two not in sys.modules
    assert drivers(choose={"odd": "fake_two"}).broker("odd://").url == "odd://"


def test_a_choice_that_is_not_there_is_reported(site, code):
    site.install("fake-one", "[drivetrain.brokers]\nodd=MODULE", code.broker)
    with pytest.raises(DriverNotFound, match=r"drivers\['odd'\] chooses 'fake-tow'.*installed for it: fake-one"):
        drivers(choose={"odd": "fake-tow"}).broker("odd://")


def test_a_choice_for_the_broker_does_not_change_the_backend(site, code):
    site.install("fake-both", "[drivetrain.brokers]\nodd=MODULE\n[drivetrain.backends]\nodd=MODULE", code.broker)
    site.install("fake-fast", "[drivetrain.brokers]\nodd=MODULE", code.broker)
    with pytest.raises(DriverBroken, match="'odd' of fake-both"):
        drivers(choose={"odd": "fake-fast"}).backend("odd://")


def test_a_distribution_that_is_found_twice_counts_once(site, code, tmp_path, monkeypatch):
    site.install("fake-one", "[drivetrain.brokers]\nodd=MODULE", code.broker, version="2.0")
    again = type(site)(tmp_path / "again")
    again.install("Fake_One", "[drivetrain.brokers]\nodd=MODULE", "raise RuntimeError", version="1.0")
    sys.path.extend([str(again.path), str(site.path)])
    found = drivers()
    assert found.broker("odd://").url == "odd://"
    assert [row.version for row in found.installed() if row.name == "odd"] == ["2.0"]


# Only what is named


def test_a_maker_is_only_asked_for_what_its_entry_point_names(site, code):
    greedy = site.install("fake-greedy", "[drivetrain.brokers]\ngreedy=MODULE", code.broker)
    site.install("fake-modest", "[drivetrain.brokers]\nmodest=MODULE", code.broker)
    found = drivers()
    assert found.broker("greedy://").context is CONTEXT
    assert found.broker("modest://").url == "modest://"
    assert [made.url for made in sys.modules[greedy].made] == ["greedy://"]


PROBE = """
import sys
from drivetrain.app.discovery import Drivers
from drivetrain.contract import DriverContext
assert not [name for name in sys.modules if name.startswith(("drivetrain.drivers.", "fake_"))]
drivers = Drivers(DriverContext())
assert not [name for name in sys.modules if name.startswith(("drivetrain.drivers.", "fake_"))]
drivers.broker("memory://")
print(*sorted(name for name in sys.modules if name.startswith(("drivetrain.drivers.", "fake_", "sqlite3"))))
"""


def test_only_the_named_driver_is_imported(site):
    site.install(
        "fake-broken",
        "[drivetrain.brokers]\nbroken=MODULE\n[drivetrain.plugins]\nwatch=MODULE\n[drivetrain.serializers]\nx=MODULE",
        "raise RuntimeError('nobody asked')",
    )
    program = f"import sys; sys.path.insert(0, {str(site.path)!r}){PROBE}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()
    assert all(name.startswith("drivetrain.drivers.memory") for name in done.stdout.split())


# Plugins that make drivers


@attrs.define
class InCode:
    """Unhashable, as attrs classes are; pluggy must not mind."""

    made: list = attrs.field(factory=list)

    @hookimpl
    def make_serializer(self, name):
        self.made.append(name)
        return SimpleNamespace(content_type="x/y", dumps=repr, loads=repr) if name == "special" else None


def test_a_plugin_serves_what_no_package_does():
    plugin = InCode()
    found = drivers(plugins=[plugin])
    assert found.serializer("special").content_type == "x/y"
    assert found.serializer("json").content_type == "application/json"
    assert plugin.made == ["special"]
    with pytest.raises(DriverNotFound):
        found.serializer("other")


class Wrapping:
    @hookimpl(wrapper=True)
    def make_serializer(self, name):
        made = yield
        made.wrapped = True
        return made


def test_a_plugin_may_wrap_every_driver_made(site, code):
    site.install("fake-x", "[drivetrain.serializers]\nx=MODULE", code.serializer)
    assert drivers(plugins=[Wrapping()]).serializer("x").wrapped
    assert not hasattr(drivers().serializer("x"), "wrapped")


def test_apps_do_not_meet():
    plugin = InCode()
    assert drivers(plugins=[plugin]).serializer("special")
    with pytest.raises(DriverNotFound):
        drivers().serializer("special")


# What is installed


def rows(found: Drivers, **asked) -> dict[tuple[Kind, str], InstalledDriver]:
    return {(row.kind, row.name): row for row in found.installed(**asked)}


def test_everything_installed_is_listed_broken_or_not(site, code):
    site.install("fake-good", "[drivetrain.brokers]\ngood=MODULE\n[drivetrain.plugins]\nwatch=MODULE", code.broker)
    site.install("fake-bad", "[drivetrain.backends]\nbad=MODULE", "raise RuntimeError('dear me')", version="0.1")
    listed = rows(drivers())
    good, bad = listed[Kind.BROKER, "good"], listed[Kind.BACKEND, "bad"]
    assert good == InstalledDriver(
        kind=Kind.BROKER, name="good", distribution="fake-good", version="1.0", importable=True
    )
    assert (bad.distribution, bad.version, bad.importable) == ("fake-bad", "0.1", False)
    assert "dear me" in bad.error
    assert listed[Kind.PLUGIN, "watch"].importable
    assert listed[Kind.RETRY_POLICY, "fibonacci"].distribution == "drivetrain"
    assert [row.kind for row in drivers().installed()] == sorted(
        (row.kind for row in drivers().installed()), key=list(Kind).index
    )


def test_capabilities_are_read_when_asked_and_failures_tolerated(site, code):
    good = site.install("fake-good", "[drivetrain.brokers]\ngood=MODULE", code.broker)
    site.install(
        "fake-picky",
        "[drivetrain.brokers]\npicky=MODULE",
        code.broker.replace("    made.append", "    assert 'localhost' in url, 'needs a host'\n    made.append"),
    )
    site.install(
        "fake-never", "[drivetrain.brokers]\nnever=MODULE", code.broker.replace("made.append", "raise OSError('no')#")
    )
    assert rows(drivers())[Kind.BROKER, "good"].capabilities is None
    listed = rows(drivers(), capabilities=True)
    assert listed[Kind.BROKER, "good"].capabilities.durability == "none"
    assert all(made.closed for made in sys.modules[good].made)
    assert listed[Kind.BROKER, "picky"].capabilities is not None
    never = listed[Kind.BROKER, "never"]
    assert (never.importable, never.capabilities) == (True, None)
    assert "OSError: no" in never.error
    assert listed[Kind.BACKEND, "memory"].capabilities.stores


# Reports of the contract tests


def ship_report(site, module: str, text: str, version: str = "1.0") -> None:
    (site.path / "contract-report.json").write_text(text, encoding="utf-8")
    record = f"contract-report.json,,\n{module}.py,,\n"
    (site.path / f"fake_certified-{version}.dist-info" / "RECORD").write_text(record, encoding="utf-8")


def report(**given) -> str:
    summary = {"pass": 40, "fail": 0, "not declared": 2, "not run": 1}
    driver = {"kind": "broker", "name": "certified", "version": "1.0"}
    document = {
        "schema": "drivetrain-contract-report/1",
        "suite": {"version": "0.1.0"},
        "profile": "default",
        "contracts": [{"drivers": [driver], "summary": summary}, {"drivers": [driver], "summary": summary}],
    }
    return json.dumps({**document, **given})


def certified(site, code, text: str) -> InstalledDriver:
    module = site.install("fake-certified", "[drivetrain.brokers]\ncertified=MODULE", code.broker)
    ship_report(site, module, text)
    return next(one for one in drivers().installed() if one.name == "certified")


def test_a_report_that_a_distribution_ships_is_shown(site, code):
    found = certified(site, code, report()).contract_report
    assert str(found) == "80 pass, 4 not declared, 2 not run"
    assert (found.version, found.suite, found.profile) == ("1.0", "0.1.0", "default")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", report(schema="drivetrain-contract-report/2"), report(contracts=[]), report(suite=None)],
)
def test_a_report_that_cannot_be_read_is_as_good_as_none(text, site, code):
    found = certified(site, code, text)
    assert found.importable
    assert found.contract_report is None


def test_most_distributions_ship_no_report(site):
    assert {one.contract_report for one in drivers().installed() if one.distribution == "drivetrain"} == {None}


def test_the_table_of_drivers_shows_the_report(site, code):
    from click.testing import CliRunner

    from drivetrain.cli import main

    certified(site, code, report())
    lines = CliRunner().invoke(main, ["drivers"]).stdout.splitlines()
    assert lines[0].split()[-1] == "CONTRACT"
    assert any("certified" in line and line.endswith("yes      80 pass, 4 not declared, 2 not run") for line in lines)
