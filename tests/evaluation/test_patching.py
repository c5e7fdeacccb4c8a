"""What predictions lose when a place's activations are replaced, held against plain hooks of transformers."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from itda_core.common.errors import UserError
from itda_core.common.settings import DictionarySettings, WindowSettings
from itda_core.common.types import Codes, Document, Site
from itda_core.corpus.windows import Window, make_windows
from itda_core.dictionary.dictionary import Dictionary
from itda_core.evaluation.coders import DictionaryCoder
from itda_core.evaluation.metrics import HeldOut, Setting, _groups, measure_points, read_held_out, within_norm
from itda_core.evaluation.patching import PredictingSite, Predictions
from itda_core.models.model import Model, load_model
from tests.support.families import BERT, LAYERS, LISTED, UNLISTED, Family, named
from tests.support.places import MODEL_A

DOCUMENTS = [
    Document("short", "a b c"),
    Document("none", "a"),
    Document("middle", "for x in range(12): print(x)"),
    Document("long", "The quick brown fox jumps over the lazy dog, and then it sleeps for a long while. " * 3),
]
DECODERS = [family for family in LISTED + UNLISTED if not family.name.startswith("Esm")]


@pytest.fixture(scope="module")
def docs_a() -> Model:
    return load_model(str(MODEL_A), device="cpu")


def windows_of(model: Model, documents: list[Document] = DOCUMENTS, tokens: int = 10_000) -> list[Window]:
    return list(make_windows(documents, model.tokenizer, WindowSettings(context=40), tokens))


class Plain:
    """A model of transformers in which a plain hook replaces what a module gives."""

    def __init__(self, folder: Path | str, path: str, windows: list[Window]) -> None:
        self._network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._path = path
        longest = max(len(window.tokens) for window in windows)
        self._ids, self._mask = (torch.zeros(len(windows), longest, dtype=torch.int64) for _ in range(2))
        self._kept, self._counted = (torch.zeros(len(windows), longest, dtype=torch.bool) for _ in range(2))
        for row, window in enumerate(windows):
            assert not window.prefix and not window.suffix
            n = len(window.tokens)
            self._ids[row, :n] = torch.tensor(window.tokens)
            self._mask[row, :n] = 1
            for at in window.captured:
                self._kept[row, at] = True
                self._counted[row, at] = at + 1 < n

    def logits(self, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Logits of the counted predictions, [m, vocabulary] float64, when the kept activations are changed."""

        def hook(_module: Any, _inputs: Any, output: Any) -> Any:
            first = output if isinstance(output, torch.Tensor) else output[0]
            rows = first.clone().reshape(*self._ids.shape, -1)
            rows[self._kept] = change(rows[self._kept])
            rows = rows.reshape(first.shape)
            return rows if isinstance(output, torch.Tensor) else (rows, *output[1:])

        handle = self._network.get_submodule(self._path).register_forward_hook(hook)
        try:
            with torch.no_grad():
                found = self._network(input_ids=self._ids, attention_mask=self._mask).logits
        finally:
            handle.remove()
        return found[self._counted].double()

    def losses(self, change: Callable[[torch.Tensor], torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Cross-entropy of each counted prediction and divergence from the unchanged one, by torch's own losses."""
        targets = self._ids.roll(-1, 1)[self._counted]
        changed, unchanged = self.logits(change).log_softmax(1), self.logits(lambda x: x).log_softmax(1)
        ce = torch.nn.functional.cross_entropy(changed, targets, reduction="none")
        kl = torch.nn.functional.kl_div(changed, unchanged, reduction="none", log_target=True).sum(1)
        return ce.numpy(), kl.numpy()


def reconstruction_of(x: torch.Tensor) -> torch.Tensor:
    """Something else than the activations, the same for both sides; far enough off for a random model to notice."""
    return x + 4 * x.roll(1, 0) * x.norm(dim=1, keepdim=True) / x.norm(dim=1, keepdim=True).roll(1, 0)


def check(model: Model, site: Site, plain: Plain, windows: list[Window]) -> Predictions:
    """Hold a place against plain hooks: unchanged, zeros, and something else."""
    place = PredictingSite(model, site)
    got = place.predictions(windows)
    original, zero = plain.losses(lambda x: x)[0], plain.losses(torch.zeros_like)
    assert got.original == pytest.approx(original, rel=1e-4, abs=1e-5)
    assert got.zero == pytest.approx(zero[0], rel=1e-4, abs=1e-5)
    other = got.replaced(reconstruction_of(got.activations))
    ce, kl = plain.losses(reconstruction_of)
    assert other.ce == pytest.approx(ce, rel=1e-4, abs=1e-4)
    assert other.kl == pytest.approx(kl, rel=1e-3, abs=3e-6)
    assert kl.max() > 1e-4 and (other.kl >= 0).all()  # the change is seen
    same = got.replaced(got.activations)
    assert np.array_equal(same.ce, got.original) and not same.kl.any()
    # What runs the blocks after the place alone gives what running all of them does.
    assert place._whole is False
    place._whole = True
    whole = got.replaced(reconstruction_of(got.activations))
    assert whole.ce == pytest.approx(other.ce, rel=1e-6) and whole.kl == pytest.approx(other.kl, rel=1e-4, abs=1e-6)
    return got


@pytest.mark.parametrize("site", [Site(0), Site(5), Site(2, "attn"), Site(2, "mlp")], ids=str)
def test_docs_a_is_as_plain_hooks_have_it(site: Site, docs_a: Model) -> None:
    model = docs_a
    windows = windows_of(model)
    part = {"resid": "", "attn": ".self_attn", "mlp": ".mlp"}[site.hook]
    got = check(model, site, Plain(MODEL_A, f"model.layers.{site.layer}{part}", windows), windows)
    assert [window.document for window in windows] == [0, 2, 3]  # one with a single token has nothing to capture
    assert got.zero.mean() > got.original.mean() + 0.01
    assert len(got.activations) == sum(len(window.captured) for window in windows)
    # The last token of a window predicts one that is not there.
    assert np.bincount(got.documents).tolist() == [
        len(windows[0].captured) - 1,
        0,
        *(len(w.captured) - 1 for w in windows[1:]),
    ]


@pytest.mark.parametrize("family", DECODERS, ids=named)
def test_every_family_is_as_plain_hooks_have_it(family: Family, tmp_path: Path) -> None:
    model = load_model(str(family.save(tmp_path)), device="cpu")
    windows = windows_of(model)
    names = {"resid": "", "attn": f".{family.attn}", "mlp": f".{family.mlp}"}
    for site in (Site(0, "mlp"), Site(1), Site(LAYERS - 1, "attn")):
        check(model, site, Plain(tmp_path, f"{family.blocks}.{site.layer}{names[site.hook]}", windows), windows)


def test_which_predictions_count(docs_a: Model) -> None:
    model = docs_a
    windows = windows_of(model, DOCUMENTS[3:], 5)
    (window,) = windows
    assert window.captured == range(1, 6)  # cut short: the token after the last one captured is there to be predicted
    got = PredictingSite(model, Site(2)).predictions(windows)
    assert len(got.activations) == len(got.original) == 5
    one = window._replace(tokens=window.tokens[:2], spans=window.spans[:2], captured=range(1, 2))
    none = PredictingSite(model, Site(2)).predictions([one])
    assert len(none.activations) == 1 and len(none.original) == 0
    told = measure_points([Setting(1, Nothing())], [HeldOut(none.activations, none.sources, none)])
    assert told.ce_original is None and "ce_loss" not in told.points[0].measured
    with pytest.raises(ValueError, match=r"reconstructions are \[5, 192\]"):
        got.replaced(torch.zeros(4, 192))


def test_special_tokens_are_neither_replaced_nor_predicted(docs_a: Model) -> None:
    model = docs_a
    (window,) = windows_of(model, DOCUMENTS[2:3])
    framed = window._replace(prefix=[1, 2], suffix=[3])
    got = PredictingSite(model, Site(2)).predictions([framed])
    assert len(got.activations) == len(window.captured) and len(got.original) == len(window.captured) - 1
    plain = Plain(MODEL_A, "model.layers.2", [window])
    plain._ids = torch.tensor([[1, 2, *window.tokens, 3]])
    plain._mask = torch.ones_like(plain._ids)
    n = len(window.tokens)
    plain._kept = torch.tensor([[False] * 3 + [True] * (n - 1) + [False]])
    plain._counted = torch.tensor([[False] * 3 + [True] * (n - 2) + [False] * 2])
    assert got.original == pytest.approx(plain.losses(lambda x: x)[0], rel=1e-4)
    assert got.zero == pytest.approx(plain.losses(torch.zeros_like)[0], rel=1e-4)


class Nothing:
    """A coder that gives zeros."""

    latents = 1

    def encode(self, x: torch.Tensor) -> Codes:
        return Codes(*(np.empty(0, kind) for kind in (np.int64, np.int64, np.float32)))

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        return torch.zeros(n, 192)


class Everything(Nothing):
    """A coder that loses nothing: it remembers what it was given."""

    def encode(self, x: torch.Tensor) -> Codes:
        self._x = x
        return super().encode(x)

    def decode(self, codes: Codes, n: int) -> torch.Tensor:
        return self._x


def test_the_score_is_one_where_nothing_is_lost_and_zero_with_zeros(docs_a: Model) -> None:
    model = docs_a
    batches = list(read_held_out(model, Site(3), windows_of(model), batch_windows=2))
    assert len(batches) == 2
    x = torch.cat([batch.activations for batch in batches])
    atoms = torch.nn.functional.normalize(x, dim=1)
    own = DictionaryCoder(Dictionary(atoms, torch.zeros(len(x), 2), DictionarySettings()), 1)
    found = measure_points([Setting(0, Nothing()), Setting(0, Everything()), Setting(1, own)], batches)
    zero, all_, exact = (point.measured for point in found.points)
    assert found.ce_original is not None and found.ce_zero is not None
    assert zero["ce_loss_score"] == (0, 0, 0) and all_["ce_loss_score"] == (1, 1, 1)
    assert zero["ce_loss"].value == pytest.approx(found.ce_zero) and all_["ce_loss"].value == found.ce_original
    assert all_["kl"] == (0, 0, 0) and zero["kl"].value > 1
    assert exact["ce_loss_score"].value == pytest.approx(1, abs=1e-4)  # every token is an atom
    assert exact["kl"].value == pytest.approx(0, abs=1e-4)
    # Another pass over the same list measures the same.
    again = measure_points([Setting(1, own)], batches)
    assert again.points[0].measured == exact and again.ce_zero == found.ce_zero


def test_tokens_over_a_norm_keep_their_own_activations(docs_a: Model) -> None:
    windows = windows_of(docs_a)
    (batch,) = read_held_out(docs_a, Site(3), windows)
    norms = batch.activations.norm(dim=1)
    largest = float(norms.quantile(0.8))
    (part,) = within_norm([batch], largest)
    rows = norms <= largest
    assert 0 < rows.sum() < len(rows) and torch.equal(part.activations, batch.activations[rows])
    assert part.predictions is not None and part.predictions.documents.tolist() == batch.predictions.documents.tolist()
    plain = Plain(MODEL_A, "model.layers.3", windows)

    def only(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: torch.where(rows[:, None], change(x), x)

    assert part.predictions.zero == pytest.approx(plain.losses(only(torch.zeros_like))[0], rel=1e-4, abs=1e-5)
    doubled = part.predictions.replaced(2 * part.activations)
    assert doubled.ce == pytest.approx(plain.losses(only(lambda x: 2 * x))[0], rel=1e-4, abs=1e-4)
    assert list(within_norm([batch], None)) == [batch]
    assert not list(within_norm([batch], float(norms.min()) / 2))


def test_windows_are_read_together_as_memory_allows(docs_a: Model) -> None:
    windows = windows_of(docs_a, DOCUMENTS[2:] * 3)  # of two lengths, by turns
    short, long = (len(window.tokens) for window in windows[:2])
    assert [len(group) for group in _groups(windows, 4, 10**6)] == [4, 2]
    assert [len(group) for group in _groups(windows, 16, 3 * long)] == [3, 3]
    assert [len(group) for group in _groups(windows, 16, 1)] == [2, 2, 2]
    assert [len(group) for group in _groups(windows[:5], 16, 1)] == [2, 2, 1]
    assert short < long and list(_groups([], 16, 1)) == []


def test_the_score_is_left_out_where_zeros_cost_nothing(tmp_path: Path) -> None:
    model = load_model(str(LISTED[0].save(tmp_path)), device="cpu")
    batches = list(read_held_out(model, Site(1), windows_of(model)))
    for batch in batches:
        assert batch.predictions is not None
        batch.predictions.zero = batch.predictions.original - 0.1
    (point,) = measure_points([Setting(0, Everything())], batches).points
    assert "ce_loss_score" not in point.measured and "ce_loss" in point.measured


def test_an_encoder_predicts_nothing(tmp_path: Path) -> None:
    model = load_model(str(BERT.save(tmp_path)), device="cpu")
    with pytest.raises(UserError, match="predicts no next token"):
        PredictingSite(model, Site(1))


def test_half_precision_is_replaced_in_its_own_precision(tmp_path: Path) -> None:
    folder = LISTED[4].save(tmp_path)
    model = load_model(str(folder), device="cpu", dtype="bfloat16")
    got = PredictingSite(model, Site(1)).predictions(windows_of(model))
    assert got.activations.dtype == torch.float32
    same = got.replaced(got.activations)
    assert np.array_equal(same.ce, got.original) and not same.kl.any()
    fine = reconstruction_of(got.activations)
    coarse = fine.bfloat16().float()
    assert not torch.equal(fine, coarse)
    one, other = got.replaced(fine), got.replaced(coarse)
    assert np.array_equal(one.ce, other.ce) and np.array_equal(one.kl, other.kl)
    assert one.kl.max() > 1e-4


def test_predictions_that_are_not_finite_are_refused(docs_a: Model, tmp_path: Path) -> None:
    windows = windows_of(docs_a)
    got = PredictingSite(docs_a, Site(5)).predictions(windows)
    broken = got.activations.clone()
    broken[-2, 0] = torch.inf
    with pytest.raises(UserError, match=r"docs-a makes predictions that are not finite: .* another --dtype"):
        got.replaced(broken)
    # The unchanged model's: a token that no text here has makes no activation, and is predicted all the same.
    folder = tmp_path / "broken"
    shutil.copytree(MODEL_A, folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    unused = next(
        at for at in reversed(range(network.config.vocab_size)) if not any(at in window.tokens for window in windows)
    )
    with torch.no_grad():
        network.get_output_embeddings().weight[unused] = torch.nan
    network.save_pretrained(folder)
    with pytest.raises(UserError, match="broken makes predictions that are not finite"):
        PredictingSite(load_model(str(folder), device="cpu"), Site(5)).predictions(windows)


def test_the_unchanged_model_s_probabilities_are_worked_out_once(
    docs_a: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = PredictingSite(docs_a, Site(5)).predictions(windows_of(docs_a))
    worked_out: list[int] = []
    own = torch.Tensor.log_softmax
    monkeypatch.setattr(torch.Tensor, "log_softmax", lambda x, *more: worked_out.append(len(x)) or own(x, *more))
    got.replaced(got.activations)
    assert sum(worked_out) == len(got.original)
