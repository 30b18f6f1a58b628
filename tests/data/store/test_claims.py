"""Claims: of any number of processes one owns a name, and what dead ones leave is taken over once."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import data.store.claims
from data.processes import unique_name
from data.store.claims import Claims
from data.store.places import read_object
from data.store.store import FeatureStore

HERE = Path(data.store.claims.__file__).parents[2]
NAME = "a" * 64


def dead_maker() -> str:
    """The name of a process of this host that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return unique_name().replace(str(os.getpid()), str(ended.pid), 1)


def leave(store: FeatureStore, owner: str, age_s: float = 0.0) -> None:
    store.place.write(f".claims/{NAME}", owner.encode())
    if isinstance(store.root, Path):
        then = time.time() - age_s
        os.utime(store.root / ".claims" / NAME, (then, then))


def claims(store: FeatureStore) -> list[str]:
    return [found.name for found in store.place.list(".claims")]


def test_one_owner_at_a_time(anywhere: FeatureStore) -> None:
    other = pickle.loads(pickle.dumps(anywhere))
    with anywhere.claim(NAME) as mine:
        with other.claim(NAME) as theirs, anywhere.claim(NAME) as again:
            assert (mine, theirs, again) == (True, False, False)
        with other.claim("another") as free:
            assert free
    assert claims(anywhere) == []
    with other.claim(NAME) as theirs:
        assert theirs


def test_claim_ends_with_its_block_however_that_ends(store: FeatureStore) -> None:
    with pytest.raises(KeyError), store.claim(NAME):
        raise KeyError("stop")
    assert claims(store) == []


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "..", "x" * 201, "a\0"])
def test_names_that_are_no_file_names_are_refused(store: FeatureStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a name"), store.claim(name):
        pass


def test_dead_owner_of_this_host_loses_its_claim_at_once(anywhere: FeatureStore) -> None:
    leave(anywhere, dead_maker())
    with anywhere.claim(NAME) as mine:
        assert mine
        assert claims(anywhere) == [f".claims/{NAME}"]
    assert claims(anywhere) == []


def test_process_number_that_was_given_again_is_another_owner(store: FeatureStore) -> None:
    pid, _, rest = unique_name().partition("-")
    start, _, host = rest.partition("@")
    leave(store, f"{pid}-{start}@{host}")
    with store.claim(NAME) as mine:
        assert not mine
    leave(store, f"{pid}-{int(start) - 1000}@{host}")
    with store.claim(NAME) as mine:
        assert mine


@pytest.mark.parametrize(("age_s", "expected"), [(0, False), (500, False), (700, True)])
@pytest.mark.parametrize("owner", ["12-34@elsewhere.1~ab", "", "\xff garbled / claim"])
def test_owner_of_another_host_lives_while_it_refreshes(
    store: FeatureStore, owner: str, age_s: float, expected: bool
) -> None:
    leave(store, owner, age_s)
    with store.claim(NAME) as mine:
        assert mine is expected


def test_remote_claim_that_is_not_refreshed_is_taken_over(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(f"{s3_bucket}/stale")
    leave(store, "12-34@elsewhere.1~ab")
    with store.claim(NAME) as mine:
        assert not mine
    monkeypatch.setattr(data.store.claims, "STALE_S", -5.0)
    with store.claim(NAME) as mine:
        assert mine
    assert claims(store) == []


def test_claims_are_refreshed_until_they_end(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.store.claims, "_REFRESH_S", 0.01)
    keeper = Claims(store.place)
    path = Path(store.root) / ".claims" / NAME
    with keeper.claim(NAME):
        os.utime(path, (1, 1))
        for _ in range(500):
            if path.stat().st_mtime > 1:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 1
    time.sleep(0.05)
    assert claims(store) == [], "a refresh must not bring an ended claim back"


def test_claim_that_was_taken_over_is_neither_refreshed_nor_removed(store: FeatureStore) -> None:
    keeper = Claims(store.place)
    with keeper.claim(NAME) as mine:
        assert mine
        leave(store, "12-34@elsewhere.1~ab")
        keeper.refresh()
    assert read_object(store.place, f".claims/{NAME}") == b"12-34@elsewhere.1~ab"


def test_taker_that_died_while_taking_over_is_taken_over_itself(store: FeatureStore) -> None:
    first, second = dead_maker(), dead_maker()
    leave(store, first)
    store.place.write(f".claims/{first}", second.encode())
    with store.claim(NAME) as mine:
        assert mine
    assert claims(store) == []


def test_place_without_exclusive_creation_gives_everybody_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore("memory://no-claims")
    monkeypatch.setattr(type(store.place), "exclusive", False)
    with store.claim(NAME) as one, store.claim(NAME) as two:
        assert one
        assert two


RACER = """
import sys, time
from data.store.store import FeatureStore
store, names, rounds = FeatureStore(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
for name in names:
    for _ in range(rounds):
        with store.claim(name) as mine:
            if mine:
                # O_EXCL of another file shows a second owner, whatever the claim says
                with open(f"{sys.argv[1]}/inside-{name}", "x"):
                    time.sleep(0.0005)
                import os; os.unlink(f"{sys.argv[1]}/inside-{name}")
                print("had", name)
"""


@pytest.mark.parametrize("stale", [False, True])
def test_processes_never_own_a_name_together(tmp_path: Path, stale: bool) -> None:
    store, names = FeatureStore(tmp_path), [f"{k}" for k in range(30)]
    if stale:
        owner = dead_maker()
        for name in names:
            store.place.write(f".claims/{name}", f"{owner}{int(name):04x}".encode())
    command = [sys.executable, "-c", RACER, str(tmp_path), ",".join(names), "6"]
    racers = [
        subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    had: set[str] = set()
    answers = [""] * len(racers)

    def finish(k: int) -> None:
        answers[k], errors = racers[k].communicate("go\n", timeout=120)
        assert racers[k].returncode == 0, errors

    threads = [threading.Thread(target=finish, args=(k,)) for k in range(len(racers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [racer.returncode for racer in racers] == [0] * 4
    for answer in answers:
        had |= {line.split()[1] for line in answer.splitlines()}
    assert had == set(names)
    assert claims(store) == []
