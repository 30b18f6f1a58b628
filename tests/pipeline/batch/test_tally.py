"""What a run tells: events for programs, numbers and lines for people."""

from __future__ import annotations

import io
import json

from pipeline.batch.messages import Result
from pipeline.batch.plan import Plan
from pipeline.batch.tally import Progress, Summary, Tally, failure_line


def result(name: str, status: str = "done", **facts: object) -> Result:
    values = {"duration_s": 1800.0, "elapsed_s": 60.0, "fresh": True, **facts}
    return Result(f"/d/{name}", status, **values)  # type: ignore[arg-type]


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_summary_adds_up() -> None:
    clock = Clock()
    tally = Tally(Plan(("a", "b", "c", "d", "e"), done=7), clock=clock)
    tally.add(result("a"))
    tally.add(result("b", "partial"))
    tally.add(result("c", fresh=False))
    tally.add(result("d", "failed", fresh=False, kind="InputError", reason="is empty"))
    tally.add(result("e", "failed", fresh=False, kind="InputError", reason="is no media"))
    clock.now_s = 900.0
    summary = tally.close()
    assert summary == Summary(
        done=2,
        found=1,
        partial=1,
        skipped=7,
        failed=2,
        failed_before=0,
        failures={"InputError": 2},
        media_hours=1.0,
        elapsed_s=900.0,
    )
    # One hour of media in a quarter of an hour.
    assert summary.real_time_factor == 4.0
    assert summary.lines() == [
        "2 extracted (1.00 h of media in 15 min 00 s, 4.0 times real time)",
        "8 already in the store",
        "1 only in part, for what could be decoded",
        "2 failed: InputError 2",
    ]


def test_a_run_without_work_has_no_speed() -> None:
    summary = Tally(Plan((), done=3), clock=Clock()).close()
    assert summary.real_time_factor is None
    assert summary.lines() == ["0 extracted (0.00 h of media in 0 s)", "3 already in the store"]


def test_every_event_is_a_line_of_json_in_order() -> None:
    stream = io.StringIO()
    tally = Tally(Plan(("/d/a", "/d/b"), done=1), events=stream, clock=Clock())
    tally.begun("/d/a")
    tally.add(result("a"))
    tally.add(result("b", "failed", fresh=False, kind="InputError", reason="is empty"))
    tally.close()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["started", "begun", "finished", "finished", "ended"]
    assert events[0] == events[0] | {"todo": 2, "done": 1, "failed_before": 0}
    assert events[2] == events[2] | {"path": "/d/a", "status": "done", "duration_s": 1800.0}
    assert events[3] == events[3] | {"kind": "InputError", "reason": "is empty"}
    assert events[4] == events[4] | {"done": 1, "failed": 1, "failures": {"InputError": 1}}
    assert all(event["at"].endswith("+00:00") for event in events)


def test_the_time_left_follows_from_the_rate_so_far() -> None:
    progress = Progress(answered=30, total=120, failed=2, media_s=300.0, elapsed_s=60.0)
    assert progress.remaining_s == 180.0
    assert progress.note() == "2 failed, 5.0 x real time, 3 min 00 s left"
    assert Progress(0, 5, 0, 0.0, 1.0).remaining_s is None


def test_hours_are_shown_as_hours() -> None:
    assert Progress(1, 101, 0, 100.0, 100.0).note().endswith("2 h 46 min left")


def test_a_failure_is_one_line_whatever_its_name() -> None:
    line = failure_line(Result("/d/a\n\x1b[31mb.mp4", "failed", reason="is empty", fix="copy it again"))
    assert "\n" not in line
    assert "\x1b" not in line
    assert line.endswith("is empty; copy it again")
