"""Who is in a folder of clips, and in which split; what lends its voice only."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from forged_set import CONFIG, texture, voice, write_authentic
from numpy.typing import NDArray

from configs.schema import DecodeConfig, SynthesizeConfig
from data.errors import InputError, UsageError
from pipeline.forging.sources import Material, find_material
from pipeline.media.encode import write_clip


def find(root: Path, config: SynthesizeConfig = CONFIG, seed: int = 0) -> Material:
    return find_material(root, config, seed, DecodeConfig())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, texture(60, 0), voice(2.4, 120))
    return path.read_bytes()


def speech(seconds: float, seed: int) -> NDArray[np.float32]:
    """Noise whose level wanders as that of speech does."""
    rng = np.random.default_rng(seed)
    level = np.repeat(10 ** rng.uniform(-2.5, -0.5, round(seconds * 20)), 800)
    return (level * rng.standard_normal(len(level)).clip(-3, 3) / 3).astype(np.float32)


def people(root: Path, clip: bytes, groups: dict[str, int], table: bool = True) -> Path:
    """A folder with two clips of each person, and a CSV that names person and group."""
    rows = ["clip,identity,group"]
    for group, count in groups.items():
        for person in range(count):
            for k in range(2):
                name = f"{group}{person}_{k}.mp4"
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(clip)
                rows.append(f"{name},{group}{person},{group}")
    if table:
        (root / "clips.csv").write_text("\n".join(rows) + "\n")
    return root


def test_no_identity_is_in_two_splits_and_each_group_is_spread(tmp_path: Path, clip: bytes) -> None:
    config = SynthesizeConfig(train_share=0.5, dev_share=0.25)
    found = find(people(tmp_path, clip, {"studio": 8, "street": 8}), config, seed=1)
    splits: dict[str, set[str]] = {}
    for source in found.clips:
        splits.setdefault(source.identity, set()).add(source.split)
    assert all(len(names) == 1 for names in splits.values())
    for group in ("studio", "street"):
        # Half of 8, a quarter and a quarter, in each group.
        counts = Counter(split for name, (split,) in splits.items() if name.startswith(group))
        assert counts == {"train": 4, "dev": 2, "test": 2}


def test_another_seed_splits_otherwise_and_the_same_one_alike(tmp_path: Path, clip: bytes) -> None:
    root = people(tmp_path, clip, {"a": 10})
    splits = [{c.identity: c.split for c in find(root, seed=seed).clips} for seed in (1, 1, 2)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]


def test_identities_come_from_the_table_then_the_folder_then_the_name(tmp_path: Path, clip: bytes) -> None:
    authentic = write_authentic(tmp_path / "a")
    assert [source.identity for source in find(authentic).clips] == ["anna", "anna", "ben", "cleo"]
    for name in ("dora/x.mp4", "emil.mp4"):
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).write_bytes(clip)
    assert {source.identity for source in find(tmp_path / "b").clips} == {"dora", "emil"}


def test_a_table_may_name_the_split(tmp_path: Path, clip: bytes) -> None:
    root = people(tmp_path, clip, {"a": 2}, table=False)
    rows = ["file,speaker,split", "a0_0.mp4,a0,test", "a0_1.mp4,a0,", "a1_0.mp4,a1,dev", "a1_1.mp4,a1,dev"]
    (root / "people.csv").write_text("\n".join(rows) + "\n")
    assert {c.path.name: c.split for c in find(root).clips} == {
        "a0_0.mp4": "test",
        "a0_1.mp4": "test",
        "a1_0.mp4": "dev",
        "a1_1.mp4": "dev",
    }


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a0_0.mp4,a0,test", "a0_1.mp4,a0,dev"], "a0 is in two splits"),
        (["a0_0.mp4,a0,valid"], "unknown split 'valid' of a0_0.mp4"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    tmp_path: Path, clip: bytes, rows: list[str], message: str
) -> None:
    root = people(tmp_path, clip, {"a": 1}, table=False)
    (root / "people.csv").write_text("\n".join(["clip,identity,split", *rows]) + "\n")
    with pytest.raises(UsageError, match=message):
        find(root)


def test_sound_files_lend_their_voices_in_a_split_of_their_own(tmp_path: Path, clip: bytes) -> None:
    root = people(tmp_path, clip, {"a": 2})
    for k in range(4):
        write_clip(root / "voices" / f"v{k}.m4a", None, speech(2.4, k))
    (root / "voices.csv").write_text(
        "file,speaker\n" + "".join(f"voices/v{k}.m4a,speaker{k // 2}\n" for k in range(4))
    )
    found = find(root)
    assert len(found.clips) == 4
    assert {voice.identity for voice in found.voices} == {"speaker0", "speaker1"}
    for name in ("speaker0", "speaker1"):
        assert len({voice.split for voice in found.voices if voice.identity == name}) == 1
    forged = find(root, CONFIG.model_copy(update={"forge_voices": True}))
    assert len(forged.clips) == 8
    assert [c.pixels for c in forged.clips if c.path.suffix == ".m4a"] == [0] * 4


def test_large_pictures_count_as_they_will_be_scaled(tmp_path: Path, clip: bytes) -> None:
    root = people(tmp_path, clip, {"a": 1})
    assert {c.pixels for c in find(root).clips} == {96 * 96}
    assert {c.pixels for c in find(root, CONFIG.model_copy(update={"short_side": 48})).clips} == {48 * 48}


def test_the_sound_of_a_clip_under_another_name_lends_no_voice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_clip(tmp_path / "anna.mp4", texture(75, 0), speech(3.0, 1))
    write_clip(tmp_path / "silent.mp4", texture(75, 0), None)
    write_clip(tmp_path / "s1.m4a", None, 0.4 * speech(3.0, 1)[4003:44_003], audio_bit_rate=32_000)
    write_clip(tmp_path / "s2.m4a", None, speech(3.0, 2))
    with caplog.at_level("INFO"):
        found = find(tmp_path)
    assert [lent.path.name for lent in found.voices] == ["s2.m4a"]
    assert found.left_out == {"s1.m4a": "the same recording as anna.mp4"}
    assert "s1.m4a is not used as a voice" in caplog.text


@pytest.mark.parametrize("sign", ["recipe.json", "forgeries.json"])
def test_clips_that_were_forged_here_are_no_authentic_material(
    tmp_path: Path, clip: bytes, sign: str, caplog: pytest.LogCaptureFixture
) -> None:
    people(tmp_path, clip, {"a": 1})
    (tmp_path / "made" / "test").mkdir(parents=True)
    for name in ("made/x.mp4", "made/test/y.mp4"):
        (tmp_path / name).write_bytes(clip)
    (tmp_path / "made" / sign).write_text("{}")
    assert {source.path.name for source in find(tmp_path).clips} == {"a0_0.mp4", "a0_1.mp4"}
    assert "2 files of forged data sets" in caplog.text
    with pytest.raises(InputError, match="only clips that were forged"):
        find(tmp_path / "made")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffClip;Identity\r\nsub/x.mp4;zoe\r\n",
        "clip\tidentity\nsub/x.mp4\tzoe\n",
        " Clip , IDENTITY \n sub/x.mp4 , zoe \n",
        "clip,identity\nsub\\x.mp4,zoe,one,too,many\n",
        "file,speaker\n./sub/x.mp4,zoe\n\nshort\n",
    ],
)
def test_tables_of_spreadsheets_and_other_systems_are_understood(
    tmp_path: Path, clip: bytes, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.mp4").write_bytes(clip)
    (tmp_path / "who.csv").write_bytes(text.encode())
    assert [source.identity for source in find(tmp_path).clips] == ["zoe"]
    assert not caplog.records


@pytest.mark.parametrize(
    "content", ["clip,identity\nä.mp4,x\n".encode("latin-1"), b"clip,identity\n" + b"x" * 200_000, None]
)
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, clip: bytes, content: bytes | None) -> None:
    (tmp_path / "x.mp4").write_bytes(clip)
    table = tmp_path / "who.csv"
    if content is None:
        table.mkdir()
    else:
        table.write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot be read as a table.*save it as CSV in UTF-8") as refused:
        find(tmp_path)
    assert refused.value.path == table


def test_a_table_that_does_not_fit_the_files_is_warned_of(
    tmp_path: Path, clip: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(clip)
    (tmp_path / "unrelated.csv").write_text("colour,size\nred,3\n")
    table = tmp_path / "who.csv"
    table.write_text("clip,identity\nelsewhere/a.mp4,zoe\n")
    find(tmp_path)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "who.csv: names files that do not exist, such as elsewhere/a.mp4" in caplog.text
    caplog.clear()
    table.write_text("clip,identity\na.mp4,zoe\n")
    find(tmp_path)
    (record,) = caplog.records
    assert "2 files are in no table, such as b.mp4" in record.getMessage()


def test_a_name_that_is_no_unicode_is_material_like_any_other(tmp_path: Path, clip: bytes) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    try:
        (tmp_path / name).write_bytes(clip)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert [source.identity for source in find(tmp_path).clips] == [os.fsdecode(b"caf\xe9")]
