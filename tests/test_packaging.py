"""What is shipped: the built wheel in an empty virtual environment runs a task, and imports only what it needs."""

import configparser
import email
import os
import subprocess
import sys
import tarfile
import textwrap
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "core"

#: pip install needs a package index; a machine that has none sets this, and loses nothing but these tests.
needs_index = pytest.mark.skipif("DRIVETRAIN_TEST_OFFLINE" in os.environ, reason="DRIVETRAIN_TEST_OFFLINE is set")


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, timeout=110, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def clean_environment():
    """The environment without what would let another installation of drivetrain shine through."""
    return {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "DRIVETRAIN_"))}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    # The wheel is built from the source archive, so that it is known to be whole.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, CORE)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    [path] = built.glob("drivetrain-*.whl")
    return path


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((CORE / "pyproject.toml").read_text())["project"]


def test_the_wheel_holds_the_package_whole(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith("drivetrain/")}
    source = {
        path.relative_to(CORE / "src").as_posix()
        for path in (CORE / "src" / "drivetrain").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == source
    assert "drivetrain/py.typed" in shipped


def _requirement(line):
    """A requirement without differences of spelling."""
    return line.lower().replace(" ", "").replace('"', "'")


def test_the_wheel_tells_its_license_and_needs(wheel, project):
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = email.message_from_bytes(archive.read(metadata))
        licenses = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
        assert archive.read(licenses[0]) == (ROOT / "LICENSE").read_bytes()
    assert told["License-Expression"] == "MIT"
    assert told["Version"] == project["version"]
    assert told["Requires-Python"] == ">=3.11"
    required = {_requirement(line) for line in told.get_all("Requires-Dist") if "extra ==" not in line}
    assert required == {_requirement(line) for line in project["dependencies"]}
    assert (CORE / "README.md").read_text().strip() in told.get_payload()


def test_the_wheel_registers_its_drivers_by_entry_points(wheel, project):
    with zipfile.ZipFile(wheel) as archive:
        [entries] = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        found = configparser.ConfigParser()
        found.read_string(archive.read(entries).decode())
    assert {name: dict(found[name]) for name in found.sections() if name != "console_scripts"} == project[
        "entry-points"
    ]
    assert set(found["drivetrain.brokers"]) == {"memory", "sqlite"}
    assert set(found["drivetrain.backends"]) == {"memory", "sqlite", "null"}
    assert dict(found["console_scripts"]) == project["scripts"]


def test_the_source_archive_holds_the_tests(built):
    [path] = built.glob("drivetrain-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "src/drivetrain/py.typed"} <= names
    assert any(name.startswith("tests/unit/workflow/test_") for name in names)


@needs_index
def test_the_installed_wheel_runs_a_task(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    bin_dir = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    environment = clean_environment()
    run(bin_dir / "python", "-m", "pip", "install", "--quiet", wheel, env=environment)
    work = tmp_path / "work"
    work.mkdir()
    (work / "sums.py").write_text(
        textwrap.dedent("""
            from drivetrain import App

            app = App()

            @app.task
            def add(x: int, y: int) -> int:
                return x + y

            if __name__ == "__main__":
                print(add.send(20, 22).get(timeout=60))
        """)
    )
    worker = subprocess.Popen(
        [bin_dir / "drivetrain", "worker", "sums:app"], cwd=work, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert run(bin_dir / "python", "sums.py", cwd=work, env=environment) == "42\n"
    finally:
        worker.terminate()
        _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0, log


def modules_after(code, tmp_path):
    """The modules that a new process has imported when it has run ``code``."""
    script = f"{textwrap.dedent(code)}\nimport sys\nprint('modules:', *sys.modules)"
    told = run(sys.executable, "-c", script, cwd=tmp_path, env=clean_environment())
    return set(told.rpartition("modules:")[2].split())


def test_importing_drivetrain_imports_no_driver(tmp_path):
    modules = modules_after("import drivetrain", tmp_path)
    assert {name for name in modules if name.startswith("drivetrain.drivers")} == set()
    assert modules.isdisjoint({"sqlite3", "click", "yaml", "tqdm", "rich", "drivetrain.cli", "drivetrain.testing"})


def test_an_app_on_memory_imports_no_other_driver(tmp_path):
    modules = modules_after(
        """
        from drivetrain import App

        app = App("memory://")

        @app.task
        def add(x: int, y: int) -> int:
            return x + y

        with app.worker():
            assert add.send(1, 2).get(timeout=30) == 3
        """,
        tmp_path,
    )
    drivers = {name.split(".")[2] for name in modules if name.startswith("drivetrain.drivers.")}
    assert drivers == {"memory", "json"}
    assert modules.isdisjoint({"sqlite3", "drivetrain.cli"})
