"""`itda bench recipes`, small: a real run on a demo model, and what its table says."""

from dataclasses import replace
from pathlib import Path

import pytest

from itda_core import UserError
from itda_core.benchmarks.recipes.page import recipes_page
from itda_core.benchmarks.recipes.results import CENTRED, NAMES, REFITTED, SAE, RecipesBench, RecipesReport
from itda_core.benchmarks.recipes.run import bench_recipes
from itda_core.benchmarks.recipes.table import recipes_table
from itda_core.common.errors import DamagedError
from itda_core.common.files import read_json
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.common.types import Document
from itda_core.common.validate import parse
from itda_core.corpus.store import Corpus, ingest
from tests.support.saelens import needs_saelens


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Corpus:
    root = tmp_path_factory.mktemp("corpus")
    texts = root / "texts"
    texts.mkdir()
    for at, document in enumerate(language_reference[:60]):
        (texts / f"{at:03}.txt").write_text(document.text)
    return ingest(CorpusSettings(str(texts)), WindowSettings(), root / "corpora")


@pytest.mark.slow
def test_a_small_run(corpus: Corpus) -> None:
    settings = RecipesBench(tokens=4_000, sites=(("docs-c", 2),), sizes=((120, 10), (200, 10)), draws=2)
    report = bench_recipes(corpus, settings, lambda _: None)
    assert report.held_out["docs-c"] > 200
    assert [row.l0 for row in report.rows] == [10, 10]
    for row, wanted in zip(report.rows, (120, 200), strict=True):
        assert abs(row.atoms - wanted) <= 0.05 * wanted
        for found in row.recipes.values():
            assert found.unexplained[1] < found.unexplained[0] < found.unexplained[2] < 1
            assert found.ce_loss_score[1] < found.ce_loss_score[0] < found.ce_loss_score[2] <= 1.01
            assert found.seconds > 0 and found.encode_seconds > 0
            value, low, high = found.ce_lead
            assert low <= value <= high
            assert value == pytest.approx(found.ce_loss_score[0] - row.recipes["published"].ce_loss_score[0])
        assert row.recipes["published"].ce_lead == (0, 0, 0)
    small, large = (row.recipes for row in report.rows)
    assert tuple(small) == NAMES
    for name in NAMES:
        if name.endswith(REFITTED):
            continue
        assert large[name].unexplained[0] < small[name].unexplained[0]
        for row in (small, large):
            assert row[name + REFITTED].unexplained[0] < row[name].unexplained[0]
    best = "pruned" + CENTRED + REFITTED
    lead = report.leads[best]
    off = [1 - row[best].unexplained[0] / row["published"].unexplained[0] for row in (small, large)]
    assert lead.unexplained == pytest.approx(sum(off) / 2) and lead.unexplained > 0
    more = [row[best].ce_loss_score[0] - row["published"].ce_loss_score[0] for row in (small, large)]
    assert lead.ce_loss_score == pytest.approx(sum(more) / 2)
    added = [row.ce_added(best) / row.ce_added("published") for row in report.rows]
    assert lead.ce_added == pytest.approx(sum(added) / 2)
    assert lead.surely_better == sum(row[best].ce_lead[1] > 0 for row in (small, large))
    assert report.leads["published" + REFITTED].encode_seconds > 0
    table = recipes_table(report)
    assert f"{small['pruned'].ce_loss_score[0]:.4f}" in table
    assert f"{lead.seconds:.1f} × the time to build" in table


@pytest.mark.slow
@needs_saelens
def test_an_sae_beside_the_recipes(corpus: Corpus) -> None:
    settings = RecipesBench(
        tokens=4_000,
        sites=(("docs-c", 2),),
        sizes=((120, 10), (200, 10)),
        names=("published", "published" + CENTRED),
        saes=((120, 10),),
        sae_seconds=2.0,
        lrs=(4e-3,),
    )
    report = bench_recipes(corpus, settings, lambda _: None)
    row, other = report.rows
    assert other.sae is None and SAE not in other.recipes and not other.reached
    assert row.sae is not None and list(row.reached) == list(settings.names)
    assert row.recipes[SAE].threshold is None
    assert row.recipes[SAE].seconds == row.sae.curve[-1].seconds > row.sae.curve[0].seconds > 0
    assert row.recipes[SAE].ce_loss_score[0] == pytest.approx(row.sae.curve[-1].ce_loss_score)
    for name, reach in row.reached.items():
        assert reach.reached == any(p.ce_loss_score >= row.recipes[name].ce_loss_score[0] for p in row.sae.curve)
        assert reach.time_ratio == pytest.approx(row.recipes[name].seconds / reach.seconds)
    lines = [line for line in recipes_page(report).splitlines() if "published" in line]
    assert any(f"{row.sae.curve[-1].tokens:,}" in line for line in lines)
    assert SAE in recipes_table(report)


@pytest.mark.slow
def test_a_stopped_run_goes_on(corpus: Corpus, tmp_path: Path) -> None:
    """A run that stops in its second row keeps the first as it was, and ends with the rows of an unstopped run."""
    settings = RecipesBench(
        tokens=4_000, sites=(("docs-c", 2),), sizes=((120, 10), (200, 10)), names=("published", "published" + CENTRED)
    )
    kept = tmp_path / "report.json"

    def stop(line: str) -> None:
        if "200 atoms" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench_recipes(corpus, settings, stop, kept)
    (before,) = parse(RecipesReport, read_json(kept), "report", "").rows
    lines: list[str] = []
    report = bench_recipes(corpus, settings, lines.append, kept)
    assert report.rows[0] == before and not any("120 atoms" in line for line in lines)
    assert [row.atoms for row in report.rows] == [120, 200]
    assert parse(RecipesReport, read_json(kept), "report", "").rows == report.rows
    lines.clear()
    again = bench_recipes(corpus, settings, lines.append, kept)
    assert (again.rows, again.leads, again.held_out) == (report.rows, report.leads, report.held_out) and not lines
    with pytest.raises(UserError, match="other settings"):
        bench_recipes(corpus, replace(settings, measured=500), lines.append, kept)
    with pytest.raises(UserError, match="no folder"):
        bench_recipes(corpus, settings, lines.append, tmp_path / "nowhere" / "report.json")
    kept.write_text("{}")
    with pytest.raises(DamagedError, match="another file"):
        bench_recipes(corpus, settings, lines.append, kept)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="of its size"):
        RecipesBench(saes=((5, 5),))
    with pytest.raises(UserError, match="one or more"):
        RecipesBench(draws=0)
    with pytest.raises(UserError, match="too few"):
        RecipesBench(tokens=1_000)
    with pytest.raises(UserError, match="choose published"):
        RecipesBench(names=("random",))
