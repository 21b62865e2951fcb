"""The rooms of core and the one direction of imports between them, read from the source without importing it."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

SOURCE = Path(__file__).resolve().parent.parent / "core" / "src"
PACKAGE = SOURCE / "drivetrain"

#: Each room, and the rooms that it may import besides itself. The files beside the rooms are the room "".
MAY_IMPORT = {
    "contract": set(),
    "workflow": {"contract"},
    "worker": {"contract", "workflow"},
    "app": {"contract", "workflow", "worker"},
    "drivers": {"contract"},
    "cli": {"contract", "workflow", "worker", "app", ""},
    "": {"contract", "workflow", "worker", "app"},
}
#: What a module may name of a later room for type checkers alone: what `Workflow.send` returns.
MAY_NAME = {"drivetrain.workflow.signature": {"drivetrain.app.result"}}
#: Packages that core depends on; and pydantic, pytest, rich, tqdm and watchfiles, which it uses where they are there.
THIRD_PARTY = {
    "attr",
    "attrs",
    "cattrs",
    "click",
    "cronsim",
    "importlib_metadata",
    "msgspec",
    "pluggy",
    "pydantic",
    "pytest",
    "rich",
    "tqdm",
    "typing_extensions",
    "watchfiles",
    "yaml",
}
#: Where a room needs fewer of them.
THIRD_PARTY_OF = {
    "contract": {"attrs", "msgspec", "pluggy"},
    "workflow": {"attr", "attrs", "msgspec", "pydantic", "typing_extensions"},
    "drivers": {"attrs", "cronsim", "msgspec"},
}


@frozen
class Module:
    name: str
    tree: ast.Module
    is_package: bool

    @property
    def room(self) -> str:
        parts = self.name.split(".")
        return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""

    def imports(self) -> Iterator[tuple[str, str]]:
        """Every imported module with one of the names taken from it; the name is empty where all of it is."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name} has a relative import"
                yield from ((node.module or "", alias.name) for alias in node.names)

    def imports_of_type_checkers(self) -> Iterator[tuple[str, str]]:
        """Those that are not made when the program runs."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                inside = Module(self.name, ast.Module(body=list(node.body), type_ignores=[]), is_package=False)
                yield from inside.imports()

    def definitions(self) -> set[str]:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return {node.name for node in self.tree.body if isinstance(node, kinds)}

    def exported(self) -> list[str] | None:
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
                return ast.literal_eval(node.value)
        return None


def read_module(path: Path) -> Module:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, ast.parse(path.read_text(encoding="utf-8"), str(path)), is_package)


MODULES = {module.name: module for module in map(read_module, sorted(PACKAGE.rglob("*.py")))}
EACH = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def room_of(imported: str) -> str:
    parts = imported.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def resolve(imported: str, name: str) -> str:
    """The module that ``from imported import name`` is about."""
    return f"{imported}.{name}" if f"{imported}.{name}" in MODULES else imported


def test_every_room_has_its_rule():
    assert {module.room for module in MODULES.values()} == set(MAY_IMPORT)


@EACH
def test_imports_go_one_way(module):
    allowed = {module.room, *MAY_IMPORT[module.room]}
    ours = {resolve(imported, name) for imported, name in module.imports() if imported.split(".")[0] == "drivetrain"}
    named = {resolve(*one) for one in module.imports_of_type_checkers()} & MAY_NAME.get(module.name, set())
    assert {name for name in ours - named if room_of(name) not in allowed} == set()
    if module.room not in {"", "cli"}:
        assert "drivetrain" not in ours, "a room imports from the rooms, not from the package that gathers them"


@EACH
def test_only_the_declared_dependencies_are_imported(module):
    roots = {imported.split(".")[0] for imported, _ in module.imports()}
    others = roots - set(sys.stdlib_module_names) - {"annotationlib", "drivetrain"}  # the former since Python 3.14
    assert others <= THIRD_PARTY_OF.get(module.room, THIRD_PARTY)


def test_drivers_import_the_contract_as_a_package_of_their_own_would():
    for module in MODULES.values():
        if module.room == "drivers":
            rooms = {name for name, _ in module.imports() if room_of(name) == "contract"}
            assert rooms <= {"drivetrain.contract"}, f"{module.name} reaches into the contract"


def test_a_driver_imports_no_other_driver():
    for module in MODULES.values():
        if module.room == "drivers":
            mine = module.name.split(".")[2:3]
            others = {name for name, _ in module.imports() if room_of(name) == "drivers"}
            assert {tuple(name.split(".")[2:3]) for name in others} <= {tuple(mine)}


def test_there_are_no_circles():
    edges = {
        module.name: {resolve(*one) for one in module.imports() if resolve(*one) in MODULES} - {module.name}
        for module in MODULES.values()
        if not module.is_package
    }
    # Names that only annotations need may come from anywhere: they are not imported when the program runs.
    for module in MODULES.values():
        edges.get(module.name, set()).difference_update(resolve(*one) for one in module.imports_of_type_checkers())
    while free := {name for name, targets in edges.items() if not targets & edges.keys()}:
        edges = {name: targets for name, targets in edges.items() if name not in free}
    assert edges == {}


SOURCES = sorted([*PACKAGE.rglob("*.py"), *(SOURCE.parent.parent / "plugins").glob("*/src/**/*.py")])


def test_no_class_is_a_thread():
    """Python calls private methods of threads, also in forked children: a subclass may override one unawares."""
    threads = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if isinstance(node, ast.ClassDef) and {"Thread", "threading.Thread"} & set(map(ast.unparse, node.bases)):
                threads.add(f"{path.stem}.{node.name}")
    assert threads == set(), "make the class hold its thread: threading.Thread(target=self._run)"


@EACH
def test_exports_are_complete_and_sorted(module):
    if not module.tree.body[1:] or module.name.endswith(".__main__"):
        return  # nothing but a docstring, or nothing to import
    exported = module.exported()
    assert exported is not None, "there is no __all__"
    assert exported == sorted(exported, key=export_order), "__all__ is not sorted"
    public = {name for name in module.definitions() if not name.startswith("_")}
    assert public - set(exported) == set(), "public and not in __all__"
    top = {name.id for node in module.tree.body for name in ast.walk(node) if isinstance(name, ast.Name)}
    imported = {name for _, name in module.imports()}
    assert set(exported) - module.definitions() - top - imported == set(), "in __all__ and nowhere else"


def export_order(name: str) -> tuple[int, str]:
    # As ruff sorts: constants, classes, the rest.
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


def test_what_one_module_takes_from_another_is_exported():
    missing = defaultdict(set)
    for module in MODULES.values():
        for imported, name in module.imports():
            source = MODULES.get(imported)
            if source is None or not name or f"{imported}.{name}" in MODULES:
                continue
            if name not in (source.exported() or ()):
                missing[imported].add(name)
    assert missing == {}
