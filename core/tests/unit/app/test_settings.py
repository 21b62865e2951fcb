"""Settings: three layers, all faults of all layers reported at once, no secret shown."""

from pathlib import Path

import attrs
import pytest

from drivetrain.app import retry
from drivetrain.app.settings import Settings, load_settings
from drivetrain.contract import ConfigurationError, Retries


@pytest.fixture
def written(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def faults(file=None, environ=None, **code) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, environ or {}, code)
    assert caught.value.faults, "the faults are there one by one, not in the message only"
    assert all(fault in str(caught.value) for fault in caught.value.faults)
    return list(caught.value.faults)


def test_nothing_set_is_the_embedded_default():
    settings = load_settings(None, {}, {})
    assert settings == Settings()
    assert settings.broker == "sqlite:///drivetrain.db"
    assert (settings.accept, settings.served_queues) == (("json",), ("default",))
    assert settings.heartbeat_seconds == settings.lease_seconds / 3 == 10


def test_accept_follows_the_serializer_and_queues_the_default_queue():
    settings = load_settings(None, {}, {"serializer": "msgpack", "default_queue": "work"})
    assert (settings.accept, settings.served_queues) == (("msgpack",), ("work",))


def test_code_beats_environment_beats_file(written):
    file = written("app.toml", 'lease_seconds = 1\nmax_starts = 1\nname = "file"\n')
    environ = {"DRIVETRAIN_LEASE_SECONDS": "2", "DRIVETRAIN_MAX_STARTS": "2"}
    settings = load_settings(file, environ, {"lease_seconds": 3})
    assert (settings.name, settings.max_starts, settings.lease_seconds) == ("file", 2, 3)


def test_a_none_in_a_stronger_layer_counts(written):
    file = written("app.toml", 'backend = "redis://h"\nqueues = ["a"]\n')
    assert load_settings(file, {"DRIVETRAIN_BACKEND": "none"}, {"queues": None}) == Settings()


EVERYTHING = {
    "broker": "redis://h/0",
    "backend": "mongodb://h/db",
    "drivers": {"redis": "drivetrain-redis"},
    "plugins": ("metrics",),
    "accept": ("json", "msgpack"),
    "retry": Retries(policy="fixed", parameters={"seconds": 2, "deep": [1, None]}, max_retries=4, retry_on=("a.B",)),
    "result_retention_seconds": 0.5,
    "queues": ("high", "low"),
    "concurrency": 2,
    "pool": "processes",
    "log_level": "warning",
    "configure_logging": False,
}

TOML = """
broker = "redis://h/0"
backend = "mongodb://h/db"
plugins = ["metrics"]
accept = ["json", "msgpack"]
result_retention_seconds = 0.5
queues = ["high", "low"]
concurrency = 2
pool = "processes"
log_level = "WARNING"
configure_logging = false
drivers.redis = "drivetrain-redis"
retry = {policy = "fixed", parameters = {seconds = 2, deep = [1, "N"]}, max_retries = 4, retry_on = ["a.B"]}
"""

YAML = """
broker: redis://h/0
backend: mongodb://h/db
plugins: [metrics]
accept: [json, msgpack]
result_retention_seconds: 0.5
queues: [high, low]
concurrency: 2
pool: processes
log_level: WARNING
configure_logging: off
drivers: {redis: drivetrain-redis}
retry: {policy: fixed, parameters: {seconds: 2, deep: [1, null]}, max_retries: 4, retry_on: [a.B]}
"""


def nested(yaml: str) -> str:
    return "other: {}\ndrivetrain:" + yaml.replace("\n", "\n  ")


@pytest.mark.parametrize("name", ["a.yaml", "a.YML"])
@pytest.mark.parametrize("text", [YAML, nested(YAML)])
def test_yaml_gives_what_code_gives(written, name, text):
    assert load_settings(written(name, text), {}, {}) == load_settings(None, {}, EVERYTHING)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.toml", ""),
        ("a.toml", "other = 1\n[drivetrain]\n"),
        ("pyproject.toml", "[project]\nx=1\n[tool.drivetrain]\n"),
    ],
)
def test_toml_gives_what_code_gives(written, name, head):
    everything = {**EVERYTHING, "retry": attrs.evolve(EVERYTHING["retry"], parameters={"seconds": 2, "deep": [1, "N"]})}
    assert load_settings(written(name, head + TOML), {}, {}) == load_settings(None, {}, everything)


