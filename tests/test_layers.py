"""The house keeps its order: imports point down only, and a few rules that a reader relies on."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

MAY_IMPORT = {
    "pipeline": {"pipeline", "extractors", "models", "data", "configs"},
    "extractors": {"extractors", "data", "configs"},
    "models": {"models", "data", "configs"},
    "data": {"data"},
    "configs": {"configs"},
}
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
    """Full names of all modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            yield str(node.module)


def violations(package: str, code: str) -> list[str]:
    """Names that `package` must not import, in `code`."""
    tops = {name.partition(".")[0] for name in imported(ast.parse(code))}
    return sorted((tops & MAY_IMPORT.keys()) - MAY_IMPORT[package])


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package: str) -> None:
    assert sources(package), f"no sources in {package}"
    found = {str(path.relative_to(ROOT)): violations(package, path.read_text()) for path in sources(package)}
    assert not {name: names for name, names in found.items() if names}


@pytest.mark.parametrize(
    ("package", "code", "wrong"),
    [
        ("data", "from configs.schema import X", ["configs"]),
        ("models", "def f():\n    import extractors.paper.tsn", ["extractors"]),
        ("extractors", "from pipeline import progress", ["pipeline"]),
        ("pipeline", "import models.fdn, data.store.store, numpy", []),
    ],
)
def test_the_layer_test_sees_a_wrong_import(package: str, code: str, wrong: list[str]) -> None:
    assert violations(package, code) == wrong


def test_only_the_dataset_knows_torch_in_data_and_configs() -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in ("data", "configs")
        for path in sources(package)
        if {name.partition(".")[0] for name in imported(ast.parse(path.read_text()))} & TORCH
    }
    assert users <= {"data/dataset.py"}


def test_nothing_prints_but_the_command_line() -> None:
    printing = {
        str(path.relative_to(ROOT))
        for package in MAY_IMPORT
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
        names = {name for name in imported(top) if not name.startswith("pipeline.cli")}
        assert names <= {
            "__future__", "data.errors", "data.text", "io", "logging", "pathlib", "sys", "typer", "typing",
        }, path  # fmt: skip


@pytest.mark.parametrize("folder", [*MAY_IMPORT, "tests", "examples", "benchmarks"])
def test_files_can_be_read_in_one_sitting(folder: str) -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources(folder)}
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


def test_public_functions_and_classes_say_what_they_do() -> None:
    silent = []
    for package in MAY_IMPORT:
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
