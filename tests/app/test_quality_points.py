"""What the Quality page tells of reports, and its figures: worked by hand."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from app.charts.quality import quality_lines
from app.panels.quality.points import (
    Subject,
    are_alike_measured,
    interval,
    leads_text,
    offered,
    own_point,
    points_of,
    shown,
    table_of,
    verdict,
)
from itda_core.reports.quality import Measured, Point, Quality, Series, paired_differences


def point(latents: int, l0: int, score: float, error: float = 0.2, width: float = 0.01) -> Point:
    return Point(
        latents,
        l0,
        {
            "ce_loss_score": Measured(score, score - width, score + width),
            "variance_explained": Measured(1 - error, 1 - error - width, 1 - error + width),
        },
        {"ce_loss_score": (score + 0.2, score - 0.2), "variance_explained": (1 - error - 0.2, 1 - error + 0.2)},
    )


def quality(*series: Series, ce_original: float | None = 2.5, tokens: int = 400, sources=(9, 19)) -> Quality:
    weights = {"ce_loss_score": (1.0, 1.0), "variance_explained": (1.0, 1.0)}
    return Quality("x", tokens, 10, ce_original, 7.5, series, 3.0, sources=sources, by_document=weights)


ITDA = Series("itda", (point(50, 10, 0.6), point(50, 20, 0.7), point(100, 10, 0.8), point(100, 20, 0.9)))
RANDOM = Series("random", (point(50, 10, 0.55), point(50, 20, 0.65), point(100, 10, 0.75), point(100, 20, 0.85)))
A = Subject("a", "x", "<b>model</b>", 100, 20, False, quality(ITDA, RANDOM))
SAE = Subject("b", "s", "an SAE", 96, None, True, quality(Series("sae", (point(96, 17, 0.95),))))


def test_the_own_point_is_the_one_it_was_built_for() -> None:
    assert own_point(A.own, A) == point(100, 20, 0.9)
    assert own_point(A.series("random"), A) == point(100, 20, 0.85)
    assert own_point(SAE.own, SAE) == point(96, 17, 0.95)
    assert own_point(None, A) is None and own_point(Series("itda", ()), A) is None
    # Size first; and of L0 the nearest by ratio: 40 is nearer to 30 than 20 is (4/3 against 3/2).
    nearest = Series("itda", (point(50, 30, 0.1), point(100, 20, 0.2), point(100, 40, 0.3)))
    assert own_point(nearest, A._replace(l0=30)) == point(100, 40, 0.3)


@pytest.mark.parametrize(
    ("one", "other", "found", "words"),
    [
        # Both are 0.4 apart from document to document, and ahead by as much in each of the two.
        (point(1, 1, 0.9, 0.1), point(1, 1, 0.85, 0.2), (0.05, 0.1), "A is better than B"),
        (point(1, 1, 0.9, 0.2), point(1, 1, 0.9, 0.2), (0, 0), "A is not clearly different from B"),
        (point(1, 1, 0.8, 0.3), point(1, 1, 0.9, 0.2), (-0.1, -0.1), "A is worse than B"),
        (
            point(1, 1, 0.9, 0.3),
            point(1, 1, 0.8, 0.2),
            (0.1, -0.1),
            "Against B, A is better by CE loss score and worse by variance explained",
        ),
    ],
)
def test_better_and_worse_are_of_the_same_documents(
    one: Point, other: Point, found: tuple[float, float], words: str
) -> None:
    ahead = paired_differences(one, quality(), other, quality())
    assert [by.value for by in ahead.values()] == pytest.approx(found)
    assert [by.high - by.low for by in ahead.values()] == pytest.approx([0, 0])
    assert verdict(ahead, "A is", "B") == words


def test_a_lead_that_hangs_on_the_documents_is_none() -> None:
    # Ahead by 0.3 in one document and behind by 0.1 in the other: draws have 0.3, 0.1 or −0.1.
    one, other = (replace(point(1, 1, 0.9), by_document={"ce_loss_score": each}) for each in ((0.9, 0.5), (0.6, 0.6)))
    (by,) = paired_differences(one, quality(), other, quality()).values()
    assert by == pytest.approx((0.1, -0.1, 0.3))
    assert verdict({"ce_loss_score": by}, "A is", "B") == "A is not clearly different from B"
    assert leads_text({"ce_loss_score": by}, "A is") == "A is ahead by 0.10 (−0.10 to 0.30) in CE loss score."
    behind = paired_differences(other, quality(), one, quality())
    assert leads_text(behind, "A is") == "A is behind by 0.10 (−0.10 to 0.30) in CE loss score."


def test_reports_on_other_documents_have_no_lead() -> None:
    one = point(1, 1, 0.9)
    assert paired_differences(one, quality(), one, quality(sources=(9, 29))) == {}
    assert paired_differences(one, quality(), replace(one, by_document={}), quality()) == {}
    assert verdict({}, "A is", "B") == "No comparison with B: they were not measured on the same documents"
    assert leads_text({}, "A is") == ""


def test_the_table_has_every_point_with_its_intervals() -> None:
    table = table_of([A, SAE])
    assert len(table) == 9
    assert table["side"].tolist() == ["A"] * 8 + ["B"]
    assert table["series"].tolist() == ["own atoms"] * 4 + ["random atoms"] * 4 + ["SAE"]
    last = table.iloc[3]
    assert (last["latents"], last["l0"], last["CE loss score"]) == (100, 20, 0.9)
    assert (last["CE loss score low"], last["CE loss score high"]) == pytest.approx((0.89, 0.91))
    assert not [name for name in table.columns if "KL" in name]  # nobody measured it
    assert offered([A, SAE]) == ["ce_loss_score", "variance_explained"]
    assert points_of([A], "kl").empty


def test_reports_on_other_predictions_are_not_compared() -> None:
    assert are_alike_measured(quality(), quality())
    assert not are_alike_measured(quality(), quality(tokens=399))
    assert not are_alike_measured(quality(), quality(ce_original=2.6))
    assert not are_alike_measured(quality(ce_original=None), quality(ce_original=None))


def test_values_are_said_as_readers_expect_them() -> None:
    assert (shown("dead", 0.081), shown("ce_loss_score", 0.9), shown("kl", None)) == ("8.1 %", "0.900", "–")
    assert interval("dead", Measured(0.5, 0.25, 0.75)) == "25 % to 75 %"


def test_a_line_for_each_size_and_each_l0() -> None:
    points = points_of([A], "ce_loss_score")
    lines = quality_lines(points, "l0", ("L0", "score"), str).data
    assert [(line.name, line.line.dash) for line in lines] == [
        ("100 atoms", "solid"),
        ("100 atoms", "dot"),
        ("50 atoms", "solid"),
        ("50 atoms", "dot"),
    ]
    assert list(lines[0].x) == [10, 20] and list(lines[0].y) == [0.8, 0.9]
    assert list(lines[0].error_y.array) == pytest.approx([0.01, 0.01])
    assert list(lines[0].customdata) == ["a 100", "a 100"] and list(lines[3].customdata) == ["a 50", "a 50"]
    lines = quality_lines(points, "latents", ("size", "score"), str).data
    assert [line.name for line in lines if line.showlegend] == ["L0 20", "L0 10"]
    assert list(lines[0].x) == [50, 100] and list(lines[0].y) == [0.7, 0.9]


def test_the_sides_keep_their_colours() -> None:
    figure = quality_lines(points_of([A, SAE], "ce_loss_score"), "l0", ("L0", "<i>score</i>"), str)
    colours = {line.name[0]: line.line.color for line in figure.data}
    assert len(set(colours.values())) == 2 and set(colours) == {"A", "B"}
    assert figure.data[-1].name == "B: 96 latents"
    assert "<i>" not in figure.layout.yaxis.title.text


def test_a_strangers_series_is_only_text() -> None:
    mark = "<img src=x>"
    subject = A._replace(quality=quality(Series(mark, ITDA.points)))
    figure = quality_lines(points_of([subject], "ce_loss_score"), "l0", ("L0", "score"), str, [(0.5, mark)])
    assert mark not in json.loads(figure.to_json())["data"][0]["hovertext"][0]
    assert mark not in figure.layout.annotations[0].text
    assert table_of([subject])["series"].tolist() == [mark] * 4
    assert isinstance(table_of([]), pd.DataFrame)
