"""The notebook runs from the raw clip to the figure, and is kept without outputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, which is not installed")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient, which is not installed")
pytest.importorskip("ipykernel", reason="needs ipykernel, which is not installed")
pytest.importorskip("matplotlib", reason="needs matplotlib, which is not installed")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "clip_to_figure.ipynb"
PATIENCE_S = 600  # only against a kernel that hangs


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_kept_without_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_it_runs_from_the_clip_to_the_figure(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "examples" / "forged_visual.mp4", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=PATIENCE_S, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [
        output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]
    figures = [
        output.data["image/svg+xml"] for output in outputs if "image/svg+xml" in output.get("data", {})
    ]
    assert len(figures) == 1
    assert "</svg>" in figures[0]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "forged_visual.mp4: " in printed
    assert "Content Credentials: none" in printed
    assert "file: encoder = Lavf" in printed
