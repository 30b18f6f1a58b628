"""The code keeps its order: imports point down only, and a few rules that a reader relies on."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("configs", "data", "extractors", "models", "pipeline")

_VALUES = {"configs", "data"}
_STORED = {*_VALUES, "data.manifest", "data.store"}
_MEDIA = {*_STORED, "pipeline.media"}
_SCORES = {*_MEDIA, "models", "extractors", "pipeline.bundle", "pipeline.extraction", "pipeline.localization"}
_JUDGED = {
    *_SCORES, "pipeline.detector", "pipeline.evaluation", "pipeline.evaluation.metrics", "pipeline.runtime",
}  # fmt: skip

MAY_IMPORT: dict[str, set[str]] = {
    "configs": set(),
    "data": set(),
    "data.manifest": {"data"},
    "data.store": {"data"},
    "extractors": _VALUES,
    "extractors.compact": {*_VALUES, "extractors"},
    "extractors.paper": {*_VALUES, "extractors"},
    "extractors.registry": {"extractors", "extractors.compact", "extractors.paper"},
    "models": _VALUES,
    "models.baselines": {*_VALUES, "models"},
    "models.weights": {*_VALUES, "models", "models.baselines"},
    "pipeline.runtime": {"data"},
    "pipeline.progress": {"data"},
    "pipeline.media": _VALUES,
    "pipeline.extraction": {*_VALUES, "data.store", "extractors", "pipeline.media"},
    "pipeline.localization": {*_VALUES, "data.store", "models"},
    "pipeline.hub": {"data", "extractors"},
    "pipeline.bundle": {
        *_STORED, "extractors", "extractors.registry", "models", "models.weights", "pipeline.extraction",
        "pipeline.hub", "pipeline.localization", "pipeline.runtime",
    },
    "pipeline.report": {*_VALUES, "pipeline.media", "pipeline.localization"},
    "pipeline.detector": {*_SCORES, "pipeline.report", "pipeline.runtime"},
    "pipeline.server": {"data", "data.manifest", "pipeline.jobs", "pipeline.media", "pipeline.report"},
    "pipeline.jobs": {"data", "data.store", "pipeline.detector", "pipeline.report"},
    "pipeline.watch": {"data", "data.manifest"},
    "pipeline.batch": {*_MEDIA, "pipeline.bundle", "pipeline.extraction", "pipeline.runtime"},
    "pipeline.evaluation.metrics": {"data"},
    "pipeline.evaluation": {*_SCORES, "pipeline.detector", "pipeline.evaluation.metrics", "pipeline.runtime"},
    "pipeline.evaluation.submissions": {
        "data", "data.manifest", "pipeline.evaluation", "pipeline.evaluation.metrics",
    },
    "pipeline.forging.manipulations": {"data", "extractors.compact"},
    "pipeline.training": {*_JUDGED, "extractors.compact", "models.weights", "pipeline.forging.manipulations"},
    "pipeline.reproduction": {*_JUDGED, "models.weights", "pipeline.training"},
    "pipeline.forging.vocoders": {"data", "pipeline.media"},
    "pipeline.forging": {
        *_VALUES, "data.manifest", "extractors.compact", "pipeline.media", "pipeline.forging.manipulations",
        "pipeline.forging.vocoders",
    },
    "pipeline.datasets": {"data", "data.manifest", "pipeline.media", "pipeline.evaluation.metrics"},
    "pipeline.doctor": {
        "data", "extractors", "extractors.paper", "pipeline.bundle", "pipeline.detector", "pipeline.media",
    },
    "pipeline": {"pipeline.cli", "pipeline.detector", "pipeline.report"},
}  # fmt: skip
"""Rooms of the house, and those that each may enter: read downward, what is below may know what is above.

A room is a package without its sub-packages, or a module that stands for itself. Only `pipeline.cli` knows all.
"""
MAY_IMPORT["pipeline.cli"] = MAY_IMPORT.keys() - {"pipeline"}

MAX_LINES = 400
TORCH = {"torch", "torchvision", "torchaudio", "transformers", "accelerate"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def tracked() -> list[Path]:
    """Files of the repository; where it is no git checkout, all but caches and environments."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    hidden = re.compile(r"/(\.|__pycache__|build|dist|.*\.egg-info)")
    return [
        path for path in ROOT.rglob("*") if path.is_file() and not hidden.search(f"/{path.relative_to(ROOT)}")
    ]


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it; names of ours within a string count as well."""
    ours = re.compile(rf"({'|'.join(PACKAGES)})(\.\w+)+(:\w+)?")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ours.fullmatch(node.value):
            name = node.value.partition(":")[0]
            if ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file():
                yield name


def room(name: str) -> str | None:
    """The room that holds the module or the object `name`; None for what is not ours."""
    while name and name not in MAY_IMPORT:
        name = name.rpartition(".")[0]
    return name or None


def violations(module: str, code: str) -> list[str]:
    """Rooms that `module` must not enter, in `code`."""
    own = room(module)
    assert own is not None
    entered = {room(name) for name in imported(ast.parse(code))} - {None, own}
    return sorted(str(name) for name in entered if name not in MAY_IMPORT[own])


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    assert sources(package), f"no sources in {package}"
    found = {}
    for path in sources(package):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[module] = violations(module, path.read_text())
    assert not {name: names for name, names in found.items() if names}


def test_no_room_leads_back_to_itself() -> None:
    assert tuple(graphlib.TopologicalSorter(MAY_IMPORT).static_order())


def test_every_package_is_a_room() -> None:
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert packages <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("module", "code", "wrong"),
    [
        ("data.labels", "from configs.schema import X", ["configs"]),
        ("data.files", "from data.store import store", ["data.store"]),
        ("models.heads", "def f():\n    import extractors.paper.tsn", ["extractors.paper"]),
        ("models.heads", "from models.baselines.cola import CoLA", ["models.baselines"]),
        ("extractors.compact.faces", "from pipeline import progress", ["pipeline.progress"]),
        ("extractors.base", "from extractors.compact.faces import X", ["extractors.compact"]),
        ("pipeline.media.child", "if TYPE_CHECKING:\n    import pipeline.batch.run", ["pipeline.batch"]),
        ("pipeline.report.html", "import importlib\nNAME = 'pipeline.detector'", ["pipeline.detector"]),
        ("pipeline.training.train", "from pipeline.reproduction import tables", ["pipeline.reproduction"]),
        ("pipeline.training.train", "import pipeline.progress", ["pipeline.progress"]),
        ("pipeline.cli.run", "import models.fdn, data.store.store, numpy, pipeline.batch.run", []),
        ("pipeline.forging.plan", "'data.media of a clip'; from pipeline.media.base import X", []),
    ],
)
def test_the_layer_test_sees_a_wrong_import(module: str, code: str, wrong: list[str]) -> None:
    assert violations(module, code) == wrong


def test_a_circle_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MAY_IMPORT, "data", {"data.store"})
    with pytest.raises(graphlib.CycleError):
        test_no_room_leads_back_to_itself()


def test_data_and_configs_know_no_torch() -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in ("data", "configs")
        for path in sources(package)
        if {name.partition(".")[0] for name in imported(ast.parse(path.read_text()))} & TORCH
    }
    assert not users


def test_nothing_prints_but_the_command_line() -> None:
    printing = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert all(name.startswith("pipeline/cli/") for name in printing)


def test_the_command_line_imports_nothing_heavy_at_the_top() -> None:
    for path in (ROOT / "pipeline/cli").glob("*.py"):
        body = ast.parse(path.read_text()).body
        top = ast.Module(
            [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)], type_ignores=[]
        )
        light = re.compile(
            r"(__future__|atexit|gc|data\.conditions|data\.errors|data\.text|io|logging|os|pathlib|sys|typer|typing|"
            r"pipeline\.cli)\b"
        )
        assert not [name for name in imported(top) if not light.match(name)], path


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "examples", "tools", "benchmarks"])
def test_files_can_be_read_in_one_sitting(folder: str) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(folder)}
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


def test_public_functions_and_classes_say_what_they_do() -> None:
    silent = []
    for package in PACKAGES:
        for path in sources(package):
            tree = ast.parse(path.read_text())
            if not ast.get_docstring(tree) and path.read_text().strip():
                silent.append(f"{path.relative_to(ROOT)}: module")
            for node in tree.body:
                public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
                if public and not ast.get_docstring(node):  # type: ignore[arg-type]
                    silent.append(f"{path.relative_to(ROOT)}: {node.name}")  # type: ignore[attr-defined]
    assert not silent


def test_no_file_names_a_place_of_one_machine() -> None:
    # Spelled in two parts, so that this file does not find itself.
    place = re.compile("(/" + r"home/\w|/" + r"Users/\w|/" + "work/|/root" + "/)")
    texts = {".py", ".md", ".yaml", ".yml", ".toml", ".cfg", ".txt", ".json", ".csv", ""}
    named = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix in texts and place.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert not named
