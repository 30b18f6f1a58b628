"""What processes know of themselves and of each other."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import psutil

from data.processes import maker_lives, resident_mb, unique_name

ROOT = Path(__file__).resolve().parents[2]


def test_resident_memory_is_that_of_this_process_and_falls_again() -> None:
    before = resident_mb()
    # Mapped, not allocated: what is freed the allocator may keep, in a process in which much has run.
    held = mmap.mmap(-1, 200 * 2**20)
    held[::4096] = b"\1" * len(range(0, len(held), 4096))
    assert 150 <= resident_mb() - before <= 300
    held.close()
    assert resident_mb() - before < 100


def test_a_name_tells_its_maker_by_number_and_start() -> None:
    # Names lie in stores: their form is number and ticks from boot, as proc(5) has them.
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    name = unique_name()
    assert name.startswith(f"{os.getpid()}-{ticks}@")
    assert maker_lives(name) is True


def test_a_process_that_got_the_number_of_a_dead_one_is_another() -> None:
    pid, _, rest = unique_name().partition("-")
    ticks, _, host = rest.partition("@")
    assert maker_lives(f"{pid}-{int(ticks) - 1000}@{host}") is False
    assert maker_lives(f"{pid}-@{host}") is True  # made where the system told no start times


def test_a_maker_that_has_ended_does_not_live() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    name = unique_name().replace(str(os.getpid()), ended.stdout.strip(), 1)
    assert maker_lives(name) is False


def test_of_another_hosts_process_nothing_is_known() -> None:
    assert maker_lives("12-34@elsewhere.1~ab") is None
    assert maker_lives("whatever") is None


def test_no_name_is_made_twice() -> None:
    assert unique_name() != unique_name()


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from multiprocessing import get_context\n"
        "from data.processes import end_with_parent\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(2, get_context('spawn'), end_with_parent)\n"
        "    print(*{pool.submit(os.getpid).result() for _ in range(2)}, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    script = tmp_path / "killed.py"
    script.write_text(code)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env)
    workers = [int(pid) for pid in ended.stdout.split()]
    assert workers, ended.stderr
    _, alive = psutil.wait_procs(
        [psutil.Process(pid) for pid in workers if psutil.pid_exists(pid)], timeout=30
    )
    assert not alive
