"""Content Credentials are read in a process of their own: whole, altered and broken ones, and without the library."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import media_factory
import pytest

from data.declared import Action, ClaimManifest, Credentials
from data.errors import UsageError
from pipeline.media.credentials import credentials_from_json, read_credentials
from pipeline.media.credentials_child import condensed

pytest.importorskip("c2pa", reason="needs c2pa-python, which is not installed")
from signed_media import C2PA_BOX, Newsroom, altered

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


def read(path: Path, trust: Path | None = None, container: str = MP4, patience_s: float = 60) -> Credentials:
    return read_credentials(path, container, 2048, patience_s, trust)


@pytest.fixture(scope="module")
def newsroom() -> Newsroom:
    return Newsroom.new()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, newsroom: Newsroom) -> Path:
    """plain.mp4, signed.mp4 made of it, edited.mp4 made of that, and root.pem, which vouches for the signer."""
    folder = tmp_path_factory.mktemp("credentials")
    media_factory.write(folder / "plain.mp4", n=10, audio_seconds=0.4)
    newsroom.sign(folder / "plain.mp4", folder / "signed.mp4")
    newsroom.sign(folder / "signed.mp4", folder / "edited.mp4", edit=True)
    (folder / "root.pem").write_bytes(newsroom.authority)
    return folder


def test_a_file_without_any_has_none_and_starts_no_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.media.credentials.Child", None)
    assert read(folder / "plain.mp4") == Credentials("none")


def test_credentials_of_a_trusted_signer_are_valid_and_say_who_and_what(folder: Path) -> None:
    found = read(folder / "signed.mp4", folder / "root.pem")
    assert (found.status, found.failures, found.declares) == ("valid", (), ("AI-generated",))
    (manifest,) = found.manifests
    assert manifest.actions == (Action("created", "trainedAlgorithmicMedia", "Generator 4"),)
    told = (manifest.signer, manifest.issuer, manifest.generator, manifest.title)
    assert told == ("Test signer", "Test newsroom", "Test editor 1.2", "signed.mp4")


def test_without_certificates_to_trust_the_signer_is_untrusted(folder: Path, tmp_path: Path) -> None:
    found = read(folder / "signed.mp4")
    assert found.status == "untrusted"
    assert [failure.partition(":")[0] for failure in found.failures] == ["signingCredential.untrusted"]
    other = tmp_path / "other.pem"
    other.write_bytes(Newsroom.new().authority)
    assert read(folder / "signed.mp4", other).status == "untrusted"


def test_all_manifests_of_the_chain_are_given_that_of_the_file_first(folder: Path) -> None:
    found = read(folder / "edited.mp4", folder / "root.pem")
    assert found.status == "valid"
    assert [manifest.title for manifest in found.manifests] == ["edited.mp4", "signed.mp4"]
    assert [each.name for each in found.manifests[0].actions] == ["opened", "color_adjustments"]
    assert [manifest.declares for manifest in found.manifests] == [("edited",), ("AI-generated",)]
    assert found.declares == ("edited", "AI-generated")


def test_a_changed_picture_makes_them_invalid_with_the_failure_as_it_is(folder: Path, tmp_path: Path) -> None:
    signed = folder / "signed.mp4"
    at = signed.read_bytes().rfind(b"mdat") + 100
    changed = altered(signed, tmp_path / "changed.mp4", at, bytes([signed.read_bytes()[at] ^ 255]))
    found = read(changed, folder / "root.pem")
    assert found.status == "invalid"
    assert [failure.partition(":")[0] for failure in found.failures] == ["assertion.bmffHash.mismatch"]
    assert found.manifests[0].signer == "Test signer"


@pytest.mark.parametrize(("offset", "new"), [(40, b"\xff" * 40), (60, bytes(600)), (21, b"\xff" * 8)])
def test_a_broken_box_is_invalid_with_a_reason(folder: Path, tmp_path: Path, offset: int, new: bytes) -> None:
    signed = folder / "signed.mp4"
    broken = altered(signed, tmp_path / "broken.mp4", signed.read_bytes().index(C2PA_BOX) + offset, new)
    found = read(broken)
    assert found.status == "invalid", found
    assert found.reason.startswith("they cannot be read ("), found


def test_credentials_in_another_container_are_read(tmp_path: Path, newsroom: Newsroom) -> None:
    media_factory.write(tmp_path / "plain.wav", n=None, audio_seconds=1.0, audio_codec="pcm_s16le")
    signed = newsroom.sign(tmp_path / "plain.wav", tmp_path / "signed.wav", kind="audio/wav")
    assert read(signed, container="wav").status == "untrusted"
    assert read(tmp_path / "plain.wav", container="wav") == Credentials("none")


def test_a_container_that_the_library_does_not_know_is_not_read(folder: Path) -> None:
    found = read(folder / "plain.mp4", container="matroska,webm")
    assert (found.status, found.reason) == ("not_read", "no way is known to read them from 'matroska' files")


def test_without_the_library_it_is_said_that_there_are_some(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = read(folder / "signed.mp4")
    assert found.status == "not_read"
    assert found.reason.startswith("the file has some, but the package c2pa-python is missing")
    assert ".[c2pa]" in found.reason
    assert read(folder / "plain.mp4") == Credentials("none")
    assert read(folder / "plain.mp4", container="wav").reason.startswith("the file may have some")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("raise RuntimeError('no luck')", "no luck"),
        ("import time; time.sleep(60)", "took longer than 1 s"),
        ("import os; os.write(1, b'nonsense\\n'); os.close(1)", "the process that reads them failed"),
    ],
)
def test_a_library_that_dies_or_hangs_leaves_them_unread(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "c2pa.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = read(folder / "signed.mp4", patience_s=1.0 if "sleep" in code else 30.0)
    assert (found.status, found.manifests) == ("not_read", ())
    assert reason in found.reason


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_to_trust_without_a_certificate_is_refused(
    folder: Path, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "trust.pem").write_bytes(content)
    with pytest.raises(UsageError, match="--trust"):
        read(folder / "plain.mp4", tmp_path / "trust.pem")


def test_a_store_of_a_million_entries_is_cut_and_odd_values_are_passed_over() -> None:
    actions = [{"action": "c2pa.edited", "softwareAgent": "x" * 10_000}] * 1000 + [7, None]
    assertions = [
        {"label": "c2pa.actions", "data": {"actions": actions}},
        "odd",
        {"label": None, "data": None},
    ]
    store = {"active_manifest": "a", "manifests": {"a": {"assertions": assertions, "ingredients": 5}}}
    (manifest,) = condensed(store, "Valid").manifests
    assert len(manifest.actions) == 100
    assert len(manifest.actions[0].agent) == 300
    assert condensed({}, None) == Credentials("invalid")


def test_plain_values_give_the_credentials_again_and_others_are_refused() -> None:
    manifest = ClaimManifest("a", "t", "g", "s", "i", "2026", (Action("edited", "x"),), ("one",))
    credentials = Credentials("invalid", "why", (manifest,), ("code: what",))
    values = json.loads(json.dumps(asdict(credentials)))
    assert credentials_from_json(values) == credentials
    with pytest.raises(ValueError, match="status"):
        credentials_from_json({**values, "status": "authentic"})
    with pytest.raises(TypeError):
        credentials_from_json({**values, "manifests": [{**values["manifests"][0], "verdict": "real"}]})
