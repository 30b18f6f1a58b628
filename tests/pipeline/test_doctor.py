"""The check of an installation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.errors import WeightsError
from pipeline import doctor


@pytest.fixture
def healthy(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose shipped weights are the tiny ones, with a cache folder of its own."""
    shipped = tmp_path / "weights"
    shipped.mkdir()
    (shipped / "compact").symlink_to(tiny_bundle)
    monkeypatch.setattr("pipeline.bundle.SHIPPED", shipped)
    monkeypatch.setenv("RT_DEEPLOC_CACHE", str(tmp_path / "cache"))
    return tmp_path


def checks() -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine()}


def test_a_healthy_installation(healthy: Path, cli: Callable[..., Any]) -> None:
    answer = cli("doctor")
    assert answer.code == 0, answer.out
    assert "FAIL" not in answer.out
    for name in (
        "Python",
        "torch",
        "av",
        "decoder pyav",
        "decoder ffmpeg",
        "processor",
        "CUDA",
        "compact weights",
    ):
        assert f"  {name}: " in answer.out


def test_what_is_found_is_said(healthy: Path) -> None:
    found = checks()
    assert "libavcodec 6" in found["decoder pyav"].found
    assert "SHA-256" in found["compact weights"].found
    assert found["cache folder"].found == str(healthy / "cache")
    assert found["processor"].found.split(" threads, ")[0].isdigit()


def test_missing_weights_are_a_failure_with_a_remedy(
    healthy: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.bundle.SHIPPED", healthy / "nothing")
    answer = cli("doctor")
    assert answer.code == 1
    assert "FAIL  compact weights: no RT-DeepLoc weights are shipped" in answer.out
    assert "pipeline train" in answer.out


def test_an_unwritable_cache_is_a_failure_that_names_the_variable(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (healthy / "file").touch()
    monkeypatch.setenv("RT_DEEPLOC_CACHE", str(healthy / "file" / "cache"))
    check = checks()["cache folder"]
    assert not check.ok
    assert str(healthy / "file") in check.found
    assert "RT_DEEPLOC_CACHE" in check.fix


def test_an_optional_decoder_may_be_absent_and_the_reference_may_not(
    healthy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise ImportError(f"no {name}")

    monkeypatch.setattr(doctor, "_decoder", absent)
    found = checks()
    assert found["decoder decord"].ok
    assert found["decoder decord"].found == "not available (ImportError: no decord)"
    assert not found["decoder pyav"].ok


def test_a_missing_package_is_named(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("torch", "no-such-package"))
    found = checks()
    assert found["torch"].ok
    assert (found["no-such-package"].ok, found["no-such-package"].found) == (False, "not installed")


def test_one_failing_check_hides_no_other(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise WeightsError("are damaged", "weights", "fetch them again")

    before = [check.name for check in doctor.examine()]
    monkeypatch.setattr(doctor, "_weights", broken)
    found = checks()
    assert list(found) == before
    assert found["compact weights"] == doctor.Check(
        "compact weights", "weights: are damaged", False, "fetch them again"
    )
