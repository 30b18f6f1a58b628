"""Weights folders go to the hub and come back the same, pinned by commit and SHA-256."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import media_factory
import pytest
from model_hub import ModelHub

from data.errors import UsageError, WeightsError
from pipeline.detector import Pipeline
from pipeline.hub import is_hub_name, pull, push
from pipeline.report.json import loads

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModelHub]:
    hub = ModelHub()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("RT_DEEPLOC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", "a-token-for-the-server-of-this-test")
    # Its servers for large files speak another protocol, which only they understand.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield hub
    hub.close()


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny weights with a model card, beside which things lie that must not be shared."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "weights"))
    (folder / "MODEL_CARD.md").write_text("# Weights of a test\n")
    (folder / "checkpoint.pt").write_bytes(b"\x80\x02")
    (folder / ".secret.json").write_text("{}")
    (folder / "logs" / "deep").mkdir(parents=True)
    (folder / "logs" / "deep" / "run.json").write_text("{}")
    return folder


def test_what_is_pushed_comes_back_the_same_and_nothing_else_is_shared(hub: ModelHub, folder: Path) -> None:
    pushed = push(folder, "lab/tiny")
    assert hub.private == {"lab/tiny": True}
    (files,) = hub.commits.values()
    assert set(files) == {*pushed.files, "README.md"}
    assert not [name for name in files if name.endswith(".pt") or "secret" in name or "deep/" in name]
    assert files["README.md"] == (folder / "MODEL_CARD.md").read_bytes()
    back = pull(pushed.name, pushed.sha256)
    found = {
        str(path.relative_to(back))
        for path in back.rglob("*")
        if path.is_file() and not str(path.relative_to(back)).startswith(".")
    }
    assert found == {*pushed.files, "verified.json"}
    assert all((back / name).read_bytes() == (folder / name).read_bytes() for name in pushed.files)


def test_weights_of_the_hub_give_the_same_report_and_are_fetched_once(
    hub: ModelHub, folder: Path, tmp_path: Path
) -> None:
    clip = media_factory.write(tmp_path / "clip.mp4", n=25, audio_seconds=1.0).path
    name, _, commit = push(folder, "lab/tiny").name.partition("@")
    reports = [
        Pipeline.from_pretrained(source, revision=revision, device="cpu")(clip)
        for source, revision in ((folder, None), (name, commit))
    ]
    assert reports[0].finding == reports[1].finding
    assert reports[0].provenance == reports[1].provenance
    hub.close()
    assert (
        Pipeline.from_pretrained(name, revision=commit, device="cpu").weights == reports[0].provenance.weights
    )


def test_the_commands_push_pull_and_run(
    hub: ModelHub, cli: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    answer = cli("weights", "push", folder, "lab/tiny", "--public")
    assert answer.code == 0, answer.err
    assert hub.private == {"lab/tiny": False}
    name, digest = answer.out.splitlines()[-2:]
    answer = cli("weights", "pull", name, "--sha256", digest.removeprefix("SHA-256 "), "--quiet")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == digest
    clip = media_factory.write(tmp_path / "clip.mp4", n=25, audio_seconds=1.0).path
    answer = cli("run", "--input", clip, "--weights", name, "--json", "-")
    assert answer.code == 0, answer.err
    assert loads(answer.out).provenance.preset == "compact"


def test_another_sha256_than_the_one_named_is_refused(hub: ModelHub, folder: Path) -> None:
    pushed = push(folder, "lab/tiny")
    with pytest.raises(WeightsError, match="another SHA-256"):
        pull(pushed.name, "0" * 64)


@pytest.mark.parametrize("name", ["config.yaml", "rt_deeploc.safetensors"])
def test_a_file_that_is_not_what_the_commit_records_is_refused(
    hub: ModelHub, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import model_hub

    pushed, entry = push(folder, "lab/tiny"), model_hub._entry
    monkeypatch.setattr(
        model_hub, "_entry", lambda file, content: entry(file, content + b" " * (file == name))
    )
    with pytest.raises(WeightsError, match=r"failed its check|cannot fetch"):
        pull(pushed.name)


def test_damage_after_the_fetch_is_found(hub: ModelHub, folder: Path) -> None:
    pushed = push(folder, "lab/tiny")
    back = pull(pushed.name)
    (back / "config.yaml").write_text("preset: other\n")
    with pytest.raises(WeightsError, match="damaged since it was fetched"):
        pull(pushed.name)


def test_a_repository_may_not_name_files_outside_or_that_run(hub: ModelHub, folder: Path) -> None:
    files = {name: (folder / name).read_bytes() for name in ("config.yaml", "rt_deeploc.safetensors")}
    bad = ("../evil.safetensors", "a/b/c.json", "model.bin", "run.py", ".hidden/x.json")
    hub.commits["lab/tiny", COMMIT] = {**files, **dict.fromkeys(bad, b"evil")}
    back = pull(f"lab/tiny@{COMMIT}")
    assert {path.name for path in back.iterdir() if not path.name.startswith(".")} == {
        *files,
        "verified.json",
    }
    assert not (back.parent / "evil.safetensors").exists()
    hub.commits["lab/other", COMMIT] = dict.fromkeys(bad, b"evil")
    with pytest.raises(WeightsError, match=r"holds no config\.yaml"):
        pull(f"lab/other@{COMMIT}")


def test_a_hub_that_refuses_or_is_not_there_is_an_error_with_advice(
    hub: ModelHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refuse = True
    with pytest.raises(WeightsError, match=r"cannot upload to lab/tiny .*HF_TOKEN"):
        push(folder, "lab/tiny")
    with pytest.raises(WeightsError, match="cannot fetch"):
        pull(f"lab/none@{COMMIT}")


@pytest.mark.parametrize(
    "name", ["lab/tiny", "lab/tiny@main", "../x@" + COMMIT, f"lab/tiny@{COMMIT}0", "tiny"]
)
def test_weights_without_a_commit_are_refused(name: str) -> None:
    assert not is_hub_name(name) or name.startswith("..")
    with pytest.raises((UsageError, WeightsError)):
        pull(name)


def test_a_folder_of_that_name_comes_first_and_a_missing_one_names_both_ways(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, f"lab/tiny@{COMMIT}")
    assert Pipeline.from_pretrained(f"lab/tiny@{COMMIT}", device="cpu").config.preset == "compact"
    with pytest.raises(WeightsError, match="ORG/NAME@COMMIT of the hub"):
        Pipeline.from_pretrained("lab/other", device="cpu")


@pytest.mark.parametrize("missing", ["config.yaml", "*.safetensors"])
def test_a_folder_without_settings_or_weights_is_not_pushed(tmp_path: Path, missing: str) -> None:
    name = "config.yaml" if missing != "config.yaml" else "a.safetensors"
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=r"holds no config\.yaml with weights"):
        push(tmp_path, "lab/tiny")
