"""How rows become calls."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from postroom.domain.claim import PACK_BYTES, Row, pack

PROJECT = uuid4()


def row(pack_max: int = 100, size: int = 1000) -> Row:
    return Row(uuid4(), PROJECT, size, pack_max, frozenset({1}), frozenset())


def test_mails_ride_together_up_to_the_batch_size() -> None:
    assert [len(p) for p in pack([row() for _ in range(250)], 100, 5)] == [100, 100, 50]


def test_there_are_at_most_as_many_packs_as_slots() -> None:
    assert [len(p) for p in pack([row() for _ in range(250)], 100, 1)] == [100]


def test_a_mail_that_goes_alone_goes_alone() -> None:
    rows = [row(), row(pack_max=1), row(), row(pack_max=1)]
    assert [[r.pack_max for r in p] for p in pack(rows, 100, 9)] == [[100, 100], [1], [1]]


def test_a_pack_ends_before_it_is_too_heavy_but_takes_one_heavy_mail() -> None:
    heavy = PACK_BYTES + 1
    rows = [row(size=heavy), row(size=PACK_BYTES // 2), row(size=PACK_BYTES // 2), row(size=10)]
    assert [len(p) for p in pack(rows, 100, 9)] == [1, 2, 1]


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 50, 100]), st.integers(1, 9_000_000)), max_size=60),
    st.integers(1, 100),
    st.integers(0, 20),
)
def test_no_mail_is_packed_twice_and_the_oldest_always_goes(shapes, batch_size, packs) -> None:
    rows = [row(*shape) for shape in shapes]
    made = pack(rows, batch_size, packs)
    flat = [r.id for p in made for r in p]
    assert len(flat) == len(set(flat))
    assert len(made) <= packs
    assert all(len({r.pack_max for r in p}) == 1 for p in made)
    assert all(len(p) <= min(batch_size, p[0].pack_max) for p in made)
    if rows and packs:
        assert rows[0].id in flat
