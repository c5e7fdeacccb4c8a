"""Figures from small tables."""

import json

import numpy as np
import pandas as pd

from app.charts import atoms

PLACES = pd.DataFrame({"atom": [0, 1, 2, 3], "x": [0.0, 1.0, 2.0, 5.0], "y": [0.0, 1.0, 0.5, 5.0]})


def test_the_grid_puts_each_dictionary_in_its_cell() -> None:
    cells = pd.DataFrame(
        {
            "id": ["a", "b"],
            "row": [0, 1],
            "layer": [3, 1],
            "value": [0.1, 0.3],
            "text": ["7↵0.1", "<b>x</b>"],
            "detail": ["one", "<img src=x>"],
        }
    )
    figure = atoms.library_grid(cells, ["model", "<i>other</i>"], [1, 2, 3])
    _, heat, squares = figure.data
    np.testing.assert_array_equal(heat.z, [[np.nan, np.nan, 0.1], [0.3, np.nan, np.nan]])
    assert list(squares.customdata) == ["a", "b"]
    assert (list(squares.x), list(squares.y)) == ([2, 0], [0, 1])
    drawn = figure.to_json()
    assert "<img" not in drawn and "<i>" not in drawn and "<b>" not in drawn
    assert "7<br>0.1" in json.loads(drawn)["data"][2]["text"][0]


def test_the_histogram_is_coloured_by_sign() -> None:
    bins = pd.DataFrame({"low": [-2.0, -1.0, 0.0], "high": [-1.0, 0.0, 1.0], "count": [3, 0, 10]})
    figure = atoms.histogram(bins)
    assert list(figure.data[0].marker.color) == [atoms.NEGATIVE, atoms.NEGATIVE, atoms.POSITIVE]
    assert figure.layout.yaxis.type == "log"


def test_the_map_sends_numbers_only_and_greys_the_rest() -> None:
    shown = np.array([True, False, True, False])
    figure = atoms.atom_map(PLACES, shown, np.array([0.1, 0.2, 0.3, 0.4]), log=True, region=[(0, 0), (1, 0), (1, 1)])
    rest, lit = figure.data
    assert (list(rest.customdata), list(lit.customdata)) == ([1, 3], [0, 2])
    assert rest.text is None and lit.text is None
    np.testing.assert_allclose(lit.marker.color, np.log10([0.1, 0.3]), rtol=1e-5)
    assert len(figure.layout.shapes) == 1


def test_a_map_with_nothing_to_show_can_be_drawn() -> None:
    atoms.atom_map(PLACES, np.zeros(4, bool), np.full(4, np.nan), log=True, picked=2).to_json()


def test_a_hundred_thousand_atoms_stay_small() -> None:
    n = 100_000
    random = np.random.default_rng(0)
    places = pd.DataFrame({"atom": np.arange(n), "x": random.random(n), "y": random.random(n)})
    assert len(atoms.atom_map(places, np.ones(n, bool), random.random(n)).to_json()) < 3_000_000


def test_which_places_lie_inside_a_polygon() -> None:
    square = [(-0.5, -0.5), (2.5, -0.5), (2.5, 1.5), (-0.5, 1.5)]
    assert atoms.inside(PLACES, square).tolist() == [True, True, True, False]
    notched = [(-0.5, -0.5), (1.0, 0.9), (2.5, -0.5), (2.5, 1.5), (-0.5, 1.5)]
    assert atoms.inside(PLACES, notched).tolist() == [True, True, True, False]
    assert atoms.inside(PLACES, [(1.5, 0), (2.5, 0), (2, 1)]).tolist() == [False, False, True, False]


def test_growth_has_a_line_for_each_dictionary() -> None:
    points = pd.DataFrame({"dictionary": ["a", "a", "<b>"], "rows": [1, 2, 1], "atoms": [1, 2, 1]})
    assert [trace.name for trace in atoms.growth(points).data] == ["&lt;b&gt;", "a"]
