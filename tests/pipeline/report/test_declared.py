"""What a file says of itself is part of every form of the report, and never of its verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import media_factory
import pytest
import report_factory

from data.declared import Action, ClaimManifest, Credentials, Declared, Tag
from data.errors import InputError
from pipeline.detector import Pipeline
from pipeline.report.json import dumps, loads
from pipeline.report.origin import credential_line
from pipeline.report.page import page_html
from pipeline.report.rows import summary

MANIFEST = ClaimManifest(
    "urn:c2pa:1", "clip.mp4", "Editor 2", "Ann", "Newsroom", "2026-01-02", (Action("edited"),), ("raw.mp4",)
)
GENERATED = replace(
    MANIFEST, label="urn:c2pa:0", actions=(Action("created", "trainedAlgorithmicMedia", "Gen"),)
)
DECLARED = Declared(
    Credentials("untrusted", "", (MANIFEST, GENERATED), ("signingCredential.untrusted: no",)),
    (Tag("file", "encoder", "Lavf62"), Tag("track 0", "written by", "x264 - core 164")),
    ("The picture lasts 10.00 s, the sound 8.25 s.",),
)


def test_it_is_the_same_after_writing_and_reading() -> None:
    report = report_factory.forged(declared=DECLARED)
    assert loads(dumps(report)).declared == DECLARED
    assert dumps(loads(dumps(report))) == dumps(report)


def test_a_report_without_it_is_read_and_has_no_section() -> None:
    document = json.loads(dumps(report_factory.forged()))
    del document["declared"]
    report = loads(json.dumps(document))
    assert report.declared is None
    assert 'id="declared"' not in page_html(report, None, None)


@pytest.mark.parametrize(
    "changes", [{"status": "authentic"}, {"manifests": [{"label": 7}]}, {"failures": None}], ids=str
)
def test_damaged_credentials_are_refused(changes: dict[str, Any]) -> None:
    document = json.loads(dumps(report_factory.forged(declared=DECLARED)))
    document["declared"]["credentials"].update(changes)
    with pytest.raises(InputError, match=r"declared\.credentials"):
        loads(json.dumps(document))


def test_the_page_shows_signer_chain_failures_notes_and_mismatches() -> None:
    html = page_html(report_factory.forged(declared=DECLARED), None, None)
    assert 'id="credentials" data-status="untrusted"' in html
    for shown in (
        "Untrusted signer:",
        "Ann, Newsroom",
        "created (trainedAlgorithmicMedia, Gen)",
        "AI-generated",
        "signingCredential.untrusted: no",
        "raw.mp4",
        "Earlier manifest",
        "Notes of the file",
        "Notes of track 0",
        "x264 - core 164",
        "the sound 8.25 s.",
        "does not change the verdict",
    ):
        assert shown in html


def test_hostile_text_in_it_stays_text() -> None:
    bad = "<script>alert(1)</script>\u202egpj"
    manifest = ClaimManifest(bad, bad, bad, bad, bad, bad, (Action(bad, bad, bad, bad),), (bad,))
    told = Declared(Credentials("invalid", bad, (manifest,), (bad,)), (Tag(bad, bad, bad),), (bad,))
    report = report_factory.forged(declared=told)
    assert loads(dumps(report)).declared == told
    html, text = page_html(report, None, None), "\n".join(summary(report, "a.mp4"))
    assert "<script>alert" not in html
    assert "\u202e" not in html + text


def test_the_summary_has_one_line_and_only_where_there_are_credentials() -> None:
    assert credential_line(DECLARED) == (
        "Content Credentials: untrusted; signed by Ann, Newsroom; declares: edited, AI-generated"
    )
    assert f"  {credential_line(DECLARED)}" in summary(report_factory.forged(declared=DECLARED), "a.mp4")
    assert credential_line(None) == credential_line(Declared(Credentials("none"))) == ""
    assert credential_line(Declared(Credentials("not_read", "the file may have some"))) == ""
    there = Declared(Credentials("not_read", "the file has some, but nothing reads them"))
    assert "nothing reads them" in credential_line(there)


def test_signed_and_unsigned_copies_of_a_clip_get_the_same_finding(tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason="needs c2pa-python, which is not installed")
    from signed_media import Newsroom

    newsroom = Newsroom.new()
    plain = media_factory.write(tmp_path / "plain.mp4", n=50, audio_seconds=2.0).path
    signed = newsroom.sign(plain, tmp_path / "signed.mp4")
    (tmp_path / "root.pem").write_bytes(newsroom.authority)
    detector = Pipeline.from_pretrained(tiny_bundle, device="cpu")
    reports = [detector(path, trust=tmp_path / "root.pem") for path in (plain, signed)]
    told = [report.declared for report in reports]
    assert told[0] is not None
    assert told[1] is not None
    assert [each.credentials.status for each in told if each is not None] == ["none", "valid"]
    assert told[1].credentials.declares == ("AI-generated",)
    assert told[0].tags == told[1].tags
    assert reports[0].finding == reports[1].finding
    assert reports[0].warnings == reports[1].warnings
