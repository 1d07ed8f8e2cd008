"""The rules of the house, checked on the imports of every file of the package.

A rule takes the modules of a package and returns what breaks it, in words. Each is run on the real
package, and on a small one that breaks it, to show that it would be noticed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "hydra_pipelines"
ROOT = Path(__file__).resolve().parent.parent

# From the bottom up; a room may know its own level and those before it, but not in circles.
LEVELS = (
    {"kept", "sessions", "settings", "webguard"},
    {"ledger", "control", "alerts", "components"},
    {"features", "market"},
    {"execution", "decision", "models"},
    {"agent", "monitoring"},
    {"desk", "day", "operations"},
    {"api"},
    {"defs", "dashboard", "cli", "definitions", PACKAGE},
)
RANK = {room: rank for rank, rooms in enumerate(LEVELS) for room in rooms}
VENUE = "paper_gateway"

# A library, and the rooms or files that alone may import it.
HOMES = {
    "dagster": ("defs", "definitions.py"),
    "dagster_duckdb": ("defs", "definitions.py"),
    "fastapi": ("dashboard",),
    "starlette": ("dashboard",),
    "typer": ("cli",),
    "apprise": ("alerts.py",),
    "ib_insync": ("execution/broker/client.py",),
    "ib_async": ("execution/broker/client.py",),
    "mlflow": ("models/registry.py", "models/training.py"),
}
# A face that starts a run needs the framework only when it does.
HOMES_INSIDE_FUNCTIONS = {"dagster": ("cli",), "mlflow": ("dashboard/mlflow_ui.py",)}
SLOW_TO_IMPORT = {"pandas", "mlflow", "sklearn", "vectorbt", "evidently", "exchange_calendars"}
MAX_LINES = 450
COPIED = 8
"""Lines of code that stand twice, word for word, are a copy: merge them."""
MAY_REPEAT = ("features/kernels.py",)
"""Compiled code: each kernel is one function, so that the compiler can see the whole of it."""


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    at_start: bool
    """True where importing the module carries it out, so not in a function or for types only."""

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]

    @property
    def room(self) -> str | None:
        """The room of the package that is imported, if it is one."""
        if self.library != PACKAGE:
            return None
        return self.target.split(".")[1] if "." in self.target else PACKAGE


@dataclass(frozen=True)
class Module:
    path: str
    """Relative to the package, with forward slashes."""
    imports: tuple[Import, ...]
    lines: int
    code: tuple[tuple[int, str], ...]
    """Number and text of each line that is no import, comment, blank or lone bracket."""

    @property
    def room(self) -> str:
        first = self.path.split("/")[0].removesuffix(".py")
        return PACKAGE if first == "__init__" else first

    def at(self, line: int) -> str:
        return f"{self.path}:{line}"


def modules_of(package: Path) -> list[Module]:
    names = {p.stem for p in package.glob("*.py")} | {p.name for p in package.iterdir()}
    found = []
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package)
        text = file.read_text()
        here = (PACKAGE, *path.parts[:-1])
        imports = tuple(_imports(ast.parse(text), here, names, at_start=True))
        lines = text.splitlines()
        found.append(Module(path.as_posix(), imports, len(lines), tuple(_code(text, lines))))
    return found


def _code(text: str, lines: list[str]) -> Iterator[tuple[int, str]]:
    imported = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    for number, line in enumerate(lines, 1):
        bare = line.strip()
        if number not in imported and not bare.startswith("#") and re.search(r"\w", bare):
            yield number, bare


def _imports(
    node: ast.AST, here: tuple[str, ...], names: set[str], *, at_start: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inner = at_start and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = False
        if isinstance(child, ast.Import):
            for alias in child.names:
                # The bare package is a folder's name, not a room.
                if alias.name != PACKAGE:
                    yield Import(alias.name, child.lineno, at_start)
        elif isinstance(child, ast.ImportFrom):
            base = here[: len(here) - child.level + 1] if child.level else ()
            source = ".".join((*base, *filter(None, [child.module])))
            for alias in child.names:
                # `from package import room` names a room; any other name is something of source's.
                is_room = source == PACKAGE and alias.name in names
                yield Import(
                    f"{source}.{alias.name}" if is_room else source, child.lineno, at_start
                )
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith("import_module"):
            match child.args:
                case [ast.Constant(value=str(target)), *_]:
                    yield Import(target, child.lineno, at_start)
        yield from _imports(child, here, names, at_start=inner)


def arrows(modules: list[Module]) -> Iterator[tuple[Module, Import, str]]:
    """Each import that leads from one room to another, with the room that it leads to."""
    for module in modules:
        for imported in module.imports:
            if imported.room is not None and imported.room != module.room:
                yield module, imported, imported.room


def every_room_has_a_level(modules: list[Module]) -> list[str]:
    unknown = {m.room for m in modules} - RANK.keys() - {VENUE}
    return [f"{room} has no level: say in LEVELS what it may know" for room in sorted(unknown)]


def arrows_point_down(modules: list[Module]) -> list[str]:
    return [
        f"{module.at(imported.line)}: {module.room} must not know {room}, which lies above it"
        for module, imported, room in arrows(modules)
        if RANK.get(room, 0) > RANK.get(module.room, len(LEVELS))
    ]


def rooms_form_no_circle(modules: list[Module]) -> list[str]:
    knows: dict[str, set[str]] = {}
    for module, _, room in arrows(modules):
        knows.setdefault(module.room, set()).add(room)

    def reach(room: str) -> set[str]:
        seen: set[str] = set()
        waiting = [room]
        while waiting:
            fresh = knows.get(waiting.pop(), set()) - seen
            seen |= fresh
            waiting += fresh
        return seen

    circle = sorted(room for room in knows if room in reach(room))
    return [f"these rooms know each other in a circle: {', '.join(circle)}"] if circle else []


def the_venue_is_a_stranger(modules: list[Module]) -> list[str]:
    found = []
    for module, imported, room in arrows(modules):
        where = module.at(imported.line)
        if module.room == VENUE:
            allowed = {"market", "sessions"}
            if module.path == f"{VENUE}/__main__.py":
                allowed.add("settings")
            if room not in allowed:
                found.append(f"{where}: the venue must not know {room}")
        elif room == VENUE and RANK.get(module.room, 0) < RANK["desk"]:
            found.append(f"{where}: {module.room} knows the venue by its wire only")
    return found


def libraries_stay_at_home(modules: list[Module]) -> list[str]:
    found = []
    for module in modules:
        for imported in module.imports:
            homes = HOMES.get(imported.library)
            if homes is None or _is_in(module, homes):
                continue
            lazy_homes = HOMES_INSIDE_FUNCTIONS.get(imported.library, ())
            if imported.at_start or not _is_in(module, lazy_homes):
                where = module.at(imported.line)
                found.append(f"{where}: {imported.library} belongs in {', '.join(homes)}")
    return found


def _is_in(module: Module, places: tuple[str, ...]) -> bool:
    return module.path in places or module.room in places


def slow_libraries_are_imported_in_functions(modules: list[Module]) -> list[str]:
    return [
        f"{module.at(imported.line)}: import {imported.library} in the function that needs it"
        for module in modules
        for imported in module.imports
        if imported.library in SLOW_TO_IMPORT and imported.at_start
    ]


def importing_a_room_does_not_import_the_faces(modules: list[Module]) -> list[str]:
    """The package's `__init__` runs before every module of it, so it loads none of them."""
    return [
        f"{module.at(imported.line)}: hand {imported.target} on when it is asked for"
        for module in modules
        for imported in module.imports
        if module.path == "__init__.py" and imported.at_start and imported.library != "__future__"
        if imported.room is not None or imported.library in HOMES
    ]


