"""Damaged features are never read: every flipped bit, cut and foreign file is noticed and named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from store_factory import KEY, fill, sample

import data.store.entry
from data.errors import ForensicError, StoreError
from data.store.store import FeatureStore, StoreKey


def test_absent_entry_says_to_extract(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match="pipeline extract"):
        store.reader(KEY)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(store: FeatureStore, place: float, bit: int) -> None:
    path = fill(store, *sample(), extractor="TSN")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(StoreError):
        store.reader(KEY).verify()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_entry_is_refused_when_opened(store: FeatureStore, share: float) -> None:
    path = fill(store, *sample())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(StoreError, match="delete this file and run again") as caught:
        store.reader(KEY)
    assert caught.value.path == path
    assert isinstance(caught.value, ForensicError)
    assert caught.value.exit_code == 1


def test_entry_cut_while_a_reader_holds_it_is_noticed(store: FeatureStore) -> None:
    path = fill(store, *sample())
    reader = store.reader(KEY)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="delete"):
        reader.read(0, 12)
    path.unlink()
    with pytest.raises(StoreError, match="extract"):
        reader.read(0, 12)


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 4096, b"hello world, not features"])
def test_garbage_is_refused(store: FeatureStore, content: bytes) -> None:
    path = fill(store, *sample())
    path.write_bytes(content)
    with pytest.raises(StoreError, match="not an intact feature file"):
        store.reader(KEY)


def test_safetensors_of_others_are_refused(store: FeatureStore) -> None:
    path = fill(store, *sample())
    save_file({"weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(StoreError, match="not an intact feature file"):
        store.reader(KEY)


def test_entry_copied_to_another_key_is_refused(store: FeatureStore) -> None:
    path = fill(store, *sample())
    other = StoreKey("0" * 64, "tsn-1")
    store.path(other).parent.mkdir(parents=True)
    store.path(other).write_bytes(path.read_bytes())
    with pytest.raises(StoreError, match="belongs to another"):
        store.reader(other)


def test_other_schema_versions_are_refused(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.store.entry, "SCHEMA", "0")
    fill(store, *sample())
    monkeypatch.undo()
    with pytest.raises(StoreError, match="schema 0"):
        store.reader(KEY)
