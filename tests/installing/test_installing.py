"""Each driver alone with core, from wheels, in an environment that is empty but for them.

It runs a task and a chord on a real server, without the client libraries of other drivers. In an environment with core
alone, the error of a missing driver names its package, a broken driver does not affect others, and two distributions
with the same scheme are reported.
"""

import json
import os
import textwrap

import pytest
from packaging.version import Version

from installing.environments import OLDEST, made_environment
from matrix.places import running

pytestmark = [
    pytest.mark.skipif("DRIVETRAIN_TEST_OFFLINE" in os.environ, reason="DRIVETRAIN_TEST_OFFLINE is set"),
    pytest.mark.timeout(600),  # the first one makes all wheels
]

#: Package: the client that it needs, and the kinds of driver that it has, by scheme.
DRIVERS = {
    "drivetrain-redis": ("redis", {"broker": "redis", "backend": "redis"}),
    "drivetrain-amqp": ("pika", {"broker": "amqp"}),
    "drivetrain-sqs": ("boto3", {"broker": "sqs"}),
    "drivetrain-mongo": ("pymongo", {"backend": "mongodb"}),
    "drivetrain-memcache": ("pymemcache", {"backend": "memcache"}),
}
CLIENTS = {client for client, _ in DRIVERS.values()}

#: A task and a chord, run by a worker in this process; then what is installed, and what was imported.
SCRIPT = textwrap.dedent("""
    import importlib.metadata
    import json
    import sys

    from drivetrain import App, chord

    app = App(sys.argv[1], sys.argv[2])

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    with app.worker():
        told = {
            "task": add.send(20, 22).get(timeout=120),
            "chord": app.send(chord([add.s(n, n) for n in range(5)], total.s())).get(timeout=120),
        }
    app.close()
    told["versions"] = {one.metadata["Name"].lower(): one.version for one in importlib.metadata.distributions()}
    told["installed"] = sorted(told["versions"])
    told["imported"] = sorted({name.partition(".")[0] for name in sys.modules})
    print(json.dumps(told))
""")


@pytest.fixture(scope="module")
def core_alone(wheels, tmp_path_factory):
    return made_environment(tmp_path_factory.mktemp("core") / "venv", wheels, ["drivetrain"])


def drivers_of(environment, directory):
    told = environment.run("-m", "drivetrain.cli", "drivers", "--json", directory=directory).stdout
    return {(one["kind"], one["name"]): one for one in json.loads(told)["drivers"]}


def run_script(environment, broker, backend, directory):
    (directory / "script.py").write_text(SCRIPT)
    return json.loads(environment.run("script.py", broker, backend, directory=directory).stdout)


def at_work(environment, schemes, directory):
    """Run the script on a driver, and on SQLite for what it is not."""
    work = directory / "work"
    work.mkdir()
    with running(next(iter(schemes.values())), directory / "server") as service:
        own, file = service.url("alone"), f"sqlite:///{work}/work.db"
        broker, backend = (own if kind in schemes else file for kind in ("broker", "backend"))
        return run_script(environment, broker, backend, work)


@pytest.mark.parametrize("package", DRIVERS)
def test_a_driver_alone_with_core(package, wheels, tmp_path):
    client, schemes = DRIVERS[package]
    environment = made_environment(tmp_path / "venv", wheels, [package])
    listed = drivers_of(environment, tmp_path)
    assert {(kind, scheme) for kind, scheme in schemes.items()} <= set(listed)
    ours = [one for one in listed.values() if one["distribution"] == package]
    assert all(one["importable"] for one in listed.values())
    assert {one["distribution"] for one in listed.values()} == {"drivetrain", package}
    assert {one["kind"] for one in ours} == set(schemes)
    told = at_work(environment, schemes, tmp_path)
    assert (told["task"], told["chord"]) == (42, 20)
    assert CLIENTS & set(told["installed"]) == {client}
    assert CLIENTS & set(told["imported"]) == {client}
    assert not [name for name in told["installed"] if name in {"pip", "setuptools", "pytest"}], "it was not empty"


