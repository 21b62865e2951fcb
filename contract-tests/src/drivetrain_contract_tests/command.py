"""``drivetrain-contract``: certifies the drivers of two URLs, without a file written by anybody."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from drivetrain.app.discovery import Drivers
from drivetrain.contract import ConfigurationError, DriverContext, redact

__all__ = ["main"]

#: The file that `drivetrain drivers` shows, in the package of a driver.
_REPORT = "contract-report.json"

_SUITE = Path(__file__).parent / "suite"

#: Which of the suite's files test what; those of a pair need both URLs.
_FILES = {"broker": ("test_broker.py",), "backend": ("test_backend.py",)}
_FILES_OF_A_PAIR = ("test_workflows.py",)

#: Where the namespace goes in the URLs of some drivers.
_EXAMPLES = {"memory": "memory://{namespace}", "sqlite": "sqlite:///some/directory/{namespace}.db"}


def _checked(_context: click.Context, option: click.Parameter, url: str | None) -> str | None:
    if url is None:
        return None
    if "{namespace}" not in url:
        raise click.BadParameter(_where_the_namespace_goes(url))
    make = getattr(Drivers(DriverContext()), str(option.name))
    try:
        make(url.replace("{namespace}", "contract")).close()
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error
    return url


def _where_the_namespace_goes(url: str) -> str:
    scheme = url.partition("://")[0]
    example = _EXAMPLES.get(scheme, f"{scheme}://…?namespace={{namespace}}")
    return (
        f"{redact(url)} does not say where {{namespace}} goes. The suite tries every example in a corner of the "
        "service that was never used before; so write {namespace}, as it stands, as the option that keeps two apps on "
        f"one service apart: {example}"
    )


def _home(_context: click.Context, _option: click.Parameter, package: str | None) -> Path | None:
    """The directory of a package that is installed here."""
    if package is None:
        return None
    found = importlib.util.find_spec(package.partition(".")[0])
    if found is None or not found.submodule_search_locations:
        raise click.BadParameter(
            f"the package {package!r} is not installed; name the one that your driver's wheel ships"
        )
    return Path(found.submodule_search_locations[0])


def _arguments(profile: str, seed: int | None, reports: tuple[Path, ...], urls: dict[str, str]) -> Iterator[str]:
    yield from ("-c", str(_SUITE / "pytest.ini"), f"--rootdir={_SUITE}", f"--contract-profile={profile}")
    if seed is not None:
        yield f"--contract-seed={seed}"
    yield from (f"--contract-report={path.absolute()}" for path in reports)
    yield from (f"--contract-{kind}={url}" for kind, url in urls.items())
    names = [name for kind in urls for name in _FILES[kind]]
    yield from (str(_SUITE / name) for name in (*names, *(_FILES_OF_A_PAIR if len(urls) == len(_FILES) else ())))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--broker", metavar="URL", callback=_checked, help="Test the broker of this URL, with {namespace} in it.")
@click.option(
    "--backend",
    metavar="URL",
    callback=_checked,
    help="Test the backend of this URL, likewise; given both, workflows on the pair too.",
)
@click.option("--profile", type=click.Choice(["quick", "default", "thorough"]), default="default", show_default=True)
@click.option("--seed", type=int, help="Make the random choices of an earlier run, which has printed this number.")
@click.option(
    "--report",
    "reports",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    help="Write the report here, as JSON or (.md) Markdown; may be given several times.",
)
@click.option(
    "--certify",
    "package",
    metavar="PACKAGE",
    callback=_home,
    help="When no clause has failed, write contract-report.json into this package, where its wheel ships it.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show every check, and every clause in the report.")
@click.pass_context
def main(  # noqa: PLR0917  click hands them over by name
    context: click.Context,
    broker: str | None,
    backend: str | None,
    profile: str,
    seed: int | None,
    reports: tuple[Path, ...],
    package: Path | None,
    verbose: bool,
) -> None:
    """Hold the drivers of these URLs to drivetrain's contract.

    \b
    drivetrain-contract --broker 'memory://{namespace}' --profile quick
    drivetrain-contract --backend 'sqlite:///tmp/{namespace}.db' --report contract-report.json

    Ends with 0 when no clause has failed, and with 1 when one has.
    """  # noqa: D301  \b keeps click from filling the lines
    urls = {kind: url for kind, url in (("broker", broker), ("backend", backend)) if url is not None}
    if not urls:
        raise click.UsageError("say what to test: --broker URL, --backend URL, or both")
    with TemporaryDirectory(prefix="drivetrain-contract-") as directory:
        report = Path(directory, _REPORT)
        code = _run(
            [*_arguments(profile, seed, (*reports, *([report] if package else [])), urls), "-v" if verbose else "-q"]
        )
        if package is not None and code == 0:
            shutil.copyfile(report, package / _REPORT)
            click.echo(f"written to {package / _REPORT}")
    context.exit(code)


def _run(arguments: list[str]) -> int:
    # A process of its own, so that pytest rewrites the suite's assertions; and nothing is left where it was called.
    with TemporaryDirectory(prefix="drivetrain-contract-") as kept:
        environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": kept}
        command = [sys.executable, "-P", "-m", "pytest", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
