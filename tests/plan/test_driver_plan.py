"""Every driver package follows one plan, so that a reader who knows one driver knows all.

The packages are those under ``plugins/``, present and to come. A toy under ``examples/`` is a single module: it is held
to the names of modules and options only. A package of observers has no URL and no contract suite: the rest of the plan
holds for it too. A package declares modules beyond the plan in its ``pyproject.toml``::

    [tool.drivetrain.plan]
    extra = ["topology", "delay_queues"]

A package for a framework also declares the modules whose names the framework prescribes: ``framework = ["models"]``.
"""

import ast
import importlib
import re
import sys
import tomllib
from functools import cached_property
from pathlib import Path

import pytest
from attrs import frozen

from drivetrain.contract import ConfigurationError, DriverContext

ROOT = Path(__file__).resolve().parents[2]

MODULES = {
    "__init__", "options", "errors", "connection", "codec", "broker", "publish", "receive", "settle", "admin",
    "backend", "records", "groups", "waiting", "values",
}  # fmt: skip
MOST_EXTRAS = 5
HEADINGS = ["Install", "URL", "Options", "Guarantees", "How it works", "Operations", "Performance", "Versions"]
TEST_DIRECTORIES = {"unit", "integration", "faults", "contract"}
#: What the plan has for drivers only.
OF_DRIVERS = {"URL", "contract"}
REPORT = "contract-report.json"

#: Other spellings of the options that drivers share. A URL with one of them is an error. `ca_path`, a directory, and
#: `verify_hostname`, the name alone, are other options.
OTHER_SPELLINGS = {
    "namespace": ["prefix", "name", "name_space", "key_prefix", "app"],
    "connect_timeout_seconds": [
        "connect_timeout", "connection_timeout", "connection_timeout_seconds", "socket_connect_timeout", "open_timeout",
    ],
    "call_timeout_seconds": [
        "timeout", "timeout_seconds", "call_timeout", "socket_timeout", "socket_timeout_seconds", "read_timeout",
        "read_timeout_seconds", "request_timeout_seconds", "operation_timeout_seconds", "command_timeout_seconds",
    ],
    "ca_file": ["ca", "cafile", "ca_certs", "ca_cert", "cacert", "ssl_ca_certs", "ssl_ca_file"],
    "cert_file": ["cert", "certfile", "client_cert", "ssl_certfile", "ssl_cert_file", "tls_cert_file"],
    "key_file": ["key", "keyfile", "client_key", "ssl_keyfile", "ssl_key_file", "tls_key_file"],
    "verify": [
        "verify_ssl", "ssl_verify", "tls_verify", "ssl_cert_reqs", "ssl_check_hostname", "check_hostname", "insecure"
    ],
}  # fmt: skip


@frozen(slots=False)
class Package:
    """A distribution of drivers."""

    home: Path

    @cached_property
    def project(self):
        return tomllib.loads((self.home / "pyproject.toml").read_text(encoding="utf-8"))

    @property
    def source(self):
        [source] = [path for path in (self.home / "src").iterdir() if (path / "__init__.py").exists()]
        return source

    @property
    def modules(self):
        """The names of its modules. A directory without modules holds data, for example Lua scripts."""
        files = [path.stem for path in self.source.glob("*.py")]
        return {*files, *(path.parent.name for path in self.source.glob("*/*.py"))}

    @property
    def extras(self):
        return self._plan.get("extra", [])

    @property
    def framework(self):
        """The modules whose names a framework prescribes."""
        return self._plan.get("framework", [])

    @property
    def _plan(self):
        return self.project.get("tool", {}).get("drivetrain", {}).get("plan", {})

    @property
    def hooks(self):
        """Scheme and name of the hook, for each scheme that it serves."""
        points = self.project["project"].get("entry-points", {})
        kinds = {"drivetrain.brokers": "make_broker", "drivetrain.backends": "make_backend"}
        return [(scheme, hook) for group, hook in kinds.items() for scheme in points.get(group, {})]

    @property
    def left_out(self):
        """What the plan has and this package has not."""
        return set() if self.hooks else OF_DRIVERS


PLUGINS = [Package(path.parent) for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))]
TOYS = [Package(path.parent) for path in sorted(ROOT.glob("examples/toy_*/pyproject.toml"))]