@pytest.mark.parametrize("package", DRIVERS)
def test_a_driver_with_the_oldest_libraries_that_it_allows(package, wheels, tmp_path):
    """Those of core too. What else they can do, ``make oldest`` tells, by each driver's own tests."""
    _, schemes = DRIVERS[package]
    environment = made_environment(tmp_path / "venv", wheels, [package], OLDEST)
    told = at_work(environment, schemes, tmp_path)
    assert (told["task"], told["chord"]) == (42, 20)
    wanted = dict(line.lower().split("==") for line in (wheels / OLDEST).read_text().split())
    found = {name.replace("_", "-"): version for name, version in told["versions"].items()}
    compared = {name: (Version(wanted[name]), Version(found[name])) for name in wanted.keys() & found.keys()}
    assert {name for name, (oldest, installed) in compared.items() if oldest != installed} == set()
    assert len(compared) > 6


def test_core_alone(core_alone, tmp_path):
    told = run_script(core_alone, f"sqlite:///{tmp_path}/work.db", f"sqlite:///{tmp_path}/work.db", tmp_path)
    assert (told["task"], told["chord"]) == (42, 20)
    assert not CLIENTS & {*told["installed"], *told["imported"]}
    assert "tqdm" not in told["imported"]
    assert {one["distribution"] for one in drivers_of(core_alone, tmp_path).values()} == {"drivetrain"}


def test_what_is_missing_names_its_package(core_alone, tmp_path):
    for package, (_, schemes) in DRIVERS.items():
        for kind, scheme in schemes.items():
            options = {"broker": "memory://", "backend": "memory://", kind: f"{scheme}://user:pass-word@host"}
            told = core_alone.run(
                *("-m", "drivetrain.cli", "describe"),
                *(f"--{name}={url}" for name, url in options.items()),
                directory=tmp_path,
                fails=True,
            ).stderr
            wanted = f"Error: no installed package serves {scheme}:// as a {kind}; pip install {package}"
            assert told.strip() == wanted


@pytest.fixture
def stranger(core_alone):
    """Install distributions of strangers, for one test."""
    made = []

    def install(name, entry_points, source):
        info = core_alone.packages / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        module = core_alone.packages / f"{name}.py"
        module.write_text(source)
        made.extend([info / "METADATA", info / "entry_points.txt", module])

    yield install
    for path in made:
        path.unlink()
    for place in {path.parent for path in made} - {core_alone.packages}:
        place.rmdir()


WORKS = """
from drivetrain.contract import hookimpl
from drivetrain.drivers import memory

@hookimpl
def make_broker(url, context):
    return memory.make_broker("memory://" + url.partition("://")[2], context)
"""


def test_a_broken_driver_does_not_affect_other_drivers(core_alone, stranger, tmp_path):
    stranger("broken", "[drivetrain.brokers]\nbroken=broken\n", "raise RuntimeError('half an upgrade')\n")
    listed = drivers_of(core_alone, tmp_path)
    assert not listed["broker", "broken"]["importable"]
    assert "half an upgrade" in listed["broker", "broken"]["error"]
    assert all(one["importable"] for key, one in listed.items() if key != ("broker", "broken"))
    told = run_script(core_alone, f"sqlite:///{tmp_path}/work.db", f"sqlite:///{tmp_path}/work.db", tmp_path)
    assert (told["task"], told["chord"]) == (42, 20)
    assert "broken" not in told["imported"]


def test_two_distributions_with_the_same_scheme_are_reported(core_alone, stranger, tmp_path):
    for name in ("one", "other"):
        stranger(name, f"[drivetrain.brokers]\ntwice={name}\n", WORKS)
    (tmp_path / "settings.toml").write_text('broker = "twice://x"\nbackend = "memory://x"\n')
    describe = ("-m", "drivetrain.cli", "describe", "--config", "settings.toml")
    told = core_alone.run(*describe, directory=tmp_path, fails=True).stderr
    assert "one" in told
    assert "other" in told
    assert "drivers" in told, "it does not say how to choose"
    with (tmp_path / "settings.toml").open("a") as settings:
        settings.write('[drivers]\ntwice = "other"\n')
    assert core_alone.run(*describe, directory=tmp_path).stdout.startswith("broker  twice://x,")
