"""``drivetrain init`` writes a project that works."""

import subprocess
import sys


def test_a_new_project_passes_its_tests_and_runs(run, project):
    outcome = run("init", "new")
    assert outcome.exit_code == 0
    assert "drivetrain worker tasks:app" in outcome.stdout
    home = project / "new"
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert "2 passed" in told.stdout, told.stdout + told.stderr
    worker = subprocess.Popen([sys.executable, "-m", "drivetrain.cli", "worker", "tasks:app"], cwd=home)
    try:
        said = subprocess.run(
            [sys.executable, "tasks.py"], cwd=home, capture_output=True, text=True, check=False, timeout=110
        )
        assert said.stdout.splitlines() == ["Hello, Ada", "HELLO, ADA!"], said.stderr
    finally:
        worker.terminate()
        assert worker.wait(timeout=60) == 0


def test_nothing_that_exists_is_changed(run, project):
    (project / "tasks.py").write_text("mine")
    outcome = run("init")
    assert outcome.exit_code == 2
    assert "tasks.py exists already in ." in outcome.stderr
    assert (project / "tasks.py").read_text() == "mine"
    assert not (project / "tests").exists()