def each(packages):
    """Run a check for each package."""
    return pytest.mark.parametrize("package", [pytest.param(package, id=package.home.name) for package in packages])


def test_there_are_packages():
    names = {package.home.name: package for package in PLUGINS}
    assert names["sqs"].hooks
    assert not names["prometheus"].hooks
    assert TOYS


@each([*PLUGINS, *TOYS])
def test_modules_have_the_names_of_the_plan(package):
    extras = package.extras
    declared = {*extras, *package.framework}
    assert package.modules - MODULES - declared == set(), "neither of the plan nor declared as extra"
    assert declared - package.modules == set(), "declared as extra, and not there"
    assert set(extras) & MODULES == set(), "of the plan already"
    assert len(set(extras)) == len(extras) <= MOST_EXTRAS


@each(PLUGINS)
def test_no_module_is_for_one_function(package):
    alone = []
    for path in package.source.glob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        defined = [node for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
        if path.stem != "__init__" and len(defined) == 1 and not isinstance(defined[0], ast.ClassDef):
            alone.append(path.name)
    assert alone == []


@each([*PLUGINS, *TOYS])
def test_shared_options_are_spelled_alike(package, monkeypatch):
    read = {}
    for scheme, hook in package.hooks:
        for shared, others in OTHER_SPELLINGS.items():
            if found := [other for other in others if not refuses(package, scheme, hook, other, monkeypatch)]:
                read.setdefault(shared, set()).update(found)
    assert read == {}, "read from URLs under another name"


def refuses(package, scheme, hook, option, monkeypatch):
    """Whether the driver's hook raises an error that names this option of a URL."""
    monkeypatch.syspath_prepend(package.source.parent)
    module = importlib.import_module(package.source.name)
    try:
        getattr(module, hook)(url=f"{scheme}://localhost/?{option}=1", context=DriverContext())
    except ConfigurationError as error:
        return repr(option) in str(error)
    return False


@each([*PLUGINS, *TOYS])
def test_booleans_are_true_or_false(package):
    sources = [(path.name, path.read_text(encoding="utf-8")) for path in package.source.rglob("*.py")]
    assert [name for name, text in sources if re.search(r'choice_option\(\s*"(yes|no|on|off|1|0)"', text)] == []


@each(PLUGINS)
def test_the_readme_has_the_headings_of_the_plan(package):
    text = (package.home / "README.md").read_text(encoding="utf-8")
    outside_of_code = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = [heading for heading in HEADINGS if heading not in package.left_out]
    assert re.findall(r"^## (.*)$", outside_of_code, re.MULTILINE) == headings


@each(PLUGINS)
def test_tests_are_in_the_directories_of_the_plan(package):
    tests = package.home / "tests"
    entries = {path.name for path in tests.iterdir() if not path.name.startswith(("__", "."))}
    assert entries - TEST_DIRECTORIES <= {"conftest.py"}
    assert {"unit", "contract"} - package.left_out <= entries


@each(PLUGINS)
def test_types_are_shipped(package):
    assert (package.source / "py.typed").is_file()
    assert package.project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{package.source.name}"]


@each(PLUGINS)
def test_a_contract_report_is_where_the_wheel_ships_it(package):
    """`drivetrain drivers` reads it from the package; ``make certify`` writes it there."""
    found = [path for path in package.home.rglob(REPORT) if ".venv" not in path.parts]
    assert found in ([], [package.source / REPORT])


def test_a_spelling_that_a_driver_reads_is_found(tmp_path, monkeypatch):
    home = tmp_path / "plugin"
    (home / "src" / "drivetrain_misspelled").mkdir(parents=True)
    (home / "src" / "drivetrain_misspelled" / "__init__.py").write_text(
        "def make_broker(url, context):\n    return url\n"
    )
    (home / "pyproject.toml").write_text('[project.entry-points."drivetrain.brokers"]\nmisspelled = "x"\n')
    package = Package(home)
    assert package.hooks == [("misspelled", "make_broker")]
    assert not refuses(package, "misspelled", "make_broker", "timeout", monkeypatch)
    sys.modules.pop("drivetrain_misspelled")
