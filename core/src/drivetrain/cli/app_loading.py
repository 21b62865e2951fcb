"""Loads the app that ``module:app`` on the command line names."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from drivetrain.app.application import App
from drivetrain.contract import ConfigurationError, DrivetrainError

__all__ = ["load_app"]


def load_app(reference: str) -> App:
    """The app that ``module:attribute`` names, or the only one in ``module``. It also searches the current directory.

    Raises:
        ConfigurationError: the module or attribute does not exist, cannot be imported, or is not an app.
    """
    module_name, _, attribute = reference.partition(":")
    if module_name.endswith(".py") or "/" in module_name or not module_name:
        raise ConfigurationError(
            f"{reference!r} does not name an app; use module:app, like {_as_module(module_name)}:app"
        )
    _add_current_directory()
    module = _import(module_name)
    return _named(module, attribute) if attribute else _only(module)


def _add_current_directory() -> None:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DrivetrainError:
        raise  # its message says what is wrong
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(_missing(name, error.name)) from error
        raise ConfigurationError(
            f"the module {name!r} exists, but importing it failed{_location(error)}: "
            f"{type(error).__name__}: {error} (--verbose shows the traceback)"
        ) from error


def _missing(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    if parent and not hasattr(sys.modules[parent], "__path__"):
        return f"there is no module {name!r}: {parent} is a module, not a package; for its attribute, {parent}:{last}"
    path = sys.modules[parent].__path__ if parent else None
    # The standard library contains no app.
    known = {found.name for found in pkgutil.iter_modules(path)} - (set() if parent else sys.stdlib_module_names)
    near = _near(last, sorted(known), prefix=f"{parent}." if parent else "")
    what = f"no module {missing!r}" if missing == name else f"no module {missing!r}, and so no {name!r}"
    return f"there is {what} in {Path.cwd()} or on sys.path{near}"


def _location(error: BaseException) -> str:
    # The last line of the user's code, without the frames of importlib.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    return f" at {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen") or filename in {__file__, importlib.__file__}


def _named(module: ModuleType, attribute: str) -> App:
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            near = _near(attribute, _apps(module) or vars(module), prefix=f"{module.__name__}:")
            raise ConfigurationError(f"the module {module.__name__!r} has no {attribute!r}{near}")
        found = getattr(found, name)
    if not isinstance(found, App):
        raise ConfigurationError(
            f"{module.__name__}:{attribute} is not a drivetrain.App, but of type {type(found).__name__}"
            f"{_apps_in(module)}"
        )
    return found


def _only(module: ModuleType) -> App:
    apps = {id(app): app for app in _apps(module).values()}
    if len(apps) == 1:
        return apps.popitem()[1]
    raise ConfigurationError(
        f"the module {module.__name__!r} has {'several apps' if apps else 'no app'}{_apps_in(module)}"
    )


def _apps_in(module: ModuleType) -> str:
    apps = [f"{module.__name__}:{name}" for name in _apps(module)]
    return f"; apps in it: {', '.join(apps)}" if apps else "; there is no app in this module"


def _apps(module: ModuleType) -> dict[str, App]:
    return {name: value for name, value in vars(module).items() if isinstance(value, App)}


def _near(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    names = [other for other in known if not other.startswith("_")]
    near = get_close_matches(name, names, n=2) or (names if len(names) == 1 else [])
    return f"; did you mean {' or '.join(prefix + one for one in near)}?" if near else ""


def _as_module(path: str) -> str:
    return ".".join(Path(path.removesuffix(".py")).parts).strip("./") or "shop"
