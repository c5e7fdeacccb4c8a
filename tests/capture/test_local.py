import gc
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from itda_core import UserError
from itda_core.capture.local import Batch, Capture
from itda_core.capture.store import Packed, pack, record_activations
from itda_core.common.errors import DamagedError
from itda_core.common.settings import WindowSettings
from itda_core.common.types import Document, Site
from itda_core.corpus.windows import make_windows
from itda_core.models.model import Model, load_model
from tests.support.places import MODEL_A

HOOKS = [Site(1, "attn"), Site(1, "mlp"), Site(1), Site(4), Site(0)]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(str(MODEL_A), device="cpu")


@pytest.fixture(scope="module")
def documents(language_reference: list[Document]) -> list[Document]:
    return [Document("short", "a b"), Document("none", ""), *language_reference[:20]]


def capture(model: Model, documents: list[Document], sites: list[Site], batch_windows: int = 16, **settings) -> Capture:
    settings = WindowSettings(**{"context": 64, **settings})
    return Capture(model, sites, lambda: make_windows(documents, model.tokenizer, settings, 10_000), batch_windows)


def plain_forward(network: torch.nn.Module, ids: list[int], layer: int) -> torch.Tensor:
    """Output of a block by a plain hook on an unpadded forward pass."""
    seen = []
    block = network.get_submodule(network.base_model_prefix).get_submodule("layers")[layer]
    handle = block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.no_grad():
        network(torch.tensor([ids]))
    handle.remove()
    return seen[0][0] if isinstance(seen[0], torch.Tensor) else seen[0][0][0]


def test_activations_equal_a_plain_forward_pass(model: Model, documents: list[Document]) -> None:
    network = AutoModelForCausalLM.from_pretrained(MODEL_A, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL_A)
    captured: dict[tuple[int, int], torch.Tensor] = {}
    for batch in capture(model, documents, [Site(2)]):
        for (document, position), x in zip(batch.sources.tolist(), batch.activations[Site(2)], strict=True):
            captured[document, position] = x
    expected = 0
    for ordinal, document in enumerate(documents):
        ids = tokenizer(document.text, add_special_tokens=False)["input_ids"][:64]
        if len(ids) > 1:
            states = plain_forward(network, ids, 2)
            for position in range(1, len(ids)):
                assert torch.allclose(captured[ordinal, position], states[position], atol=1e-4)
                expected += 1
    assert len(captured) == expected  # neither padding nor a window's first token is among them


def test_attention_and_mlp_add_up_to_the_block(model: Model, documents: list[Document]) -> None:
    for batch in capture(model, documents, HOOKS):
        a = batch.activations
        total = a[Site(0)] + a[Site(1, "attn")] + a[Site(1, "mlp")]
        assert torch.allclose(total, a[Site(1)], atol=1e-4)


def test_captures_are_bit_equal_whatever_the_batch(model: Model, documents: list[Document]) -> None:
    runs = []
    for size in (4, 16, 16):
        batches = list(capture(model, documents, [Site(3)], size))
        runs.append((torch.cat([b.sources for b in batches]), torch.cat([b.activations[Site(3)] for b in batches])))
    for sources, x in runs[1:]:
        assert torch.equal(sources, runs[0][0])
        assert torch.equal(x, runs[0][1])


def test_all_windows_reach_the_end_of_a_document(model: Model, documents: list[Document]) -> None:
    longest = max(documents, key=lambda document: len(document.text))
    (batch, *_) = capture(model, [longest], [Site(0)], 4, windows="all", context=32)
    assert batch.sources[:, 1].tolist() == [p for start in (0, 32, 64, 96) for p in range(start + 1, start + 32)]


def test_a_layer_or_context_that_the_model_does_not_have_is_refused(model: Model, documents: list[Document]) -> None:
    with pytest.raises(UserError, match="layers 0 to 5"):
        capture(model, documents, [Site(6)])
    with pytest.raises(UserError, match="--context"):
        list(capture(model, documents, [Site(0)], context=129))


@pytest.mark.slow
def test_memory_is_freed_after_each_batch(model: Model, documents: list[Document]) -> None:
    def tensors() -> int:
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    counts = [tensors() for _ in capture(model, documents * 4, [Site(2)], 4)]
    assert max(counts[5:]) - counts[4] < 20


@pytest.mark.parametrize(("name", "message"), [("no/such/model/here", "no folder"), ("empty", "config.json")])
def test_a_model_that_is_not_there_is_refused(name: str, message: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        load_model(name)
    assert "\n" not in str(caught.value)


def packed(capture: Capture) -> Callable[[int], Iterator[Packed]]:
    return lambda first: map(pack, capture.batches(first))


def test_recorded_activations_come_back_to_half_precision(model: Model, documents: list[Document], tmp_path) -> None:
    captured = capture(model, documents, [Site(2), Site(3, "mlp")], 4)
    recorded = record_activations(packed(captured), tmp_path / "kept")
    for live, kept in zip(captured, recorded, strict=True):
        assert torch.equal(live.sources, kept.sources)
        for site, x in live.activations.items():
            error = (kept.activations[site] - x).norm(dim=1) / x.norm(dim=1)
            assert error.max() < 1e-3
    shard = next((tmp_path / "kept").glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    with pytest.raises(DamagedError, match="changed"):
        list(recorded)


def test_a_recording_goes_on_after_the_last_whole_shard(model: Model, documents: list[Document], tmp_path) -> None:
    captured = capture(model, documents, [Site(2)], 4)
    record_activations(packed(captured), tmp_path / "whole")
    asked = []

    def stopping(first: int) -> Iterator[Packed]:
        asked.append(first)
        yield from islice(packed(captured)(first), 2)
        raise ConnectionError

    rows = []
    for _ in range(2):
        with pytest.raises(ConnectionError):
            record_activations(stopping, tmp_path / "stopped", rows.append)
    last = sorted((tmp_path / "stopped").glob("shard-*"))[-1]
    last.write_bytes(last.read_bytes()[:-1])  # as a machine leaves it that lost its power
    (tmp_path / "stopped" / ".shard-0123").write_bytes(b"half of one")
    rows.clear()
    record_activations(packed(captured), tmp_path / "stopped", rows.append)
    assert asked == [0, 2]
    assert sum(rows) == sum(len(batch.sources) for batch in captured)
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("whole", "stopped")]
    assert names[0] == names[1]  # and so the same content: a name carries its checksum


def test_an_activation_that_is_not_finite_is_an_error(tmp_path) -> None:
    bad = Batch({Site(0): torch.tensor([[1.0, float("inf")]])}, torch.zeros(1, 2, dtype=torch.int64))
    with pytest.raises(UserError, match="not finite"):
        record_activations(lambda first: iter([pack(bad)]), tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []
