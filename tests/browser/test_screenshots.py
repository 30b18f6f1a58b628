"""The script that makes the README's pictures: one for each page, small, and of what it claims to show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import report_factory as factory
from scripts import loaded

from data.declared import Credentials, Declared, Tag
from pipeline.report.outputs import Outputs

DECLARED = Declared(Credentials("none"), (Tag("file", "encoder", "Lavf62"),))


@pytest.fixture(scope="module")
def screenshots() -> Iterator[ModuleType]:
    with loaded("tools/screenshots.py") as module:
        yield module


def test_each_page_becomes_a_small_picture(
    browser: Any, screenshots: ModuleType, tmp_path: Path, clip: Path
) -> None:
    with Outputs(tmp_path / "reports", many=True, html=True) as outputs:
        for report in (factory.forged_visual(declared=DECLARED), factory.authentic("machine_voice.mp4")):
            media = tmp_path / report.input.name
            shutil.copy(clip, media)
            outputs.add(Path(report.input.name), report, media, partial(factory.pictures, report))
    paths = list(screenshots.shoot(browser, tmp_path / "reports", tmp_path / "docs" / "pictures"))
    assert [path.stem for path in paths] == ["forged", "voice", "folder", "phone-dark", "declared"]
    assert all(path.stat().st_size <= 250_000 for path in paths)
    images = {path.stem: cv2.imread(str(path)) for path in paths}
    assert images["forged"].shape[1] == 1200
    assert images["forged"].shape[0] > 1300  # as far as the legend below the timeline
    assert images["folder"].shape[0] < 900
    assert images["declared"].shape[0] < 900
    assert images["phone-dark"].shape[:2] == (1266, 585)  # 844 x 390 at 1.5 pixels each
    assert images["phone-dark"].mean() < 80 < 160 < images["voice"].mean()


def test_a_picture_of_few_colours_keeps_them_and_one_of_noise_is_refused(screenshots: ModuleType) -> None:
    flat = np.zeros((400, 400, 3), np.uint8)
    flat[100:300, 100:300] = (10, 200, 30)
    back = cv2.imdecode(
        np.frombuffer(screenshots.small(cv2.imencode(".png", flat)[1].tobytes()), np.uint8), cv2.IMREAD_COLOR
    )
    np.testing.assert_array_equal(back, flat)
    noise = np.random.default_rng(0).integers(0, 256, (520, 520, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="more than 250000"):
        screenshots.small(cv2.imencode(".png", noise)[1].tobytes())
    fewer = noise[:300, :300]  # 270,000 bytes of noise in full colour, 90,000 in 256 colours
    assert len(screenshots.small(cv2.imencode(".png", fewer)[1].tobytes())) < 100_000
