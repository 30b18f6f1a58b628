"""Packs: the same entries in a few tar files, found without unpacking, and never lost on the way there."""

from __future__ import annotations

import io
import pickle
import random
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors
from store_factory import KEY, content, fill, filled, keys, objects, sample

import data.store.packing
import data.store.packs
from data.errors import StoreError, UsageError
from data.store.entry import StoreKey, entry_name
from data.store.packing import drop, pack, rebuild, tidy
from data.store.packs import INDEX
from data.store.store import FeatureStore
from pipeline.training.dataset import Draw, Entry, FeatureDataset, collate

LONG = "x" * 128


# --- packing --------------------------------------------------------------------------------------------------


def test_packed_entries_read_as_before(anywhere: FeatureStore) -> None:
    wanted = keys(5, "tsn-1", LONG)
    before = filled(anywhere, *wanted)
    outcome = pack(anywhere, 4000)
    assert (outcome.entries, outcome.damaged) == (10, [])
    assert outcome.packs > 1
    packs = {data.store.packs.pack_name(k + 1) for k in range(outcome.packs)}
    assert {name for name in objects(anywhere) if not name.endswith(".npy")} == {INDEX, *packs}
    assert content(anywhere, wanted) == before
    assert content(pickle.loads(pickle.dumps(anywhere)), wanted) == before
    assert not anywhere.contains(StoreKey("f" * 64, "tsn-1"))
    assert not anywhere.contains(StoreKey(wanted[0].media, "other"))


def test_reader_that_opened_before_goes_on(anywhere: FeatureStore) -> None:
    wanted = keys(3)
    filled(anywhere, *wanted)
    readers = [anywhere.reader(key) for key in wanted]
    before = [reader.read(0, reader.n).values for reader in readers]
    readers += [pickle.loads(pickle.dumps(reader)) for reader in readers]
    pack(FeatureStore(anywhere.root))
    for reader, values in zip(readers, before * 2, strict=True):
        np.testing.assert_array_equal(reader.read(0, reader.n).values, values)
        assert str(reader.path).endswith("packs/000001.tar")


def test_pack_is_a_plain_tar_of_safetensors(store: FeatureStore) -> None:
    wanted = keys(3, "tsn-1", LONG)
    originals = {}
    filled(store, *wanted)
    for key in wanted:
        originals[entry_name(key)] = Path(store.path(key)).read_bytes()
    pack(store)
    with tarfile.open(Path(store.root) / "packs" / "000001.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert members == originals
    assert load_safetensors(members[entry_name(wanted[4])])["values"].shape == (4, 3)


def test_packing_again_adds_what_is_new(store: FeatureStore) -> None:
    first, second = keys(6)[:3], keys(6)[3:]
    before = filled(store, *first)
    pack(store)
    before |= filled(store, *second)
    assert pack(store).entries == 3
    assert pack(store).entries == 0
    assert content(store, first + second) == before
    assert sorted(name for name in objects(store) if name.endswith(".tar")) == [
        "packs/000001.tar",
        "packs/000002.tar",
    ]


def test_entry_written_after_packing_wins_and_is_packed_anew(store: FeatureStore) -> None:
    fill(store, *sample(3))
    pack(store)
    fill(store, *sample(9))
    assert store.reader(KEY).n == 9
    assert pack(store).entries == 1
    assert not Path(store.path(KEY)).exists()
    assert store.reader(KEY).n == 9


def test_entry_written_while_it_is_packed_stays(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, *sample(3))
    real = store.packs.publish

    def publish(*arguments: object) -> None:
        fill(FeatureStore(store.root), *sample(9))
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store.packs, "publish", publish)
    pack(store)
    assert Path(store.path(KEY)).exists()
    assert store.reader(KEY).n == 9


def test_damaged_entry_stays_loose_and_is_told(store: FeatureStore) -> None:
    wanted = keys(4)
    before = filled(store, *wanted)
    path = Path(store.path(wanted[2]))
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    outcome = pack(store)
    assert outcome.entries == 3
    assert [error.path for error in outcome.damaged] == [path]
    assert path.read_bytes() == damaged
    del before[wanted[2]]
    assert content(store, list(before)) == before
    with tarfile.open(Path(store.root) / "packs" / "000001.tar") as tar:
        assert len(tar.getnames()) == 3


def test_nothing_to_pack_makes_nothing(store: FeatureStore) -> None:
    assert pack(store).packs == 0
    assert "packs/index.json" not in objects(store)


def test_second_pack_is_refused_while_the_first_runs(anywhere: FeatureStore) -> None:
    filled(anywhere, *keys(2))
    other = FeatureStore(anywhere.root)
    with other.claim("packs"), pytest.raises(UsageError, match="another process is changing the packs"):
        pack(anywhere)
    assert pack(anywhere).entries == 2


