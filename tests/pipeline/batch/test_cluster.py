"""Ray: two nodes of a cluster on this machine give the store that local workers give, and may be lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import media_factory
import pytest

from data.store.ledger import Ledger
from data.store.store import FeatureStore
from pipeline.batch.cluster import RayEngine
from pipeline.batch.local import LocalEngine
from pipeline.batch.plan import Plan
from pipeline.batch.run import execute, plan_run
from pipeline.batch.slots import Engine
from pipeline.batch.tally import Tally
from pipeline.batch.worker import WorkOrder
from pipeline.bundle import NamedSetup, name_setup

ray = pytest.importorskip("ray", reason="needs the extra `ray`")
CLIPS = 8


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    whole = media_factory.make("cfr25", folder).path.read_bytes()
    made = [folder / f"clip{number}.mp4" for number in range(CLIPS)]
    for number, path in enumerate(made):
        path.write_bytes(whole + bytes([0, 0, 0, 9]) + b"free" + bytes([number]))
    (folder / "cfr25.mp4").unlink(missing_ok=True)
    return made


@pytest.fixture(scope="module")
def described(tiny_bundle: Path) -> NamedSetup:
    return name_setup(tiny_bundle, "cpu")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head that does no work, and two nodes with one processor each."""
    from ray.cluster_utils import Cluster

    root = str(Path(__file__).resolve().parents[3])
    monkeypatch.setenv("PYTHONPATH", root)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


def extract(
    engine: Engine, clips: list[Path], place: Path, weights: Path, described: NamedSetup, events: Any = None
) -> Tally:
    store = FeatureStore(place)
    root = clips[0].parent
    plan: Plan = plan_run(root, [clip.relative_to(root) for clip in clips], store, described.setup)
    order = WorkOrder(str(weights), (), str(place), "cpu")
    tally = Tally(plan, events=events)
    execute(plan, engine, order, 2, described, store, tally)
    return tally


def entries(store: Path) -> dict[str, bytes]:
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in store.rglob("*.safetensors")}


class Watch:
    """Hears of events as they are written, and acts on the first answer."""

    def __init__(self, act: Any) -> None:
        self._act, self.acted = act, threading.Event()

    def write(self, line: str) -> None:
        if json.loads(line)["event"] == "finished" and not self.acted.is_set():
            self.acted.set()
            self._act()

    def flush(self) -> None:
        pass


def test_a_node_may_be_lost_and_the_store_is_that_of_local_workers(
    cluster: Any, clips: list[Path], tmp_path: Path, tiny_bundle: Path, described: NamedSetup
) -> None:
    watch = Watch(lambda: cluster.remove_node(cluster.nodes.pop(), allow_graceful=False))
    tally = extract(RayEngine(), clips, tmp_path / "ray", tiny_bundle, described, watch)
    assert watch.acted.is_set()
    assert tally.failed == []
    assert tally.summary().done + tally.summary().found == CLIPS

    extract(LocalEngine(), clips, tmp_path / "local", tiny_bundle, described)
    assert len(entries(tmp_path / "local")) == 2 * CLIPS
    assert entries(tmp_path / "ray") == entries(tmp_path / "local")
    with Ledger(FeatureStore(tmp_path / "ray")) as ledger:
        assert sorted(Path(row.file).name for row in ledger.load()) == [clip.name for clip in clips]
