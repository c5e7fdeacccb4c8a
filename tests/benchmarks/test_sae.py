"""`itda bench sae`: where curves meet by hand, and a small run on the demo's model."""

import json
from pathlib import Path

import pytest
import torch

from itda_core.benchmarks.sae.results import PAPER, BenchSite, Contestant, CurvePoint, SaeBench
from itda_core.benchmarks.sae.run import bench_sae, versus
from itda_core.benchmarks.sae.table import sae_table
from itda_core.common.errors import UserError
from itda_core.common.settings import CorpusSettings, WindowSettings
from itda_core.common.types import Document
from itda_core.corpus.store import ingest
from tests.support.corpora import write_documents
from tests.support.saelens import needs_saelens

pytestmark = needs_saelens


def contestant(name: str, *points: tuple[int, float, float], l0: tuple[float, ...] = ()) -> Contestant:
    l0 = l0 or (2.0,) * len(points)
    return Contestant(
        name, tuple(CurvePoint(*at, 8, score, 0.1, n) for (*at, score), n in zip(points, l0, strict=True))
    )


def test_where_curves_meet_by_hand() -> None:
    itda = contestant("itda", (50, 6.0, 0.6), (100, 10.0, 0.8))
    sae = contestant("topk", (100, 100.0, 0.5), (200, 200.0, 0.7), (400, 400.0, 0.9))
    found = versus(itda, sae, 2)
    # 0.8 is halfway between 0.7 and 0.9: 300 tokens, 300 s. ITDA has 100 and 10 s.
    at = found.at_itda
    assert (at.reached, at.bound) == (True, None)
    assert (at.tokens, at.seconds) == pytest.approx((300, 300))
    assert (at.time_ratio, at.token_ratio) == pytest.approx((10 / 300, 1 / 3))
    # ITDA never comes to 0.9: its whole run over the SAE's is the least that the ratio can be.
    at = found.at_sae
    assert (at.reached, at.bound) == (False, "lower")
    assert (at.time_ratio, at.token_ratio) == pytest.approx((10 / 400, 100 / 400))


def test_an_sae_that_never_comes_there_gives_an_upper_bound() -> None:
    itda = contestant("itda", (50, 6.0, 0.6), (100, 10.0, 0.8))
    sae = contestant("topk", (100, 100.0, 0.5), (200, 200.0, 0.7))
    found = versus(itda, sae, 2)
    assert (found.at_itda.reached, found.at_itda.bound) == (False, "upper")
    assert (found.at_itda.tokens, found.at_itda.time_ratio) == (200, pytest.approx(0.05))
    # ITDA comes to 0.7 halfway between its two points: 75 tokens, 8 s.
    assert found.at_sae.reached
    assert (found.at_sae.tokens, found.at_sae.seconds) == pytest.approx((75, 8.0))
    assert found.at_sae.time_ratio == pytest.approx(8 / 200)


def test_a_curve_that_begins_above_is_there_at_its_first_point() -> None:
    found = versus(contestant("itda", (50, 6.0, 0.6)), contestant("topk", (100, 100.0, 0.7), (200, 200.0, 0.9)), 2)
    assert (found.at_itda.reached, found.at_itda.tokens, found.at_itda.seconds) == (True, 100, 100.0)


def test_a_score_at_more_active_latents_does_not_count() -> None:
    itda = contestant("itda", (50, 6.0, 0.6), (100, 10.0, 0.8))
    points = (100, 100.0, 0.9), (200, 200.0, 0.7), (300, 300.0, 0.82)
    # At 100 tokens it is above with 6 active latents where 2 are compared; from there to 0.7 is no line of its own.
    found = versus(itda, contestant("standard", *points, l0=(6.0, 2.4, 2.0)), 2).at_itda
    assert (found.reached, found.tokens, found.seconds) == (
        True,
        pytest.approx(283.33, abs=0.01),
        pytest.approx(283.33, abs=0.01),
    )
    # As soon as it is sparse enough it is there.
    found = versus(itda, contestant("standard", *points, l0=(6.0, 6.0, 2.0)), 2).at_itda
    assert (found.reached, found.tokens) == (True, 300)
    found = versus(itda, contestant("standard", *points, l0=(6.0, 2.0, 2.6)), 2).at_itda
    assert (found.reached, found.tokens, found.bound) == (False, 300, "upper")


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"sites": ()}, {"marks": 1}, {"lrs": ()}, {"sae_seconds": (("topk", 0.0),)}, {"sae_tokens": 9}):
        with pytest.raises(UserError):
            SaeBench(**wrong)


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]):
    folder: Path = tmp_path_factory.mktemp("bench")
    path = folder / "reference.jsonl"
    write_documents(path, language_reference)
    corpus = ingest(CorpusSettings(str(path)), WindowSettings(), folder / "corpora")
    settings = SaeBench(
        sites=(BenchSite("docs-a", 3, 0.4),),
        l0=8,
        tokens=4_000,
        sae_tokens=8_000,
        measured_tokens=300,
        sae_seconds=(("topk", 1.0), ("standard", 1.0)),
        batch=256,
        lrs=(1e-3, 4e-3),
        build_rows=256,
        marks=4,
    )
    threads = torch.get_num_threads()
    said: list[str] = []
    report = bench_sae(corpus, settings, said.append)
    torch.set_num_threads(threads)
    return report, said


def test_a_small_run_holds_what_the_contract_says(small_run) -> None:
    report, said = small_run
    found = json.loads(json.dumps(report.as_json()))
    assert {"time_ratio", "token_ratio", "reached", "ce_loss_score"} <= found.keys()
    (contest,) = report.contests
    itda, *saes = contest.contestants
    assert [each.name for each in saes] == ["topk", "standard"]
    assert found["ce_loss_score"] == itda.curve[-1].ce_loss_score
    assert found["time_ratio"] == contest.versus[0].at_itda.time_ratio
    assert contest.ce_original < contest.ce_zero
    assert found["paper"] == json.loads(json.dumps(PAPER))
    assert said
    for each in contest.contestants:
        assert all(point.ce_loss_score < 1 for point in each.curve)
        for name in ("tokens", "seconds"):
            values = [getattr(point, name) for point in each.curve]
            assert values == sorted(values)
    assert itda.curve[-1].tokens == contest.tokens <= 4_000
    assert 4_000 < contest.sae_tokens <= 8_000
    assert itda.curve[-1].latents == contest.latents == saes[0].curve[-1].latents
    assert all(point.seconds >= report.compile_seconds for point in itda.curve)
    assert report.compile_seconds > 0
    assert itda.curve[-1].l0 <= 8 and saes[0].curve[-1].l0 <= 8
    assert itda.curve[0].relative_error > itda.curve[-1].relative_error
    for sae in saes:
        assert sae.tried.keys() == {"0.001", "0.004"}
        assert f"{sae.lr:g}" == max(sae.tried, key=sae.tried.__getitem__)


def test_the_table_says_who_came_where(small_run) -> None:
    table = sae_table(small_run[0])
    assert "TopK SAE" in table and "ReLU SAE" in table
    assert "The paper: 1 %" in table
    itda = small_run[0].contests[0].contestants[0].curve[-1]
    assert f"CE loss score {itda.ce_loss_score:.4f}" in table
