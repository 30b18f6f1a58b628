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
LISTING = f"/api/models/lab/small/tree/{COMMIT}?recursive=true&expand=false"


def git_blob(content: bytes) -> str:
    """`git hash-object`: the SHA-1 of "blob <length>", a zero byte and the content."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def listing(files: dict[str, bytes]) -> bytes:
    """The hub's answer for one commit: LFS files carry a SHA-256, others git's name."""
    entries = []
    for name, content in files.items():
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git_blob(content)}
        if not name.endswith(".json"):
            lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            entry |= {"oid": "pointer", "lfs": lfs}
        entries.append(entry)
    return json.dumps(entries).encode()


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
    files = [path.rpartition("/")[2] for path, _ in hub.requests if "/resolve/" in path]
    assert files == ["config.json"] * 2 + ["pytorch_model.bin"] * 2  # each first asked about, then fetched
    hub.requests.clear()
    assert resolve(HUB, None, cache=tmp_path, offline=True) == folder
    assert not hub.requests


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
    asked = [path for path, _ in hub.requests]
    assert asked == [LISTING, f"HEAD {weights_path}", weights_path, LISTING]  # config.json was kept


def test_hub_download_that_breaks_off_is_resumed(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)  # by default 10 MB
    weights_path = f"/lab/small/resolve/{COMMIT}/pytorch_model.bin"
    hub.breaks[weights_path] = 300_000
    heard: list[tuple[str, int | None, int | None]] = []
    folder = resolve(HUB, None, tmp_path, hook=lambda *event: heard.append(event))
    assert (folder / "pytorch_model.bin").read_bytes() == CONTENT
    assert [wanted for path, wanted in hub.requests if path == weights_path] == [None, "bytes=300000-"]
    done = [count for step, count, _ in heard if step == "fetch pytorch_model.bin"]
    assert done == sorted(done)  # type: ignore[type-var]
    assert heard[-1] == ("fetch pytorch_model.bin", len(CONTENT), len(CONTENT))


def test_hub_is_not_asked_in_the_librarys_offline_mode(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", True
    )  # what HF_HUB_OFFLINE=1 sets at import
    with pytest.raises(WeightsError, match=r"offline mode.*--set audio\.weights=") as caught:
        resolve(HUB, None, cache=tmp_path)
    assert caught.value.exit_code == 5
    assert not hub.requests


def test_hub_fault_that_passes_is_tried_again(hub: Any, tmp_path: Path) -> None:
    hub.failures = [503]
    assert (resolve(HUB, None, cache=tmp_path) / "config.json").read_bytes() == CONFIG


def test_unreachable_hub_ends_in_an_error_with_advice(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(WeightsError, match="check the network"):
        resolve(HUB, None, cache=tmp_path)


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