def test_the_environment_gives_what_code_gives():
    environ = {
        "DRIVETRAIN_BROKER": "redis://h/0",
        "DRIVETRAIN_BACKEND": "mongodb://h/db",
        "DRIVETRAIN_DRIVERS": "redis=drivetrain-redis",
        "DRIVETRAIN_PLUGINS": "metrics",
        "DRIVETRAIN_ACCEPT": "json, msgpack,",
        "DRIVETRAIN_RETRY": '{"policy": "fixed", "parameters": {"seconds": 2, "deep": [1, null]}, "max_retries": 4,'
        ' "retry_on": ["a.B"]}',
        "DRIVETRAIN_RESULT_RETENTION_SECONDS": " 0.5 ",
        "DRIVETRAIN_QUEUES": "high,low",
        "DRIVETRAIN_CONCURRENCY": "2",
        "DRIVETRAIN_POOL": "Processes",
        "DRIVETRAIN_LOG_LEVEL": "WARNING",
        "DRIVETRAIN_CONFIGURE_LOGGING": "No",
        "PATH": "/bin",
    }
    assert load_settings(None, environ, {}) == load_settings(None, {}, EVERYTHING)


def test_the_environment_names_the_file_and_code_another(written):
    one, two = written("one.toml", 'name = "one"'), written("two.yaml", "name: two")
    assert load_settings(None, {"DRIVETRAIN_CONFIG": str(one)}, {}).name == "one"
    assert load_settings(two, {"DRIVETRAIN_CONFIG": str(one)}, {}).name == "two"
    assert load_settings(str(two), {}, {}).name == "two"


@pytest.mark.parametrize(
    "name",
    [
        "DRIVETRAIN_CONFIG",
        "DRIVETRAIN_BROKER",
    ],
)
def test_an_empty_variable_counts_as_not_set(name):
    assert load_settings(None, {name: ""}, {}) == Settings()


@pytest.mark.parametrize(
    "name",
    ["SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR", "WEB_SERVICE_PORT_HTTP", "TEST_URL"],
)
def test_variables_that_are_not_meant_for_us_are_left_alone(name):
    assert load_settings(None, {f"DRIVETRAIN_{name}": "tcp://10.0.0.1:80"}, {}) == Settings()


def test_everything_wrong_in_all_layers_is_reported_at_once_with_its_place(written):
    file = written("app.yaml", "lease_secnds: 1\nlease_seconds: true\nconcurrency: 1.5\nzzz: 1\n1: 2\nqueues: high\n")
    environ = {"DRIVETRAIN_LEASE_SECONDS": "abc", "DRIVETRAIN_ACEPT": "json", "DRIVETRAIN_CONFIGURE_LOGGING": "maybe"}
    told = faults(file, environ, concurrency=0, prefetch="all", lease_seconds=5)
    assert sorted(told) == sorted(
        [
            f"{file}: 'lease_secnds' is not a setting; did you mean 'lease_seconds'?",
            f"{file}: lease_seconds is True; it must be a number",
            f"{file}: concurrency is 1.5; it must be a whole number",
            f"{file}: 'zzz' is not a setting",
            f"{file}: '1' is not a setting",
            f"{file}: queues is 'high'; it must be a list of names",
            "DRIVETRAIN_LEASE_SECONDS: lease_seconds is 'abc'; it must be a number",
            "DRIVETRAIN_ACEPT: 'acept' is not a setting; did you mean 'accept'?",
            "DRIVETRAIN_CONFIGURE_LOGGING: configure_logging is 'maybe'; it must be true or false",
            "argument: concurrency is 0; it must be finite, and 1 or more",
            "argument: 'prefetch' is not a setting; did you mean 'prefetch_limit'?",
        ]
    )


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ({"broker": "memory"}, "broker is 'memory'; it must be a URL"),
        ({"backend": ""}, "backend is ''"),
        ({"broker": None}, "broker is None; it must be text"),
        ({"name": " x"}, "name is ' x'"),
        ({"result_retention_seconds": float("nan")}, "is nan; it must be finite"),
        ({"result_retention_seconds": float("inf")}, "is inf; it must be finite"),
        ({"lease_seconds": 0}, "must be finite, and more than 0"),
        ({"max_starts": True}, "max_starts is True; it must be a whole number"),
        ({"queues": []}, "a list of names"),
        ({"queues": ["a", "a"]}, "no duplicates"),
        ({"queues": ["a", 1]}, "must be a list of names"),
        ({"pool": "fibers"}, "must be one of threads, processes"),
        ({"pool": ["threads"]}, "must be one of threads, processes"),
        ({"plugins": [None]}, "names of entry points"),
        ({"plugins": "metrics"}, "must be a list"),
        ({"drivers": ["redis"]}, "must be a table"),
        ({"drivers": {"redis": 1}}, "must be a table of names"),
        ({"retry": "never"}, "must be a table"),
        ({"retry": {"policy": "fixed"}}, "retry.max_retries: it is missing"),
        ({"retry": {"policy": "fixed", "max_retries": -1}}, "max_retries is -1"),
        ({"retry": {"policy": "fixed", "max_retries": 1, "retryon": []}}, "retry: unknown: retryon"),
        ({"retry": {"policy": 1, "max_retries": "x"}}, "retry.policy: it must be text"),
        ({"accept": ["msgpack"]}, "must include the serializer 'json'"),
    ],
)
def test_wrong_values(code, told):
    [fault, *_] = faults(**code)
    assert told in fault


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("LEASE_SECONDS", "soon", "it must be a number"),
        ("LEASE_SECONDS", "none", "it must be a number"),
        ("MAX_STARTS", "1.5", "it must be a whole number"),
        ("MAX_STARTS", "9" * 5000, "it must be a whole number"),
        ("DRIVERS", "redis", "name=value"),
        ("RETRY", "never", "it must be JSON"),
        ("RETRY", "[1]", "it must be a table"),
        ("QUEUES", ",", "a list of names"),
        ("LEASE_SECONDS", "inf", "must be finite"),
    ],
)
def test_variables_that_cannot_be_read(name, text, told):
    [fault] = faults(environ={f"DRIVETRAIN_{name}": text})
    assert fault.startswith(f"DRIVETRAIN_{name}: {name.lower()} is ")
    assert told in fault


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "x = ", "is not TOML"),
        ("a.toml", "name = 'a'\nname = 'b'", "is not TOML"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "broker: redis://:hunter2@h: x", "(at line 1, column"),
        ("a.yaml", "name: a\nqueues: [x]\nname: b", "'name' is given twice (at line 3, column 1)"),
        ("a.yaml", "name: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("a.yaml", "\x00", "is not YAML"),
        ("a.yaml", "[" * 5000, "is not YAML"),
        ("a.yaml", "- broker", "holds list"),
        ("pyproject.toml", "tool = 1", "holds int"),
        ("a.json", "{}", "ends in .toml, .yaml or .yml"),
    ],
)
def test_files_that_cannot_be_read(written, name, text, told):
    file = written(name, text)
    [fault] = faults(file)
    assert fault.startswith(f"{file}: ")
    assert told in fault
    assert "hunter2" not in fault


