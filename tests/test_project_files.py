"""What a visitor reads first is true: targets, versions, extras and templates that the project's files name exist."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ["README.md", "CONTRIBUTING.md", ".github/workflows/ci.yml", ".ci/run"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(read("setup.cfg"))
    return parser


def workflow() -> dict[str, Any]:
    return yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]


@pytest.mark.parametrize("name", GUIDES)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|run: )make ([a-z]+)", read(name), re.MULTILINE))
    assert named, f"{name} names no target"
    assert named <= targets


def test_the_test_matrix_begins_at_the_oldest_python_that_is_allowed() -> None:
    versions = workflow()["test"]["strategy"]["matrix"]["python"]
    assert setup()["options"]["python_requires"] == f">={versions[0]}"
    assert versions == ["3.11", "3.12", "3.13"]


def test_the_workflow_tests_lints_builds_docs_a_wheel_and_a_container() -> None:
    assert workflow().keys() == {"test", "lint", "docs", "wheel", "container"}


def test_the_citation_has_the_version_and_the_licence_of_the_package() -> None:
    citation, metadata = yaml.safe_load(read("CITATION.cff")), setup()["metadata"]
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (metadata["version"], metadata["license"])
    assert [author["name"] for author in citation["authors"]] == [metadata["author"]]


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.stem
)
def test_issue_templates_have_what_the_form_needs(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"]
    assert form["description"]
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert ids
    assert len(ids) == len(set(ids))
    assert all(field["attributes"].get("label") or field["type"] == "markdown" for field in form["body"])


def test_hooks_before_a_commit_run_programs_that_lint_runs() -> None:
    hooks = [
        hook for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]
    ]
    lint = read("Makefile").partition("\nlint:")[2].partition("\n\n")[0].replace("$(BIN)", ".venv/bin")
    assert hooks
    assert all(" ".join(hook["entry"].split()[:2]).partition(" --")[0] in lint for hook in hooks)


def test_every_extra_that_is_named_exists() -> None:
    extras = setup()["options.extras_require"]
    named = {
        extra.strip()
        for path in [ROOT / "README.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]
        for group in re.findall(r"(?:rt-deeploc|'\.)\[([a-z0-9, ]+)\]", path.read_text(encoding="utf-8"))
        for extra in group.split(",")
    }
    assert "docs" in named
    assert named <= set(extras)


def test_tools_that_ci_uses_are_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower() for line in read("constraints.txt").splitlines() if "==" in line
    }
    for extra in ("dev", "docs"):
        wanted = setup()["options.extras_require"][extra].split("\n")
        names = {re.split(r"[\[><=;]", line)[0].strip().lower() for line in wanted if line.strip()}
        assert names <= pinned


def test_settings_that_the_guides_name_exist() -> None:
    from configs.schema import PipelineConfig
    from configs.table import setting_rows

    known = {row.name for row in setting_rows()}
    known |= {name.rpartition(".")[0] for name in known} | set(PipelineConfig.model_fields)
    groups = "|".join(PipelineConfig.model_fields)
    named = {
        (path.name, name)
        for path in [
            *ROOT.glob("*.md"),
            *(ROOT / "docs").glob("*.md"),
            *(ROOT / "pipeline/weights").rglob("*.md"),
        ]
        for name in re.findall(rf"`((?:{groups})\.[a-z_.]+[a-z_])(?:`|=)", path.read_text(encoding="utf-8"))
        if not name.endswith((".py", ".md", ".yaml", ".csv", ".json", ".store"))
    }
    assert len(named) > 10
    assert not {(path, name) for path, name in named if name not in known}


@pytest.mark.parametrize(
    "name",
    [
        "CONTRIBUTING.md",
        "SECURITY.md",
        "examples/README.md",
        "docs/architecture.md",
        "docs/metrics.md",
        "docs/benchmark.md",
        "docs/decisions.md",
    ],
)
def test_files_that_the_guides_name_exist(name: str) -> None:
    top = "pipeline|extractors|models|data|configs|tests|tools|examples|benchmarks|docs"
    named = set(re.findall(rf"\b((?:{top})/[\w./-]*\w(?:\.\w+|/))", read(name)))
    assert not {path for path in named if not (ROOT / path).exists()}