def files_are_short(modules: list[Module]) -> list[str]:
    return [
        f"{m.path} has {m.lines} lines; it would be clearer as two files"
        for m in modules
        if m.lines > MAX_LINES
    ]


def nothing_is_copied(modules: list[Module]) -> list[str]:
    first: dict[tuple[str, ...], str] = {}
    found, until = [], ("", 0)
    for module in modules:
        if module.path in MAY_REPEAT:
            continue
        for i in range(len(module.code) - COPIED + 1):
            run = module.code[i : i + COPIED]
            where = module.at(run[0][0])
            other = first.setdefault(tuple(text for _, text in run), where)
            # Of a longer copy its beginning is told.
            if other != where and (module.path != until[0] or i > until[1]):
                found.append(f"{where}: as in {other}; let both use one function")
                until = module.path, i + COPIED
    return found


RULES: tuple[Callable[[list[Module]], list[str]], ...] = (
    every_room_has_a_level,
    arrows_point_down,
    rooms_form_no_circle,
    the_venue_is_a_stranger,
    libraries_stay_at_home,
    slow_libraries_are_imported_in_functions,
    importing_a_room_does_not_import_the_faces,
    files_are_short,
    nothing_is_copied,
)


@pytest.fixture(scope="module")
def package() -> list[Module]:
    return modules_of(ROOT / PACKAGE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_the_rule(rule, package):
    assert rule(package) == []


def test_the_whole_house_is_walked(package):
    paths = {module.path for module in package}
    known = {"sessions.py", "settings/load.py", "market/bars.py", "execution/broker/client.py"}
    assert known <= paths
    assert ("execution/broker/client.py", "ib_insync") in {
        (module.path, imported.library) for module in package for imported in module.imports
    }


BROKEN = [
    (every_room_has_a_level, {"misc/x.py": ""}, "misc has no level"),
    (arrows_point_down, {"sessions.py": f"from {PACKAGE} import settings, ledger"}, "ledger"),
    (arrows_point_down, {"market/x.py": f"def f():\n    import {PACKAGE}.decision.plan"}, "x.py:2"),
    (arrows_point_down, {"features/a/b.py": "from ...models import registry"}, "models"),
    (arrows_point_down, {"models/x.py": "from .. import monitoring", "monitoring.py": ""}, "monit"),
    (arrows_point_down, {"ledger/x.py": f"from {PACKAGE} import defs as d", "defs.py": ""}, "defs"),
    (arrows_point_down, {"day.py": f"from {PACKAGE}.cli.cycle import run"}, "cli"),
    (arrows_point_down, {"control.py": f"from {PACKAGE} import VERSION"}, "control"),
    (
        arrows_point_down,
        {"ledger/x.py": f"if TYPE_CHECKING:\n    from {PACKAGE}.decision import plan"},
        "decision",
    ),
    (
        rooms_form_no_circle,
        {
            "execution/x.py": f"from {PACKAGE}.decision import plan",
            "decision/x.py": f"from {PACKAGE}.models import registry",
            "models/x.py": f"import {PACKAGE}.execution.fills",
        },
        "decision, execution, models",
    ),
    (the_venue_is_a_stranger, {"paper_gateway/x.py": "from ..execution import fills"}, "execution"),
    (the_venue_is_a_stranger, {"paper_gateway/x.py": "from .. import settings"}, "x.py:1"),
    (
        the_venue_is_a_stranger,
        {"paper_gateway/__main__.py": "from ..ledger import store"},
        "ledger",
    ),
    (the_venue_is_a_stranger, {"execution/x.py": "from ..paper_gateway import wire"}, "wire only"),
    (libraries_stay_at_home, {"desk.py": "def f():\n    import dagster"}, "dagster belongs"),
    (libraries_stay_at_home, {"cli/run.py": "from dagster import materialize"}, "dagster belongs"),
    (libraries_stay_at_home, {"agent/x.py": "import_module('dagster.cli')"}, "dagster belongs"),
    (libraries_stay_at_home, {"execution/orders/x.py": "import ib_insync as ib"}, "client.py"),
    (
        libraries_stay_at_home,
        {"paper_gateway/x.py": "from ib_async.objects import Fill"},
        "ib_async",
    ),
    (libraries_stay_at_home, {"models/backtest.py": "def f():\n    import mlflow"}, "mlflow"),
    (libraries_stay_at_home, {"api/books.py": "from fastapi import FastAPI"}, "fastapi"),
    (
        slow_libraries_are_imported_in_functions,
        {"models/training.py": "class A:\n    from mlflow.tracking import MlflowClient"},
        "training.py:2",
    ),
    (slow_libraries_are_imported_in_functions, {"defs/x.py": "import pandas as pd"}, "pandas"),
    (
        slow_libraries_are_imported_in_functions,
        {"models/x.py": "try:\n    import sklearn.linear_model\nexcept ImportError:\n    raise"},
        "sklearn",
    ),
    (
        importing_a_room_does_not_import_the_faces,
        {"__init__.py": f"from {PACKAGE}.definitions import defs"},
        "when it is asked for",
    ),
    (files_are_short, {"market/x.py": "x = 1\n" * (MAX_LINES + 1)}, "451 lines"),
    (
        nothing_is_copied,
        {
            "market/x.py": "def f(a):\n" + "".join(f"    a.do({i})\n" for i in range(9)),
            "models/x.py": "# why\n\n" + "".join(f"a.do({i})\n\n" for i in range(9)),
        },
        "models/x.py:3: as in market/x.py:2",
    ),
]


@pytest.mark.parametrize(("rule", "files", "expected"), BROKEN)
def test_a_broken_rule_is_noticed(rule, files, expected, tmp_path):
    broken = rule(modules_of(write_package(tmp_path, files)))
    assert len(broken) == 1
    assert expected in broken[0]


def test_what_the_rules_allow_passes(tmp_path):
    files = {
        "__init__.py": "def __getattr__(name):\n    from hydra_pipelines.definitions import defs",
        "definitions.py": "import dagster\nfrom hydra_pipelines import desk, defs",
        "defs/jobs.py": "from dagster import job\nfrom hydra_pipelines.day import run",
        "desk.py": "from hydra_pipelines.paper_gateway import wire\nfrom . import settings, ledger",
        "day.py": "from hydra_pipelines.execution.fills import Fill",
        "execution/fills.py": "from ..decision.plan import Plan\nfrom ..market import bars",
        "execution/broker/client.py": "import ib_insync",
        "decision/plan.py": "def f():\n    import pandas\n",
        "models/registry.py": "async def f():\n    from mlflow.tracking import MlflowClient",
        "models/backtest.py": "if TYPE_CHECKING:\n    import pandas as pd",
        "cli/cycle.py": "import typer\ndef f():\n    from dagster import DagsterInstance",
        "paper_gateway/__main__.py": "from hydra_pipelines.settings import load_settings",
        "paper_gateway/wire.py": "import hydra_pipelines\nfrom ..market.bars import BarPanel",
        "market/bars.py": "from hydra_pipelines.sessions import Calendar",
        "ledger/store.py": "import duckdb",
        "sessions.py": "",
        "settings.py": "",
    }
    modules = modules_of(write_package(tmp_path, files))
    assert [broken for rule in RULES for broken in rule(modules)] == []


def write_package(folder: Path, files: dict[str, str]) -> Path:
    package = folder / PACKAGE
    # The rooms of one file, so that `from hydra_pipelines import settings` names a room.
    for path in ("settings.py", "ledger/__init__.py"):
        files = {path: "", **files}
    for path, text in files.items():
        file = package / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return package
