"""The tables in data/results/ are what `itda bench … --markdown` prints of the results beside them."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest

from itda_core.benchmarks.layers.page import layers_page
from itda_core.benchmarks.layers.results import LayersReport
from itda_core.benchmarks.recipes.page import recipes_page
from itda_core.benchmarks.recipes.results import RecipesReport
from itda_core.benchmarks.sae.page import sae_page
from itda_core.benchmarks.sae.results import SaeReport
from itda_core.cli.bench import _print
from itda_core.common.files import read_json
from itda_core.common.validate import parse
from tests.support.places import REPOSITORY

RESULTS = REPOSITORY / "data" / "results"


@pytest.mark.parametrize(
    ("results", "kind", "page", "tables", "where"),
    [
        ("layers", LayersReport, layers_page, 4, "similarity"),
        ("recipes", RecipesReport, recipes_page, 2, "recipes"),
        ("recipes-smollm2", RecipesReport, recipes_page, 2, "recipes"),
        ("recipes-smollm2-layers", RecipesReport, recipes_page, 3, "recipes"),
        ("sae", SaeReport, sae_page, 2, "sae"),
    ],
)
def test_a_page_has_the_tables_of_its_results(
    results: str,
    kind: type,
    page: Callable[[Any], str],
    tables: int,
    where: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = parse(kind, read_json(RESULTS / f"{results}.json"), results, "run it again")
    _print(Namespace(json=False, markdown=True), {}, lambda: "as for a terminal", lambda: page(report))
    printed = [table.strip() for table in capsys.readouterr().out.split("\n\n") if table.strip()]
    assert len(printed) == tables
    written = (RESULTS / f"{where}.md").read_text(encoding="utf-8")
    for table in printed:
        assert f"\n\n{table}\n\n" in f"{written}\n\n".replace("\n\n\n", "\n\n")