def test_files_that_are_not_there_or_not_text(tmp_path):
    assert "No such file" in faults(tmp_path / "none.toml")[0]
    (tmp_path / "dir.toml").mkdir()
    assert "directory" in faults(tmp_path / "dir.toml")[0]
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    assert "is not UTF-8" in faults(tmp_path / "latin.toml")[0]


@pytest.mark.parametrize("name", ["a.toml", "a.yaml", "pyproject.toml"])
def test_an_empty_file_sets_nothing(written, name):
    assert load_settings(written(name, "# nothing\n"), {}, {}) == Settings()


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
def test_a_file_of_any_size(written, suffix):
    queues = [f"queue-{number:05}" for number in range(1500)]
    line = f"queues {'=' if suffix == 'toml' else ':'} {queues}\n".replace("'", '"')
    file = written(f"big.{suffix}", line + "# " + "x" * 10_000 + "\n" + line.replace("queues", "accept"))
    assert file.stat().st_size > 30_000
    assert load_settings(file, {}, {"serializer": "queue-00000"}).queues == tuple(queues)


def test_a_path_with_braces_is_shown_as_it_is(written):
    file = written("{name}{0}/a.toml", "zzz = 1")
    assert faults(file) == [f"{file}: 'zzz' is not a setting"]


def test_no_message_and_no_repr_shows_a_secret(written):
    secret = "redis://user:hunter2@host/0?token=hunter2"
    file = written(
        "a.yaml", f"broker: ['{secret}']\nbackend: {{url: '{secret}'}}\nbrokr: '{secret}'\nqueues: '{secret}'"
    )
    environ = {"DRIVETRAIN_LEASE_SECONDS": secret, "DRIVETRAIN_X": secret, "DRIVETRAIN_RETRY": secret}
    told = faults(file, environ, plugins=[[secret]], drivers=[secret], name=f" {secret}")
    assert len(told) == 10
    assert "hunter2" not in str(told)
    shown = repr(load_settings(None, {}, {"broker": secret, "backend": secret}))
    assert "redis://***@host/0?token=…" in shown
    assert "hunter2" not in shown


def test_two_loads_share_nothing():
    given = {"drivers": {"redis": "a"}, "plugins": [object()]}
    one, two = load_settings(None, {}, given), load_settings(None, {}, {})
    given["drivers"]["redis"] = "b"
    given["plugins"].clear()
    assert (dict(one.drivers), len(one.plugins)) == ({"redis": "a"}, 1)
    assert (dict(two.drivers), two.plugins) == ({}, ())
    assert two.drivers is not load_settings(None, {}, {}).drivers


def test_code_gives_a_retry_as_users_write_it():
    chosen = retry.exponential(max_retries=9)
    assert load_settings(None, {}, {"retry": chosen}).retry is chosen


def test_settings_made_by_hand_are_checked_too():
    with pytest.raises(ConfigurationError, match="lease_seconds is -1"):
        Settings(lease_seconds=-1)
