"""The driver: every file gets an answer, whoever dies on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from fake_engine import SETUP, FakeEngine, FakeSlot, done

from configs.schema import BatchConfig
from data.errors import StoreError, UsageError, WeightsError
from data.store.ledger import Ledger, LedgerRow
from data.store.store import FeatureStore
from pipeline.batch.driver import Driver
from pipeline.batch.messages import Alive, Fatal
from pipeline.batch.plan import Plan
from pipeline.batch.slots import Gone, Inbox
from pipeline.batch.tally import Summary, Tally
from pipeline.batch.worker import WorkOrder

ORDER = WorkOrder("compact", (), "store", "cpu")


class Clock:
    """Seconds that pass when a test says so; each look takes `tick_s`."""

    def __init__(self, tick_s: float = 0.0) -> None:
        self.now_s, self.tick_s = 0.0, tick_s

    def __call__(self) -> float:
        self.now_s += self.tick_s
        return self.now_s


class Run:
    """A finished run: what the ledger holds, and the numbers."""

    def __init__(self, store: FeatureStore, files: list[str], summary: Summary) -> None:
        with Ledger(store) as ledger:
            ledger.load()
            self.rows: dict[str, LedgerRow | None] = {
                Path(file).name: ledger.status(file, *stamp_of(file), SETUP) for file in files
            }
        self.summary = summary

    @property
    def status(self) -> dict[str, str]:
        return {name: row.status if row is not None else "-" for name, row in self.rows.items()}


def stamp_of(file: str) -> tuple[int, int]:
    try:
        status = Path(file).stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{name}.mp4" for name in "abcdefgh"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return [str(path) for path in paths]


def run(
    tmp_path: Path,
    engine: FakeEngine,
    files: Iterable[str],
    workers: int = 1,
    clock: Callable[[], float] | None = None,
    **limits: Any,
) -> Run:
    chosen = list(files)
    store = FeatureStore(tmp_path / "store")
    tally = Tally(Plan(tuple(chosen)))
    with Ledger(store) as ledger:
        ledger.load()
        timed = {"clock": clock} if clock is not None else {}
        Driver(engine, ORDER, workers, BatchConfig(**limits), SETUP, ledger, tally, **timed).run(chosen)
    return Run(store, chosen, tally.close())


def dies_on(*names: str) -> Callable[[FakeSlot, str], None]:
    def act(slot: FakeSlot, path: str) -> None:
        if slot.gone:
            return
        if Path(path).name in names:
            slot.begin(path)
            slot.end("signal SIGSEGV")
        else:
            done(slot, path)

    return act


def test_every_file_is_given_out_once_and_written_down(tmp_path: Path, files: list[str]) -> None:
    engine = FakeEngine()
    found = run(tmp_path, engine, files, workers=2)
    assert set(found.status.values()) == {"done"}
    assert all(len(engine.who(file)) == 1 for file in files)
    assert found.summary.done == 8
    assert found.summary.media_hours == pytest.approx(8 * 2.0 / 3600)
    assert sorted(engine.stopped) == [1, 2]


def test_a_worker_holds_no_more_files_than_it_may(tmp_path: Path, files: list[str]) -> None:
    held: list[int] = []

    def act(slot: FakeSlot, path: str) -> None:
        held.append(len(slot.pushed) - answered[0])
        if len(slot.pushed) - answered[0] == 4 or len(slot.pushed) == len(files):
            for file in slot.pushed[answered[0] :]:
                slot.answer(file)
            answered[0] = len(slot.pushed)

    answered = [0]
    run(tmp_path, FakeEngine(act), files)
    assert max(held) == 4  # one decoder: two decoded ahead, the one that it is at, one on the way


def test_a_file_that_kills_its_worker_twice_has_failed_and_the_others_have_not(
    tmp_path: Path, files: list[str]
) -> None:
    engine = FakeEngine(dies_on("c.mp4"))
    found = run(tmp_path, engine, files)
    assert {name for name, status in found.status.items() if status == "failed"} == {"c.mp4"}
    row = found.rows["c.mp4"]
    assert row is not None
    assert (row.kind, row.reason) == ("WorkerDied", "the worker died on it (signal SIGSEGV)")
    assert len(engine.who(files[2])) == 2
    assert found.summary.failures == {"WorkerDied": 1}


def test_the_second_trial_is_alone(tmp_path: Path, files: list[str]) -> None:
    engine = FakeEngine(dies_on("c.mp4"))
    run(tmp_path, engine, files)
    second = engine.who(files[2])[1]
    assert engine.slots[second - 1].pushed == [files[2]]


def test_a_file_that_survives_its_second_trial_is_done(tmp_path: Path, files: list[str]) -> None:
    deaths: list[str] = []

    def act(slot: FakeSlot, path: str) -> None:
        if path == files[1] and not deaths:
            deaths.append(path)
            slot.begin(path)
            slot.end("its node ended")
        elif not slot.gone:
            done(slot, path)

    found = run(tmp_path, FakeEngine(act), files)
    assert set(found.status.values()) == {"done"}


def test_the_file_it_was_at_is_blamed_not_the_oldest_one_unanswered(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        # The first file waits for the frames of the second, as in a pass that both share.
        if path == files[0] and len(slot.pushed) == 1 and slot.number == 1:
            slot.begin(path)
        elif path == files[1]:
            slot.begin(path)
            slot.end("signal SIGSEGV")
        elif not slot.gone:
            done(slot, path)

    found = run(tmp_path, FakeEngine(act), files[:3])
    assert found.status == {"a.mp4": "done", "b.mp4": "failed", "c.mp4": "done"}


def test_a_file_that_takes_too_long_is_ended_and_not_tried_again(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        if path == files[0]:
            slot.begin(path, duration_s=10.0)
        elif not slot.gone:
            done(slot, path)

    engine = FakeEngine(act)
    found = run(tmp_path, engine, files[:3], clock=Clock(tick_s=15.0), file_s=20.0, file_factor=2.0)
    row = found.rows["a.mp4"]
    assert row is not None
    assert (row.kind, row.reason) == ("TimeLimit", "took longer than 40 s")
    assert engine.who(files[0]) == [1]
    assert found.status["b.mp4"] == found.status["c.mp4"] == "done"


def test_an_answered_file_runs_into_no_limit(tmp_path: Path, files: list[str]) -> None:
    clock = Clock()

    def act(slot: FakeSlot, path: str) -> None:
        slot.begin(path, duration_s=None)
        done(slot, path)
        clock.now_s += 1000

    assert set(run(tmp_path, FakeEngine(act), files, clock=clock).status.values()) == {"done"}


def test_memory_gathered_over_many_files_is_not_held_against_the_last(
    tmp_path: Path, files: list[str]
) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        if slot.gone:
            return
        slot.begin(path)
        if path == files[2] and slot.number == 1:
            slot.tell(Alive(9000))
        else:
            done(slot, path)

    found = run(tmp_path, FakeEngine(act), files, memory_mb=8192)
    assert set(found.status.values()) == {"done"}


def test_a_file_that_needs_too_much_memory_by_itself_has_failed(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        if slot.gone:
            return
        slot.begin(path)
        if path == files[2]:
            slot.tell(Alive(9000))
        else:
            done(slot, path)

    row = run(tmp_path, FakeEngine(act), files, memory_mb=8192).rows["c.mp4"]
    assert row is not None
    assert row.kind == "MemoryLimitError"
    assert row.reason == "its worker needed 9000 MB, more than the 8192 allowed"


def test_workers_are_replaced_after_their_number_of_files(tmp_path: Path, files: list[str]) -> None:
    engine = FakeEngine()
    run(tmp_path, engine, files, clips_per_worker=3)
    assert [len(slot.pushed) for slot in engine.slots] == [3, 3, 2]


def test_busy_files_are_asked_for_again_until_they_are_answered(tmp_path: Path, files: list[str]) -> None:
    asked: list[str] = []

    def act(slot: FakeSlot, path: str) -> None:
        asked.append(path)
        if path == files[0] and asked.count(path) < 3:
            slot.answer(path, "busy", fresh=False)
        else:
            slot.answer(path, fresh=path != files[0])

    found = run(tmp_path, FakeEngine(act), files[:2], clock=Clock(tick_s=1.0))
    assert set(found.status.values()) == {"done"}
    assert asked.count(files[0]) == 3
    assert (found.summary.done, found.summary.found) == (1, 1)


def test_failures_are_written_down_with_their_reason(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        bad = {"kind": "InputError", "reason": "is empty (0 bytes)", "fix": "copy it again", "fresh": False}
        slot.answer(path, "failed", **bad) if path == files[0] else done(slot, path)

    found = run(tmp_path, FakeEngine(act), files[:2])
    row = found.rows["a.mp4"]
    assert row is not None
    assert (row.status, row.kind, row.reason, row.fix) == (
        "failed",
        "InputError",
        "is empty (0 bytes)",
        "copy it again",
    )
    assert found.summary.failures == {"InputError": 1}


def test_a_full_disk_ends_the_run_with_its_error_and_no_worker(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        if path == files[3]:
            slot.tell(
                Fatal("StoreError", "cannot write features (No space left on device)", "/s", "free space")
            )
        elif not slot.gone:
            done(slot, path)

    engine = FakeEngine(act)
    with pytest.raises(StoreError, match=r"No space left on device\); free space"):
        run(tmp_path, engine, files, workers=2)
    assert all(slot.gone for slot in engine.slots)


def test_workers_that_die_before_they_are_ready_are_not_started_for_ever(
    tmp_path: Path, files: list[str]
) -> None:
    engine = FakeEngine(silent=True)
    with pytest.raises(
        UsageError, match=r"3 workers in a row ended before they were ready .*no module named torch"
    ):
        run(tmp_path, engine, files)
    assert len(engine.slots) == 3


def test_a_worker_that_never_gets_ready_holds_no_file(tmp_path: Path, files: list[str]) -> None:
    class Crowded(FakeEngine):
        def start(self, order: WorkOrder, number: int, inbox: Inbox) -> FakeSlot:
            if number == 1:
                return super().start(order, number, inbox)
            self.slots.append(FakeSlot(self, number, inbox))
            return self.slots[-1]

    engine = Crowded()
    assert set(run(tmp_path, engine, files, workers=2).status.values()) == {"done"}
    assert engine.slots[1].pushed == []


def test_workers_that_die_on_whatever_they_get_end_the_run(tmp_path: Path) -> None:
    many = [str(tmp_path / f"{number}.mp4") for number in range(30)]
    engine = FakeEngine(dies_on(*(Path(file).name for file in many)))
    with pytest.raises(UsageError, match=r"20 workers in a row died on the files .*SIGSEGV"):
        run(tmp_path, engine, many)


def test_a_worker_with_other_weights_is_refused(tmp_path: Path, files: list[str]) -> None:
    with pytest.raises(WeightsError, match="other extractors"):
        run(tmp_path, FakeEngine(setup="0" * 16), files)


def test_an_interrupt_leaves_no_worker(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        raise KeyboardInterrupt

    engine = FakeEngine(act)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, engine, files)
    assert all(slot.gone for slot in engine.slots)


def test_what_a_dead_worker_had_answered_stays_answered(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        if slot.gone:
            return
        done(slot, path)
        if path == files[1] and slot.number == 1:
            slot.gone = True
            slot.inbox.put((slot.number, Gone("signal SIGKILL")))

    engine = FakeEngine(act)
    found = run(tmp_path, engine, files)
    assert set(found.status.values()) == {"done"}
    assert len(engine.who(files[0])) == len(engine.who(files[1])) == 1


def test_a_suspect_gets_a_worker_that_has_done_nothing_before(tmp_path: Path, files: list[str]) -> None:
    engine = FakeEngine(dies_on("c.mp4"))
    run(tmp_path, engine, files, workers=2)
    first, second = (engine.slots[number - 1] for number in engine.who(files[2]))
    assert first is not second
    assert second.pushed == [files[2]]


def test_workers_that_outgrow_their_memory_while_they_load_end_the_run(
    tmp_path: Path, files: list[str]
) -> None:
    class Heavy(FakeEngine):
        def start(self, order: WorkOrder, number: int, inbox: Inbox) -> FakeSlot:
            slot = FakeSlot(self, number, inbox)
            self.slots.append(slot)
            slot.tell(Alive(900))
            return slot

    engine = Heavy()
    with pytest.raises(UsageError, match=r"3 workers in a row ended before they were ready .* 900 MB"):
        run(tmp_path, engine, files, memory_mb=500)
    assert len(engine.slots) == 3


def test_the_ledger_has_the_file_as_it_was_read(tmp_path: Path, files: list[str]) -> None:
    def act(slot: FakeSlot, path: str) -> None:
        slot.answer(path, stamp=(3, 5))

    found = run(tmp_path, FakeEngine(act), files[:1])
    assert found.rows["a.mp4"] is None, "it has changed since"
    (row,) = Ledger(FeatureStore(tmp_path / "store")).load()
    assert (row.size, row.mtime_ns) == (3, 5)
