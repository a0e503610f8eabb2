"""The benchmark's table says what was measured, keeps what was not, and judges by its goals."""

from pathlib import Path

import pytest
from bench.load import Load
from bench.overload import Seen, problems
from bench.table import Goal, Place, Row, table

pytestmark = pytest.mark.bench

ORDER = ["accept", "drain"]


def row(what: str, value: float, goal: Goal | None = None) -> Row:
    return Row(what, [value, value + 1, value + 2], goal, "a peer", [100.0])


def test_a_part_measured_anew_replaces_its_rows_and_leaves_the_others() -> None:
    before = table({"accept": [row("old", 100)], "drain": [row("kept", 300)]}, "", ORDER, 5)
    after = table({"accept": [row("new", 200)]}, before, ORDER, 5)
    assert "| new |" in after
    assert "| kept |" in after
    assert "| old |" not in after
    assert after.index("| new |") < after.index("| kept |")


def test_figures_of_another_machine_do_not_stay() -> None:
    before = table({"drain": [row("elsewhere", 300)]}, "", ORDER, 5).replace(" cores,", "0 cores,")
    assert "elsewhere" not in table({"accept": [row("here", 100)]}, before, ORDER, 5)


@pytest.mark.parametrize(
    ("goal", "ours", "met"),
    [
        (Goal(1.5), 150, "met"),
        (Goal(1.5), 140, "missed"),
        (Goal(1.5, most=True), 140, "met"),
        (Goal(180, most=True, own=True), 181, "missed"),
        (Goal(94, own=True), 95, "met"),
    ],
)
def test_a_goal_is_met_or_missed_by_the_median(goal: Goal, ours: float, met: str) -> None:
    line = Row("what", [ours - 50, ours, ours + 50], goal, "a peer", [100.0]).line("accept")
    assert f"| {met} |" in line


def test_a_table_is_written_between_its_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("head\n<!-- bench:begin -->\nold\n<!-- bench:end -->\ntail\n")
    Place(page, "bench").write("new")
    assert page.read_text() == "head\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\ntail\n"
    with pytest.raises(SystemExit):
        Place(page, "soak").write("new")


def answered(seconds: float, slow_until: float, slow: float) -> Load:
    """A hundred answers a second, slow ones first."""
    load = Load()
    for i in range(int(seconds * 100)):
        load.starts.append(i / 100)
        load.latencies.append(slow if i / 100 < slow_until else 0.01)
        load.codes.append(200)
    return load


def test_an_overload_is_over_when_every_later_half_second_is_as_before() -> None:
    calm = answered(10, 0, 0)
    assert Seen(100, 30, calm, Load(), Load(), answered(15, 3.2, 0.9)).recovered == 3.5
    assert Seen(100, 30, calm, Load(), Load(), answered(15, 0, 0)).recovered == 0.0
    never = Seen(100, 30, calm, Load(), Load(), answered(15, 15, 0.9))
    assert never.recovered is None
    assert problems(never)


def test_a_refusal_that_does_not_say_when_to_come_again_is_a_problem() -> None:
    calm, during = answered(10, 0, 0), Load()
    during.statuses.update({200: 10, 503: 5})
    assert problems(Seen(100, 30, calm, during, Load(), calm)) == []
    during.silent = 1
    assert problems(Seen(100, 30, calm, during, Load(), calm)) == ["1 refusals without Retry-After"]
