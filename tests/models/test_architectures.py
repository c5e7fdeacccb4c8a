"""Every family, as a tiny random model: opened by the real loader and held against plain hooks of transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModel

from itda_core import UserError
from itda_core.capture.local import Capture
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document, Site
from itda_core.corpus.windows import Window, make_windows
from itda_core.models.architectures import tensor_of
from itda_core.models.model import Model, load_model
from tests.support.families import BERT, LAYERS, LISTED, POST_NORM, SCALED, UNLISTED, Family, named


@pytest.fixture(scope="module")
def windows(language_reference: list[Document]) -> Callable[[Model], list[Window]]:
    """Windows of unequal lengths, so that all but one are padded."""
    documents = [
        Document("short", "a b c"),
        *language_reference[:4],
        Document("middle", "for x in range(12): print(x)"),
    ]
    return lambda model: list(make_windows(documents, model.tokenizer, WindowSettings(context=40), 10_000))


def captured(model: Model, windows: list[Window], sites: list[Site]) -> dict[Site, torch.Tensor]:
    (batch,) = Capture(model, sites, lambda: windows)
    return batch.activations


def plain(folder: Path, family: Family, windows: list[Window], layers: range, auto: Any) -> dict[str, torch.Tensor]:
    """Outputs of modules by plain hooks, in one pass padded on the right, at the positions that are captured."""
    network = auto.from_pretrained(folder, dtype=torch.float32).eval()
    rows, longest = len(windows), max(len(window.tokens) for window in windows)
    ids, mask = torch.zeros(rows, longest, dtype=torch.int64), torch.zeros(rows, longest, dtype=torch.int64)
    kept = torch.zeros(rows, longest, dtype=torch.bool)
    for row, window in enumerate(windows):
        ids[row, : len(window.tokens)] = torch.tensor(window.tokens)
        mask[row, : len(window.tokens)] = 1
        kept[row, window.captured.start : window.captured.stop] = True
    seen: dict[str, torch.Tensor] = {}
    for layer in layers:
        for name in filter(None, ("resid", family.attn, family.mlp)):
            path = f"{family.blocks}.{layer}" + ("" if name == "resid" else f".{name}")

            def hook(_module: Any, _inputs: Any, output: Any, key: str = f"{layer} {name}") -> None:
                output = output if isinstance(output, torch.Tensor) else output[0]
                seen[key] = output.clone().reshape(rows, longest, -1)[kept]

            network.get_submodule(path).register_forward_hook(hook)
    with torch.no_grad():
        network(input_ids=ids, attention_mask=mask)
    assert not mask.all()
    return seen


@pytest.mark.parametrize("family", LISTED + UNLISTED, ids=named)
def test_attention_mlp_and_input_are_the_output(family: Family, tmp_path: Path, windows) -> None:
    model = load_model(str(family.save(tmp_path)), device="cpu")
    cuts = windows(model)
    sites = [Site(layer, hook) for layer in range(LAYERS) for hook in ("resid", "mlp", "attn")]
    got = captured(model, cuts, sites)
    expected = plain(tmp_path, family, cuts, range(LAYERS), getattr(transformers, family.name.split()[1]))
    names = {"resid": "resid", "attn": family.attn, "mlp": family.mlp}
    for site in sites:
        assert torch.allclose(got[site], expected[f"{site.layer} {names[site.hook]}"], atol=1e-5, rtol=1e-5), site
    for layer in range(1, LAYERS):
        attn, mlp = got[Site(layer, "attn")], got[Site(layer, "mlp")]
        total = got[Site(layer - 1)] + attn + mlp
        assert torch.allclose(total, got[Site(layer)], atol=1e-5, rtol=1e-5)
        assert min(attn.norm(dim=1).min(), mlp.norm(dim=1).min()) > 1e-3  # neither is there by being nothing


@pytest.mark.parametrize(
    ("family", "auto", "told"),
    [
        (BERT, AutoModel, "norms the sum after"),
        (POST_NORM, transformers.OPTForCausalLM, "norms the sum after"),
        (SCALED, transformers.GraniteForCausalLM, "add up"),
    ],
    ids=["BERT", "OPT-350m", "Granite"],
)
def test_where_the_parts_do_not_add_up_the_stream_is_still_captured(
    family: Family, auto: Any, told: str, tmp_path: Path, windows
) -> None:
    model = load_model(str(family.save(tmp_path)), device="cpu")
    cuts = windows(model)
    got = captured(model, cuts, [Site(layer) for layer in range(LAYERS)])
    expected = plain(tmp_path, family, cuts, range(LAYERS), auto)
    for layer in range(LAYERS):
        assert torch.allclose(got[Site(layer)], expected[f"{layer} resid"], atol=1e-5, rtol=1e-5)
    for hook in ("attn", "mlp"):
        with pytest.raises(UserError, match=told) as refused:
            model.module(Site(1, hook))
        assert "use --hook resid" in str(refused.value)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("family", "adds_up"), [(UNLISTED[1], True), (SCALED, False)], ids=["Phi", "Granite"])
def test_the_probe_allows_for_rounding_and_for_no_more(family: Family, adds_up: bool, dtype: str, tmp_path) -> None:
    model = load_model(str(family.save(tmp_path)), device="cpu", dtype=dtype)
    if adds_up:
        model.module(Site(0, "mlp"))
    else:
        with pytest.raises(UserError, match="add up"):
            model.module(Site(0, "mlp"))


def test_a_module_that_gives_no_vectors_for_tokens_is_refused() -> None:
    wide = torch.zeros(6, 5)
    assert tensor_of((wide, None), 2, 3).shape == (2, 3, 5)
    for output in (torch.zeros(3, 2, 5), torch.zeros(2, 3, 5, dtype=torch.int64), (None, wide), {"x": wide}, ()):
        with pytest.raises(UserError, match="one vector for each token"):
            tensor_of(output, 2, 3)