def test_index_that_somebody_else_has_changed_is_not_replaced(store: FeatureStore) -> None:
    filled(store, *keys(2))
    pack(store)
    index = store.packs.index()
    store.packs.publish(index.changed())
    with pytest.raises(StoreError, match="another process is changing the packs"):
        store.packs.publish(index.changed())


def test_place_without_exclusive_creation_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore("memory://never-packed")
    monkeypatch.setattr(type(store.place), "exclusive", False)
    with pytest.raises(UsageError, match="lacks exclusive creation"):
        pack(store)


def test_full_disk_loses_nothing(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = keys(4)
    before = filled(store, *wanted)

    class Full(io.FileIO):
        def write(self, payload: object) -> int:
            room = 3000 - self.tell()
            if room <= 0:
                raise OSError(28, "No space left on device")
            return super().write(memoryview(payload)[:room])  # type: ignore[arg-type]

    monkeypatch.setattr("data.store.shards.io.FileIO", Full)
    with pytest.raises(StoreError, match="No space left on device"):
        pack(store)
    monkeypatch.undo()
    assert not list((Path(store.root) / ".incoming").iterdir())
    assert content(store, wanted) == before
    assert all(Path(store.path(key)).exists() for key in wanted)


# --- training -------------------------------------------------------------------------------------------------


def test_training_batch_from_packs_is_bit_identical(store: FeatureStore) -> None:
    rng, entries = np.random.default_rng(1), []
    for k, media in enumerate(key.media for key in keys(6)):
        visual, audio = StoreKey(media, "v"), StoreKey(media, "a")
        for key, dim in ((visual, 6), (audio, 4)):
            fill(
                store,
                rng.normal(size=(20 + 3 * k, dim)).astype(np.float32),
                rng.random(20 + 3 * k) > 0.2,
                key,
            )
        entries.append(Entry(visual, audio, k % 4))

    def batch(source: FeatureStore) -> dict[str, object]:
        dataset = FeatureDataset(source, entries, 6, 4, 10, 0)
        return collate([dataset[Draw(k, 7 * k)] for k in range(6)])  # type: ignore[return-value]

    loose = batch(store)
    pack(store, 5000)
    packed = batch(FeatureStore(store.root))
    assert all(bool((loose[name] == packed[name]).all()) for name in loose)  # type: ignore[attr-defined]


# --- tidying --------------------------------------------------------------------------------------------------


def test_dropped_entries_are_absent_and_half_dead_packs_are_rewritten(anywhere: FeatureStore) -> None:
    wanted = keys(8)
    before = filled(anywhere, *wanted)
    pack(anywhere)
    readers = [anywhere.reader(key) for key in wanted]
    drop(anywhere, wanted[:3])
    assert tidy(anywhere, dry=False).names == []
    drop(anywhere, wanted[3:6])
    assert not any(anywhere.contains(key) for key in wanted[:6])
    told = tidy(anywhere, dry=True)
    assert told.rewritten == [1]
    assert content(anywhere, wanted[6:]) == {key: before[key] for key in wanted[6:]}
    assert tidy(anywhere, dry=False) == told
    assert sorted(name for name in objects(anywhere) if name.endswith(".tar")) == ["packs/000002.tar"]
    assert content(anywhere, wanted[6:]) == {key: before[key] for key in wanted[6:]}
    for reader in readers[6:]:
        reader.verify()  # it opened the pack that is gone
    assert tidy(anywhere, dry=False).names == []


def test_leftovers_of_a_kill_are_removed(store: FeatureStore) -> None:
    wanted = keys(3)
    before = filled(store, *wanted)
    loose = {key: Path(store.path(key)).read_bytes() for key in wanted}
    pack(store)
    # the kill came after the index was published, and one more after a pack was
    for key, payload in loose.items():
        store.place.write(entry_name(key), payload)
    store.place.write("packs/000002.tar", b"orphan")
    store.place.write("packs/index-000099.npy", b"orphan")
    store.place.write("packs/README", b"somebody's")
    told = tidy(store, dry=True)
    assert set(told.names) == {*map(entry_name, wanted), "packs/000002.tar", "packs/index-000099.npy"}
    assert objects(store) >= set(told.names)
    assert tidy(store, dry=False) == told
    assert not objects(store) & set(told.names)
    assert "packs/README" in objects(store)
    assert content(store, wanted) == before


def test_loose_entry_that_differs_from_its_packed_twin_is_no_leftover(store: FeatureStore) -> None:
    fill(store, *sample(3))
    pack(store)
    fill(store, *sample(9))
    assert tidy(store, dry=False).names == []
    assert store.reader(KEY).n == 9


def test_loose_copy_of_a_damaged_packed_entry_is_kept(store: FeatureStore) -> None:
    path = fill(store, *sample(3))
    payload = path.read_bytes()
    pack(store)
    pack_path = Path(store.root) / "packs" / "000001.tar"
    damaged = bytearray(pack_path.read_bytes())
    damaged[512 + len(payload) - 1] ^= 1
    pack_path.write_bytes(damaged)
    store.place.write(entry_name(KEY), payload)
    assert tidy(store, dry=False).names == []
    assert pack(store).entries == 1
    store.reader(KEY).verify()


def test_rewriting_keeps_a_pack_with_damaged_entries(store: FeatureStore) -> None:
    wanted = keys(6)
    filled(store, *wanted)
    pack(store)
    index = store.packs.index()
    victim = next(iter(entry for entry in index.entries(1)))
    path = Path(store.root) / "packs" / "000001.tar"
    damaged = bytearray(path.read_bytes())
    damaged[victim.offset + victim.size - 1] ^= 1
    path.write_bytes(damaged)
    others = [key for key in wanted if key != victim.key]
    drop(store, others[:4])
    tidy(store, dry=False)
    store.reader(others[4]).verify()
    # the way out must not be to delete the pack
    with pytest.raises(StoreError, match=r"checksum.*pipeline store verify --remove"):
        store.reader(victim.key).verify()


def test_rebuilding_from_damaged_packs_finds_what_is_whole(
    store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = keys(12)
    before = filled(store, *wanted)
    pack(store, 4000)
    folder = Path(store.root) / "packs"
    packs = sorted(folder.glob("*.tar"))
    packs[0].write_bytes(b"no tar at all" * 100)
    middle = packs[1].read_bytes()
    packs[1].write_bytes(middle[: len(middle) // 2])
    (folder / "index.json").write_text("?")
    rebuild(store)
    assert caplog.text.count("is damaged") == 2
    found = [key for key in wanted if store.contains(key)]
    assert 0 < len(found) < len(wanted)
    assert content(store, found) == {key: before[key] for key in found}


def test_order_of_writing_does_not_matter_to_lookups(store: FeatureStore) -> None:
    wanted = keys(20)
    random.Random(1).shuffle(wanted)
    for part in (wanted[:7], wanted[7:9], wanted[9:]):
        filled(store, *part)
        pack(store, 3000)
    assert all(store.contains(key) for key in wanted)
    rows = store.packs.index().rows
    assert [row["media"].tobytes() for row in rows] == sorted(bytes.fromhex(key.media) for key in wanted)


# --- kill -9 --------------------------------------------------------------------------------------------------

PACKER = """
import os, sys, time
from data.store.packing import pack, tidy
from data.store.store import FeatureStore
os.write(1, b".")
store = FeatureStore(sys.argv[1])
tidy(store, dry=False)
# A pause at each entry, without which a fast machine is done before it is killed.
pack(store, 20_000, progress=lambda _: (os.write(1, b"."), time.sleep(0.002)))
os.write(1, b"!")
"""


def test_kill_9_while_packing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    here, store, rng = Path(data.store.packing.__file__).parents[2], FeatureStore(tmp_path), random.Random(3)
    wanted, before, killed = keys(120, "a", "b"), dict[StoreKey, bytes](), 0
    for number in range(10):
        new = wanted[number * 24 : number * 24 + 24]  # an extraction goes on meanwhile
        before |= filled(store, *new)
        child = subprocess.Popen([sys.executable, "-c", PACKER, tmp_path], cwd=here, stdout=subprocess.PIPE)
        assert child.stdout is not None
        told = child.stdout.read(rng.randint(1, 24))  # of at least 25
        time.sleep(rng.choice([0, rng.uniform(0, 0.05)]))
        child.kill()
        told += child.stdout.read()
        child.stdout.close()
        child.wait()
        killed += b"!" not in told
        assert content(FeatureStore(tmp_path), before) == before
    assert killed > 3, "no kill hit a packing: the test proves nothing"
    store = FeatureStore(tmp_path)  # which sweeps what the last one left
    pack(store, 20_000)
    tidy(store, dry=False)
    assert content(store, before) == before
    store.place.scratch()
    left = {name for name in objects(store) if not name.startswith("packs/")}
    assert left == set()
    assert [entry.key for entry in store.packs.index().entries()] == sorted(before)
    assert not list((tmp_path / ".incoming").iterdir())


def test_packing_beside_a_writer_loses_nothing(tmp_path: Path) -> None:
    store, wanted = FeatureStore(tmp_path), keys(60, "a", "b")
    before = dict[StoreKey, bytes]()
    writer = threading.Thread(target=lambda: before.update(filled(FeatureStore(tmp_path), *wanted)))
    writer.start()
    while writer.is_alive():
        pack(store, 5000)
        tidy(store, dry=False)
    writer.join()
    pack(store, 5000)
    assert len(before) == 120
    assert content(store, wanted) == before
    assert {name for name in objects(store) if name.endswith(".safetensors")} == set()
