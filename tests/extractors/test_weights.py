"""Where weights come from: paths, the weights folder, and a local server that stands for OpenMMLab's."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from data.errors import WeightsError
from extractors import weights
from extractors.weights import resolve, weights_sha256

CONTENT = bytes(range(256)) * 4000  # 1 024 000 bytes
NAME = f"tsn_small_20210301-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"
SOURCE = f"openmmlab:{NAME}"
URL_PATH = f"/tsn_small/{NAME}"


@pytest.fixture
def openmmlab(server: Any) -> Any:
    server.files[URL_PATH] = CONTENT
    return server


# --- local and shipped weights ---------------------------------------------------------------------------------------


def test_local_paths_are_taken_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "a:strange name.pth"
    file.write_bytes(b"x")
    assert resolve(str(file), None) == file
    assert resolve(str(tmp_path), None) == tmp_path


def test_missing_local_path_is_named() -> None:
    with pytest.raises(WeightsError, match=r"no/such/file\.pth: weights not found") as caught:
        resolve("no/such/file.pth", None)
    assert caught.value.exit_code == 5


def test_shipped_weights_lie_in_the_weights_folder(tmp_path: Path) -> None:
    (tmp_path / "tsn.safetensors").write_bytes(b"x")
    assert resolve("shipped:tsn.safetensors", tmp_path) == tmp_path / "tsn.safetensors"


def test_shipped_weights_without_a_folder_or_file_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="--weights DIR"):
        resolve("shipped:tsn.safetensors", None)
    with pytest.raises(WeightsError, match=r"tsn\.safetensors: missing from the weights folder"):
        resolve("shipped:tsn.safetensors", tmp_path)


def test_shipped_weights_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "bundle").mkdir()
    with pytest.raises(WeightsError, match="outside"):
        resolve("shipped:../secret", tmp_path / "bundle")


def test_unknown_schemes_are_refused_with_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="use shipped:FILE, openmmlab:FILE"):
        resolve("s3:bucket/file.pth", None)


# --- OpenMMLab -------------------------------------------------------------------------------------------------------


def test_fetches_once_and_then_needs_no_server(openmmlab: Any, tmp_path: Path) -> None:
    path = resolve(SOURCE, None, cache=tmp_path)
    assert path == tmp_path / "openmmlab" / NAME
    assert path.read_bytes() == CONTENT
    assert resolve(SOURCE, None, cache=tmp_path, offline=True) == path
    assert openmmlab.requests == [(URL_PATH, None)]
    assert sorted(file.name for file in path.parent.iterdir()) == [NAME, f"{NAME}.lock"]


def test_the_real_address_follows_the_model_zoo() -> None:
    with pytest.raises(WeightsError) as caught:
        resolve(
            "openmmlab:tsn_r50_320p_1x1x8_50e_activitynet_clip_rgb_20210301-c0f04a7e.pth",
            None,
            Path("none"),
            True,
        )
    assert (
        "https://download.openmmlab.com/mmaction/recognition/tsn/tsn_r50_320p_1x1x8_50e_activitynet_clip_rgb/"
        "tsn_r50_320p_1x1x8_50e_activitynet_clip_rgb_20210301-c0f04a7e.pth"
    ) in str(caught.value)
    assert not Path("none").exists()


def test_cache_folder_comes_from_the_environment(
    openmmlab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RT_DEEPLOC_CACHE", str(tmp_path / "named"))
    assert resolve(SOURCE, None).is_relative_to(tmp_path / "named")
    monkeypatch.delenv("RT_DEEPLOC_CACHE")
    monkeypatch.setattr(weights.platformdirs, "user_cache_dir", lambda app: str(tmp_path / app))
    assert resolve(SOURCE, None).is_relative_to(tmp_path / "rt-deeploc")


def test_progress_reaches_the_hook(openmmlab: Any, tmp_path: Path) -> None:
    heard: list[tuple[str, int | None, int | None]] = []
    resolve(SOURCE, None, cache=tmp_path, hook=lambda *event: heard.append(event))
    assert {step for step, _, _ in heard} == {f"fetch {NAME}"}
    assert heard[-1][1:] == (len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)  # type: ignore[type-var]


def test_interrupted_download_is_tried_again(openmmlab: Any, tmp_path: Path) -> None:
    openmmlab.breaks[URL_PATH] = 300_000
    heard: list[int | None] = []
    path = resolve(SOURCE, None, cache=tmp_path, hook=lambda step, done=None, total=None: heard.append(done))
    assert path.read_bytes() == CONTENT
    assert openmmlab.requests == [(URL_PATH, None)] * 2
    assert heard == sorted(heard)  # type: ignore[type-var]
    assert heard[-1] == len(CONTENT)


def test_fetched_file_can_be_read_by_others(openmmlab: Any, tmp_path: Path) -> None:
    assert resolve(SOURCE, None, cache=tmp_path).stat().st_mode & 0o777 == 0o644


def test_passing_faults_of_the_server_are_tried_again(openmmlab: Any, tmp_path: Path) -> None:
    openmmlab.failures = [503, 500, 429]
    assert resolve(SOURCE, None, cache=tmp_path).read_bytes() == CONTENT
    assert len(openmmlab.requests) == 4


def test_lasting_faults_end_in_an_error_with_advice(openmmlab: Any, tmp_path: Path) -> None:
    openmmlab.failures = [503] * 9
    with pytest.raises(WeightsError, match="503") as caught:
        resolve(SOURCE, None, cache=tmp_path)
    assert f"--set visual.weights=/path/to/{NAME}" in str(caught.value)
    assert len(openmmlab.requests) == 4


def test_refusal_is_not_tried_again(server: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="404"):
        resolve(SOURCE, None, cache=tmp_path)
    assert len(server.requests) == 1


def test_unreachable_server_ends_in_an_error_with_advice(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RT_DEEPLOC_OPENMMLAB_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(WeightsError, match="check the network"):
        resolve(SOURCE, None, cache=tmp_path)


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"\x00", b"<html>an error page</html>"])
def test_wrong_content_is_an_error_and_leaves_no_file(openmmlab: Any, tmp_path: Path, content: bytes) -> None:
    openmmlab.files[URL_PATH] = content
    with pytest.raises(WeightsError, match="SHA-256 begins"):
        resolve(SOURCE, None, cache=tmp_path)
    assert [file.name for file in (tmp_path / "openmmlab").iterdir()] == [f"{NAME}.lock"]


def test_damage_in_the_cache_is_found(openmmlab: Any, tmp_path: Path) -> None:
    path = resolve(SOURCE, None, cache=tmp_path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match="delete it"):
        resolve(SOURCE, None, cache=tmp_path, offline=True)


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="run once with a network") as caught:
        resolve(SOURCE, None, cache=tmp_path / "cache", offline=True)
    assert "visual.weights" in str(caught.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "name", ["tsn.pth", "tsn_20210301-XYZ.pth", "../x_20210301-c0f04a7e.pth", "a/b_20210301-c0f04a7e.pth"]
)
def test_names_without_a_checksum_or_with_a_path_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="NAME_YYYYMMDD-HASH"):
        resolve(f"openmmlab:{name}", None, cache=tmp_path)


def test_two_fetches_at_once_download_once(openmmlab: Any, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolve(SOURCE, None, cache=tmp_path))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(openmmlab.requests) == 1


def test_cache_that_cannot_be_written_names_the_way_out(openmmlab: Any, tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    with pytest.raises(WeightsError, match="RT_DEEPLOC_CACHE"):
        resolve(SOURCE, None, cache=tmp_path / "cache")


# --- digests ---------------------------------------------------------------------------------------------------------


def test_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"abc")
    # printf abc | sha256sum
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert weights_sha256(tmp_path / "w.pth") == expected


def test_digest_of_a_folder_is_over_its_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, bytes]) -> str:
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return weights_sha256(tmp_path / name)

    base = folder("base", {"a": b"1", "sub/b": b"2"})
    assert folder("same", {"sub/b": b"2", "a": b"1"}) == base
    assert folder("hidden", {"sub/b": b"2", "a": b"1", ".cache/x": b"3", "verified.json": b"{}"}) == base
    assert folder("renamed", {"a": b"1", "sub/c": b"2"}) != base
    assert folder("changed", {"a": b"1", "sub/b": b"3"}) != base
    lines = f"a\0{hashlib.sha256(b'1').hexdigest()}\nsub/b\0{hashlib.sha256(b'2').hexdigest()}\n"
    assert base == hashlib.sha256(lines.encode()).hexdigest()


def test_digest_follows_a_file_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"old")
    before = weights_sha256(path)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(path)
    assert weights_sha256(path) == hashlib.sha256(b"new").hexdigest() != before


def test_digest_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights found"):
        weights_sha256(tmp_path)
    with pytest.raises(WeightsError, match="no weights found"):
        weights_sha256(tmp_path / "absent")
