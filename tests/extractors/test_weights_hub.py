"""Models of the hub, against a local server that imitates the two addresses that are asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import WeightsError
from extractors import weights
from extractors.weights import resolve

CONTENT = bytes(range(256)) * 4000  # 1 024 000 bytes

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = f"hub:lab/small@{COMMIT}"
CONFIG = b'{"model_type": "wav2vec2"}'
LISTING = f"/api/models/lab/small/revision/{COMMIT}?blobs=true"


def git_blob(content: bytes) -> str:
    """`git hash-object`: the SHA-1 of "blob <length>", a zero byte and the content."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def listing(files: dict[str, bytes]) -> bytes:
    """The hub's answer for one commit: LFS files carry a SHA-256, others git's name."""
    siblings = []
    for name, content in files.items():
        entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_blob(content)}
        if not name.endswith(".json"):
            entry |= {"blobId": "pointer", "lfs": {"sha256": hashlib.sha256(content).hexdigest()}}
        siblings.append(entry)
    return json.dumps({"siblings": siblings}).encode()


@pytest.fixture
def hub(server: Any) -> Any:
    files = {"config.json": CONFIG, "pytorch_model.bin": CONTENT, "tf_model.h5": b"never asked for"}
    server.files = {f"/lab/small/resolve/{COMMIT}/{name}": content for name, content in files.items()}
    server.files[LISTING] = listing(files)
    return server


def test_hub_model_is_fetched_once_and_then_needs_no_server(hub: Any, tmp_path: Path) -> None:
    folder = resolve(HUB, None, cache=tmp_path)
    assert (folder / "config.json").read_bytes() == CONFIG
    assert (folder / "pytorch_model.bin").read_bytes() == CONTENT
    assert len(hub.requests) == 3
    assert resolve(HUB, None, cache=tmp_path, offline=True) == folder
    assert len(hub.requests) == 3


def test_hub_model_prefers_safetensors(hub: Any, tmp_path: Path) -> None:
    files = {"config.json": CONFIG, "pytorch_model.bin": CONTENT, "model.safetensors": b"tensors"}
    hub.files[LISTING] = listing(files)
    hub.files[f"/lab/small/resolve/{COMMIT}/model.safetensors"] = b"tensors"
    folder = resolve(HUB, None, cache=tmp_path)
    assert (folder / "model.safetensors").exists()
    assert not (folder / "pytorch_model.bin").exists()


@pytest.mark.parametrize("name", ["config.json", "pytorch_model.bin"])
def test_hub_file_that_differs_from_the_commit_is_refused(hub: Any, tmp_path: Path, name: str) -> None:
    hub.files[f"/lab/small/resolve/{COMMIT}/{name}"] += b" "
    with pytest.raises(WeightsError, match=rf"{name}.*failed its check"):
        resolve(HUB, None, cache=tmp_path)
    assert not list(tmp_path.rglob(name))
    with pytest.raises(WeightsError, match="not in the cache"):
        resolve(HUB, None, cache=tmp_path, offline=True)


def test_hub_fetch_goes_on_where_it_stopped(hub: Any, tmp_path: Path) -> None:
    weights_path = f"/lab/small/resolve/{COMMIT}/pytorch_model.bin"
    del hub.files[weights_path]
    with pytest.raises(WeightsError, match="404"):
        resolve(HUB, None, cache=tmp_path)
    hub.files[weights_path] = CONTENT
    hub.requests.clear()
    resolve(HUB, None, cache=tmp_path)
    assert [path for path, _ in hub.requests] == [LISTING, weights_path]  # config.json was kept


def test_damage_in_a_fetched_folder_is_found(hub: Any, tmp_path: Path) -> None:
    folder = resolve(HUB, None, cache=tmp_path)
    (folder / "pytorch_model.bin").write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin: damaged"):
        resolve(HUB, None, cache=tmp_path)
    (folder / "verified.json").write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        resolve(HUB, None, cache=tmp_path)


def test_our_own_record_of_a_digest_outranks_the_hubs(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("lab/small", COMMIT, "pytorch_model.bin")
    monkeypatch.setitem(weights._HUB_DIGESTS, key, hashlib.sha256(b"the real ones").hexdigest())
    with pytest.raises(WeightsError, match="failed its check"):
        resolve(HUB, None, cache=tmp_path)


def test_hub_repository_without_weights_is_refused(hub: Any, tmp_path: Path) -> None:
    hub.files[LISTING] = listing({"config.json": CONFIG})
    with pytest.raises(WeightsError, match=r"holds no config\.json with weights"):
        resolve(HUB, None, cache=tmp_path)


@pytest.mark.parametrize(
    "name", ["lab/small", "lab/small@main", "small@" + COMMIT, "../../x@" + COMMIT, f"lab/small@{COMMIT}0"]
)
def test_models_without_a_pinned_commit_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="40 hex digits"):
        resolve(f"hub:{name}", None, cache=tmp_path)


@pytest.mark.parametrize("name", ["wav2vec2-xls-r-300m", "wav2vec2-base", "wav2vec2-large"])
def test_known_models_have_a_pinned_commit(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=rf"facebook--{name}@[0-9a-f]{{40}}: not in the cache, and offline"
    ) as caught:
        resolve(f"hub:facebook/{name}", None, cache=tmp_path, offline=True)
    assert "--set audio.weights=/path/to/folder" in str(caught.value)
