"""Quality page: points of the reports, and comparisons between them."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from app.format.text import count, number, share
from itda_core.reports.quality import QUALITY_METRICS, Measured, Point, Quality, Series

OWN, RANDOM, SAE = "itda", "random", "sae"
"""Names of series in a report."""
SERIES = {OWN: "own atoms", RANDOM: "random atoms", SAE: "SAE"}
"""Their names on the page."""
SHARES = ("density", "dead", "negative", "large_negative")
"""Measures that are shown as percentages."""
COLUMNS = ["side", "of", "series", "latents", "l0"]
"""Columns of a table of points, before those of the measures."""


class Subject(NamedTuple):
    """A dictionary or an SAE with its report."""

    side: str
    """`a` or `b`."""
    id: str
    """Its id."""
    name: str
    """Its display name."""
    latents: int
    """Its number of atoms or latents."""
    l0: int | None
    """The L0 that it was built with, or allows; None for an SAE that allows any number."""
    is_sae: bool
    """Whether it is an SAE."""
    quality: Quality
    """Its report."""

    def series(self, name: str) -> Series | None:
        """Return a series of its report; None where there is none of that name."""
        return next((series for series in self.quality.series if series.name == name), None)

    @property
    def own(self) -> Series | None:
        """The series of its own atoms or latents."""
        return self.series(SAE if self.is_sae else OWN)


def own_point(series: Series | None, subject: Subject) -> Point | None:
    """Return the point of a series that is nearest to how the subject was built.

    The size is compared first, then the L0.
    """
    if series is None or not series.points:
        return None
    l0 = subject.l0

    def distance(point: Point) -> tuple[float, float]:
        # By the ratio of the two, as L0 10 is as far from 20 as 40 is. (0.5 replaces 0, which has no logarithm.)
        steps = 0.0 if l0 is None else abs(np.log2(max(point.l0, 0.5) / max(l0, 0.5)))
        return abs(point.latents - subject.latents), float(steps)

    return min(series.points, key=distance)


def table_of(subjects: list[Subject]) -> pd.DataFrame:
    """Return all points as a table, a row each.

    Columns: COLUMNS (the side as a capital letter, the name, the series in words), then, for each measure that any of
    the points has, its value, and `… low` and `… high`, the ends of its interval; NaN where it was not measured.
    """
    rows = []
    for subject in subjects:
        for series in subject.quality.series:
            for point in series.points:
                row: dict[str, object] = {
                    "side": subject.side.upper(),
                    "of": subject.name,
                    "series": SERIES.get(series.name, series.name),
                    "latents": point.latents,
                    "l0": point.l0,
                }
                for name, measured in point.measured.items():
                    words = QUALITY_METRICS[name]
                    row |= {words: measured.value, f"{words} low": measured.low, f"{words} high": measured.high}
                rows.append(row)
    measures = [
        f"{words}{end}"
        for words in QUALITY_METRICS.values()
        if any(words in row for row in rows)
        for end in ("", " low", " high")
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, *measures])


def offered(subjects: list[Subject]) -> list[str]:
    """Return the measures that any point has, in the order of QUALITY_METRICS."""
    found = {
        name
        for subject in subjects
        for series in subject.quality.series
        for point in series.points
        for name in point.measured
    }
    return [name for name in QUALITY_METRICS if name in found]


def points_of(subjects: list[Subject], measure: str) -> pd.DataFrame:
    """Return the points that have a measure, as a table.

    Columns: side, series (its name in a report), latents, l0, value, low, high.
    """
    return pd.DataFrame(
        [
            (subject.side, series.name, point.latents, point.l0, *point.measured[measure])
            for subject in subjects
            for series in subject.quality.series
            for point in series.points
            if measure in point.measured
        ],
        columns=["side", "series", "latents", "l0", "value", "low", "high"],
    )


def shown(measure: str, value: float | None) -> str:
    """Format a value of a measure."""
    return share(value) if measure in SHARES else number(value)


def interval(measure: str, measured: Measured) -> str:
    """Format the interval of a measure."""
    return f"{shown(measure, measured.low)} to {shown(measure, measured.high)}"


def leads_text(found: dict[str, Measured], clause: str) -> str:
    """Describe leads in a sentence.

    For example, `A is ahead by 0.012 (0.010 to 0.014) in CE loss score and behind by …`.
    """
    if not found:
        return ""
    words = []
    for name, by in found.items():
        way, low, high = ("ahead", by.low, by.high) if by.value >= 0 else ("behind", -by.high, -by.low)
        words.append(
            f"{way} by {number(abs(by.value), 2)} ({number(low, 2)} to {number(high, 2)}) in {QUALITY_METRICS[name]}"
        )
    return f"{clause[:1].upper()}{clause[1:]} {' and '.join(words)}."


def verdict(found: dict[str, Measured], clause: str, than: str) -> str:
    """Summarise leads in one line.

    Better or worse means that the complete interval of the difference is on one side of 0.

    Args:
        found: as `paired_differences` returns it.
        clause: who is judged, with its verb, as inside a sentence: `A is`, `these atoms are`.
        than: what it is compared with.
    """
    if not found:
        return f"No comparison with {than}: they were not measured on the same documents"
    signs = {name: int(by.low > 0) - int(by.high < 0) for name, by in found.items()}
    if len(values := set(signs.values())) == 1:
        words = {1: "better than", 0: "not clearly different from", -1: "worse than"}[values.pop()]
        return f"{clause[:1].upper()}{clause[1:]} {words} {than}"
    short = {1: "better", 0: "not clearly different", -1: "worse"}
    by = [f"{short[value]} by {QUALITY_METRICS[name]}" for name, value in signs.items()]
    return f"Against {than}, {clause} {' and '.join(by)}"


def are_alike_measured(a: Quality, b: Quality) -> bool:
    """Return whether two reports are on the same predictions of the same model.

    Only then can their values be compared.
    """
    same = (a.tokens, a.documents) == (b.tokens, b.documents)
    if a.ce_original is None or b.ce_original is None:
        return False
    return same and bool(np.isclose(a.ce_original, b.ce_original, rtol=1e-4))


def setting(point: Point, unit: str) -> str:
    """Format a point's setting: `1,204 atoms at L0 20`."""
    return f"{count(point.latents)} {unit} at L0 {point.l0}"
