"""The package as people install it: a wheel, built from the files of the repository and used far away from them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import media_factory
import pytest

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 600  # only against a command that hangs
PACKAGES = ("configs", "data", "extractors", "models", "pipeline")
SCRIPT = """
import sys
from pipeline import Pipeline
report = Pipeline.from_pretrained("compact", device="cpu")(sys.argv[1])
print(report.input.name, sys.modules["data"].__file__)
"""


def done(command: list[str | Path], cwd: Path) -> str:
    """Standard output of a command that must succeed, run without the path of this test."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert answer.returncode in (0, 4), answer.stderr  # 4: the clip shows no face
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of what belongs to the package: building leaves files beside its sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"]
    done([*pip, "--no-build-isolation", "--wheel-dir", out, source], out)
    (built,) = out.glob("rt_deeploc-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment with the wheel in it; what it depends on is borrowed from this one."""
    home = tmp_path_factory.mktemp("environment")
    done([sys.executable, "-m", "venv", "--without-pip", home], home)
    python = home / "bin" / "python"
    done(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            wheel,
        ],
        home,
    )
    (site,) = home.glob("lib/python*/site-packages")
    borrowed = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    (site / "borrowed.pth").write_text("".join(f"{place}\n" for place in borrowed), encoding="utf-8")
    return home / "bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder with a clip, and with plain folders of the names of our packages."""
    for name in PACKAGES:
        (tmp_path / name).mkdir()
    media_factory.write(tmp_path / "data" / "clip.mp4", n=25, audio_seconds=1.0)
    return tmp_path


def test_the_wheel_holds_what_runs_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(PACKAGES)
    assert {f"{name}/py.typed" for name in PACKAGES} <= set(names)
    ours = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours == {name for name in names if ".dist-info/" not in name}


def test_the_installed_command_analyses_a_clip(installed: Path, project: Path) -> None:
    command: list[str | Path] = [installed / "pipeline", "run", "--input", "data/clip.mp4", "--json", "-"]
    assert json.loads(done(command, project))["input"]["name"] == "clip.mp4"


def test_the_module_is_the_command(installed: Path, project: Path) -> None:
    said = done([installed / "python", "-m", "pipeline", "--version"], project)
    assert said == done([installed / "pipeline", "--version"], project)
    assert said.startswith("rt-deeploc ")


def test_a_script_beside_folders_of_our_packages_names_uses_the_library(
    installed: Path, project: Path
) -> None:
    (project / "script.py").write_text(SCRIPT, encoding="utf-8")
    name, _, origin = (
        done([installed / "python", "script.py", "data/clip.mp4"], project).strip().partition(" ")
    )
    assert name == "clip.mp4"
    assert Path(origin).is_relative_to(installed.parent)
