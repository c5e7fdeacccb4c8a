"""Figures about the layers of models, and the tables that they are drawn from."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.charts.layers import convergence_lines, layers_lines, union_strip
from app.panels.similarity.benchmark import convergence_table
from app.panels.similarity.union import KINDS, OWN, pairs_table, ranges
from app.resources import LAYERS_RESULTS
from itda_core.common.bootstrap import Interval
from itda_core.reports.layers import BENCHED, LayerSimilarity

FOUND = LayerSimilarity(
    a="<b>mine</b>",
    b="yours",
    hooks=("resid", "resid"),
    corpus="docs-0",
    key="token",
    tokens=3000,
    coverage=(1.0, 1.0),
    l0=40,
    threshold=0.1,
    atoms=((900,), (800,)),
    union=0.6,
    union_interval=Interval(0.55, 0.66),
    union_chance=0.2,
    union_sources=(900, 800),
    values={"jaccard": ((0.6,),)},
    left_out={},
)


@pytest.fixture
def bench() -> dict[str, Any]:
    """The bench's report, as if two seeds more and a model of another architecture had been in it."""
    report = json.loads(LAYERS_RESULTS.read_text())
    pairs = {"s1 s2": 0.7, "s1 other": 0.4, "s2 other": 0.5, "other another": 0.65}
    ranges = {"same": [0.65, 0.7], "different": [0.4, 0.5]}
    union = {"sources": 1000, "chance": 0.25, "threshold": {}, "pairs": pairs, "ranges": ranges}
    fewer = union | {"sources": 500, "chance": 0.1}
    return report | {"seeds": ["s1", "s2"], "others": ["other", "another"], "unions": [fewer, union]}


def test_every_pair_of_models_has_its_kind(bench: dict[str, Any]) -> None:
    table = pairs_table(FOUND, bench)
    assert table["kind"].tolist() == [KINDS["same"]] * 2 + [KINDS["different"]] * 2 + [OWN]
    assert table["pair"].tolist()[:2] == ["s1 and s2", "other and another"]
    assert table["IoU"].tolist() == [0.7, 0.65, 0.4, 0.5, 0.6]
    assert table["low"].isna().tolist() == [True] * 4 + [False]
    assert table["chance"].tolist() == [0.25] * 4 + [0.2]  # those with 1,000 sources: A and B have 850
    assert pairs_table(None, bench)["chance"].tolist() == [0.1] * 4
    assert table["tokens"].tolist() == [bench["main"]["tokens"]] * 4 + [3000]
    assert pairs_table(None, None).empty
    assert (
        ranges(bench["unions"][1]["ranges"]) == f"{KINDS['same']} 0.650 to 0.700; {KINDS['different']} 0.400 to 0.500"
    )
    assert ranges({"same": [0.5, 0.5], "different": None}) == f"{KINDS['same']} 0.500"


def test_the_strip_marks_the_readers_pair(bench: dict[str, Any]) -> None:
    figure = union_strip(pairs_table(FOUND, bench))
    assert [each.text for each in figure.layout.annotations] == [*KINDS.values(), OWN]
    same, blind, different, _, own, chance = figure.data
    assert list(blind.x) == [0.25]
    assert [sorted(each.x) for each in (same, different, own, chance)] == [[0.65, 0.7], [0.4, 0.5], [0.6], [0.2]]
    assert (set(same.marker.symbol), own.marker.symbol) == ({"circle"}, ("diamond",))
    assert own.error_x.array[0] == pytest.approx(0.06) and own.error_x.arrayminus[0] == pytest.approx(0.05)
    assert np.isnan(same.error_x.array).all()
    low, high = figure.layout.xaxis.range
    assert low < 0.2 and high > 0.7
    assert "<b>mine" not in figure.to_json() and "&lt;b&gt;mine" in own.hovertext[0]


def test_the_strip_without_a_pair_of_the_readers(bench: dict[str, Any]) -> None:
    figure = union_strip(pairs_table(None, bench))
    assert [each.text for each in figure.layout.annotations] == list(KINDS.values())
    assert len(union_strip(pairs_table(FOUND, None)).layout.annotations) == 1


def test_a_line_for_each_layer_over_the_steps_of_training(bench: dict[str, Any]) -> None:
    table = convergence_table(bench)
    convergence = bench["convergence"]
    lines = convergence_lines(table).data
    layers = len(convergence["iou"][0])
    assert [line.name for line in lines] == [f"layer {layer}" for layer in range(layers)]
    for layer, line in enumerate(lines):
        assert list(line.x) == convergence["steps"]
        assert list(line.y) == [ious[layer] for ious in convergence["iou"]]
    assert len({line.line.color for line in lines}) == layers
    assert convergence_lines(table).layout.xaxis.type == "log"
    assert set(table["model"]) == {convergence["model"]}


def luminance(colour: str) -> float:
    """Of `#rrggbb` or `rgb(r, g, b)`, as WCAG 2 defines it."""
    if colour.startswith("#"):
        parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    else:
        parts = [float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in parts)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_line_is_seen_on_its_page(bench: dict[str, Any], theme: str) -> None:
    config = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())
    page = luminance(config["theme"][theme]["backgroundColor"])
    steps = pd.DataFrame([{"layer": layer, "step": 1, "IoU": 0.5} for layer in range(40)])
    names = list(BENCHED.values())
    measures = pd.DataFrame([{"name": name, "x": 1, "y": 0.5} for name in names])
    for figure in (
        convergence_lines(convergence_table(bench)),
        convergence_lines(steps),
        layers_lines(measures, names, "tokens"),
    ):
        for line in figure.data:
            light, dark = sorted([luminance(line.line.color), page], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3, line.name
        lines = figure.data[: len(names)]
        assert len({line.marker.symbol for line in lines}) == len({line.line.color for line in lines}) == len(lines)


def test_a_bench_without_checkpoints_has_nothing_to_draw(bench: dict[str, Any]) -> None:
    none = {"model": None, "steps": [], "iou": []}
    assert convergence_table(bench | {"convergence": none}).empty


def test_many_layers_keep_their_order() -> None:
    points = pd.DataFrame({"layer": [11, 2, 0], "step": [1, 1, 1], "IoU": [0.1, 0.2, 0.3]})
    assert [line.name for line in convergence_lines(points).data] == ["layer 0", "layer 2", "layer 11"]
