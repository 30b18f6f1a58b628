"""People of a clip as a note: written and read again."""

from __future__ import annotations

import pytest

from data.people import BoxAt, Person, Seen

SEEN = Seen(
    (
        Person(1, 0.0, 4.0, 3.0, ((BoxAt(0.02, 0.1, 0.2, 0.3, 0.4), BoxAt(1.98, 0.15, 0.2, 0.3, 0.4)), ())),
        Person(2, 1.0, 2.0, 1.0, ()),
    ),
    more=1,
    small=2,
)


def test_a_note_on_people_is_read_as_it_was_written() -> None:
    assert Seen.of(SEEN.text()) == SEEN
    assert Seen.of(Seen().text()) == Seen()


def test_boxes_are_written_in_four_digits_and_times_in_three() -> None:
    person = Person(1, 0.0, 1.0, 1.0, ((BoxAt(1 / 3, 1 / 3, 0, 1, 1),),))
    assert Seen.of(Seen((person,)).text()).people[0].track == ((BoxAt(0.333, 0.3333, 0, 1, 1),),)


@pytest.mark.parametrize("text", ["[]", "{", '{"people": [{}]}', '{"people": [], "more": 0}'])
def test_another_note_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Seen.of(text)
