"""What the benchmarks compute, write and draw; what they measure is theirs to say."""

from __future__ import annotations

from functools import partial
from xml.etree import ElementTree

import pytest

from benchmarks.speed.finding import Bars, Finding, Target, compared, set_beside
from benchmarks.speed.picture import WIDTH, describe, draw
from benchmarks.speed.report import as_markdown
from benchmarks.speed.rounds import Spread, interleave, ratio

SVG = "{http://www.w3.org/2000/svg}"
BARS = Bars(
    "Refused \u00f7 bare",
    1.3,
    (("django_celery_once", Spread(1.25, 1.2, 1.4)), ("celery-once", Spread(2.5, 2.0, 3.0))),
)
FINDING = Finding(
    "Refused",
    "One refused call.",
    ("call", "\u00b5s"),
    (("ours", "100"),),
    (Target("refused", 1.25, 1.3), Target("race", 1.5, 2, least=True)),
    (BARS,),
)


def test_spread_is_the_median_and_the_quartiles() -> None:
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0)


def test_spread_is_told_in_a_unit() -> None:
    assert Spread(0.0015, 0.001, 0.002).told(1e-3, 1) == "1.5 (1.0\u20132.0)"


def test_contenders_take_turns_and_the_first_round_is_dropped() -> None:
    calls: list[str] = []

    def contender(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    times = interleave({name: partial(contender, name) for name in "abc"}, rounds=2)

    assert "".join(calls) == "abcbcacab"
    assert times == {"a": [6.0, 8.0], "b": [4.0, 9.0], "c": [5.0, 7.0]}


def test_ratio_compares_within_a_round() -> None:
    times = {"ours": [2.0, 30.0], "control": [1.0, 10.0]}

    assert ratio(times, "ours", "control") == Spread(2.5, 2.25, 2.75)
    assert compared(times, "control", unit=1.0)[0] == (
        "ours",
        "16 (9\u201323)",
        "2.50 (2.25\u20132.75)",
    )


@pytest.mark.parametrize(
    ("target", "reached"),
    [
        (Target("", 1.3, 1.3), True),
        (Target("", 1.31, 1.3), False),
        (Target("", 2.0, 2.0, least=True), True),
        (Target("", 1.9, 2.0, least=True), False),
    ],
)
def test_target_is_reached_on_the_right_side_of_its_limit(target: Target, reached: bool) -> None:
    assert target.reached is reached


def test_ours_is_set_beside_the_others_and_the_least_there_is() -> None:
    """The table has what bounds us, and the picture everybody."""
    ratios = [("django_celery_once", Spread(1.5, 1, 2)), ("limit: bare", Spread(1.2, 1, 2))]

    target, bars = set_beside("accepted `delay()`", ratios, 1.15)

    assert target.cells() == ("accepted `delay()`", "\u2264 1.15", "1.5", "**no**", "bare 1.2")
    assert bars == Bars("Accepted delay()", 1.15, tuple(ratios))


def test_results_say_what_was_missed() -> None:
    text = as_markdown([FINDING], {"Python": "3.13"})

    assert "| refused | \u2264 1.3 | 1.25 | yes |  |" in text
    assert "| race | \u2265 2 | 1.5 | **no** |" in text
    assert "| ours | 100 |" in text
    assert "| Python | 3.13 |" in text


def test_picture_shows_every_bar_inside_its_frame_and_tells_it_in_words() -> None:
    root = ElementTree.fromstring(draw([FINDING]))  # noqa: S314

    texts = [element.text for element in root.iter(f"{SVG}text")]
    ends = [
        float(each.get("x", 0)) + float(each.get("width", 0)) for each in root.iter(f"{SVG}rect")
    ]
    description = root.find(f"{SVG}desc")
    assert texts[1:] == ["django_celery_once", "1.25", "celery-once", "2.50"]
    assert max(ends) <= WIDTH
    assert description is not None
    assert description.text == describe(BARS)
