"""Train one of the small models that the demo and the benchmarks run on, from what is installed on this machine.

    python data/train.py data/docs-a --seed 1
    python data/train.py data/docs-b --seed 2 --tokenizer data/docs-a

The card of every model has the command that trains it. Writes the weights (float16), the tokenizer, `training.json`
(every setting, the loss curve, the held-out loss beside a unigram and a trigram model) and the model card. One thread
and a fixed seed: the same versions give the same weights. The first model of an architecture trains its tokenizer; the
others take it with `--tokenizer data/docs-a`.

`MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=10000000000` before the command makes glibc keep the memory of
a step for the next one, which takes a third to a half off the time of a small model.
"""

import argparse
import hashlib
import importlib.metadata
import json
import math
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from baselines import trigram_loss, unigram_loss
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from itda_core.common.packages import PACKAGES
from itda_core.corpus.docstrings import read_documentation, read_sources

END_OF_TEXT = "<|endoftext|>"
OWN_TOKENIZER = "trained on the same text"
TEXTS = {"docs": read_documentation, "code": read_sources}
WHAT = {"docs": "the Python language reference and the docstrings", "code": "functions and classes, as source code,"}
HALF = torch.cpu._is_avx512_bf16_supported()  # elsewhere it is several times slower than float32
HEAD = 32  # width of an attention head


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, beside the installed texts."""

    seed: int
    """Seed of the initial weights and of the order of the training windows."""
    vocabulary: int = 4096
    """Byte-level BPE tokens, trained on the same text."""
    context: int = 128
    """Tokens in a training window."""
    width: int = 192
    """Width of the residual stream."""
    layers: int = 6
    """Transformer blocks."""
    text: str = "docs"
    """What is read: the installed documentation, or the source code that it lies in."""
    start: str | None = None
    """The model whose weights it starts from; None for random weights."""
    batch: int = 32
    """Windows per step."""
    steps: int = 2400
    """Optimiser steps."""
    warmup: int = 100
    """Steps over which the learning rate rises from 0; it then falls linearly to 0."""
    matrix_lr: float = 4e-3
    """Peak learning rate of the blocks' matrices."""
    other_lr: float = 4e-3
    """Peak learning rate of the embedding and the norms."""
    matrices: str = "muon"
    """Who trains the matrices: muon, which works in bfloat16, or adamw, as it trains all else."""
    checkpoints: tuple[int, ...] = ()
    """Steps after which the weights are kept as well."""

    @property
    def mlp(self) -> int:
        """Hidden width of the gated MLP: 8/3 of the stream's, in multiples of 64."""
        return round(self.width * 8 / 3 / 64) * 64


def tokenizer_of(texts: list[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the texts: every string has tokens, and nothing is added to it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        model_max_length=recipe.context,
        clean_up_tokenization_spaces=False,
    )


def token_stream(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Return the documents' tokens one after another, each closed by the end-of-text token."""
    encoded = tokenizer.backend_tokenizer.encode_batch(texts)
    end = tokenizer.eos_token_id
    return np.concatenate([np.array([*one.ids, end], dtype=np.int64) for one in encoded])


def windows(stream: np.ndarray, context: int) -> torch.Tensor:
    """[n, context] windows of a token stream, end to end."""
    return torch.from_numpy(stream[: len(stream) // context * context].reshape(-1, context))


def loss_of(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy in nats."""
    with torch.autocast("cpu", torch.bfloat16, enabled=HALF):
        logits = model(input_ids=batch, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, held_out: torch.Tensor) -> float:
    """Mean loss over held-out windows, in nats a token."""
    model.eval()
    losses = [loss_of(model, batch).item() * len(batch) for batch in held_out.split(32)]
    model.train()
    return sum(losses) / len(held_out)


def optimisers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for the embedding and the norms; for the blocks' matrices, the recipe's optimiser."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    if recipe.matrices == "muon":
        first = torch.optim.Muon(matrices, lr=recipe.matrix_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    else:
        first = torch.optim.AdamW(matrices, lr=recipe.matrix_lr, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    return [
        first,
        torch.optim.AdamW(others, lr=recipe.other_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a float16 copy of the weights, and the tokenizer, in Hugging Face's format."""
    copy = LlamaForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return a model of the recipe's shape with random weights."""
    heads = recipe.width // HEAD
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=recipe.vocabulary,
            hidden_size=recipe.width,
            intermediate_size=recipe.mlp,
            num_hidden_layers=recipe.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train(recipe: Recipe, folder: Path, tokenizer_folder: Path | None, start: Path | None) -> None:
    """Train, evaluate and write one model; a model that starts from another has that one's shape."""
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    documents = [document.text for document in TEXTS[recipe.text]()]
    training = [text for ordinal, text in enumerate(documents) if ordinal % 10 != 9]
    held_out = [text for ordinal, text in enumerate(documents) if ordinal % 10 == 9]
    if tokenizer_folder is None:
        tokenizer = tokenizer_of(training, recipe)
    else:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    stream = token_stream(training, tokenizer)
    unseen = windows(token_stream(held_out, tokenizer), recipe.context)[:1600]
    if start is None:
        model = new_model(recipe, tokenizer)
    else:
        model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32, use_safetensors=True).train()
        shape = model.config
        recipe = replace(recipe, vocabulary=shape.vocab_size, width=shape.hidden_size, layers=shape.num_hidden_layers)
    before = None if start is None else held_out_loss(model, unseen)
    optims = optimisers(model, recipe)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optim, lambda step: min((step + 1) / recipe.warmup, (recipe.steps - step) / (recipe.steps - recipe.warmup))
        )
        for optim in optims
    ]
    order = np.random.default_rng(recipe.seed)
    started, curve, queue = time.perf_counter(), [], torch.empty(0, recipe.context, dtype=torch.long)
    for step in range(1, recipe.steps + 1):
        if len(queue) < recipe.batch:  # a new epoch starts at another offset, so that windows differ
            epoch = windows(stream[order.integers(recipe.context) :], recipe.context)
            queue = torch.cat([queue, epoch[torch.from_numpy(order.permutation(len(epoch)))]])
        batch, queue = queue[: recipe.batch], queue[recipe.batch :]
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optim, schedule in zip(optims, schedules, strict=True):
            optim.step()
            schedule.step()
            optim.zero_grad()
        if step % 50 == 0 or step == 1:
            curve.append({"step": step, "training_loss": round(loss.item(), 4)})
            print(f"step {step}: loss {loss.item():.3f}, {time.perf_counter() - started:.0f} s", flush=True)
        if step in recipe.checkpoints:
            save(model, tokenizer, folder / "checkpoints" / f"step-{step}")
            curve[-1]["held_out_loss"] = round(held_out_loss(model, unseen), 4)
    seconds = time.perf_counter() - started
    save(model, tokenizer, folder)
    result = {
        "recipe": asdict(recipe),
        "tokenizer": tokenizer_folder.name if tokenizer_folder else OWN_TOKENIZER,
        "corpus": {
            "documents": len(documents),
            "characters": sum(map(len, documents)),
            "sha256": hashlib.sha256("\0".join(documents).encode()).hexdigest(),
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in (*PACKAGES[:3], "scikit-learn", "torch")},
        },
        "precision": "bfloat16" if HALF else "float32",
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_tokens": recipe.steps * recipe.batch * recipe.context,
        "distinct_training_tokens": len(stream),
        "seconds": round(seconds),
        "held_out_tokens": unseen.numel(),
        "held_out_loss": {
            "model": held_out_loss(model, unseen),
            **({} if before is None else {f"{recipe.start}, which it started from": before}),
            "trigram": trigram_loss(stream, unseen.numpy(), recipe.vocabulary),
            "unigram": unigram_loss(stream, unseen.numpy(), recipe.vocabulary),
        },
        "curve": curve,
    }
    (folder / "training.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "README.md").write_text(card(folder, result))


def card(folder: Path, result: dict) -> str:
    """Return the model card, with figures from `training.json` and the folder as it was passed."""
    rows = "\n".join(
        f"| {model} | {loss:.3f} | {math.exp(loss):.1f} |" for model, loss in result["held_out_loss"].items()
    )
    recipe, corpus = result["recipe"], result["corpus"]
    command = f"python data/train.py {folder.as_posix()} --seed {recipe['seed']}"
    if recipe["start"] is not None:
        command += f" --start data/{recipe['start']}"
    elif result["tokenizer"] != OWN_TOKENIZER:
        command += f" --tokenizer data/{result['tokenizer']}"
    default = asdict(Recipe(recipe["seed"]))
    of_start = ("vocabulary", "layers", "width")  # what a model that starts from another has from that
    for option in ("text", *of_start, "batch", "steps", "matrices"):
        if recipe[option] != default[option] and (recipe["start"] is None or option not in of_start):
            command += f" --{option} {recipe[option]}"
    if recipe["matrix_lr"] != default["matrix_lr"]:
        command += f" --rate {recipe['matrix_lr']}"
    if recipe["checkpoints"]:
        command += f" --checkpoints {' '.join(map(str, recipe['checkpoints']))}"
    packages = ("python", "numpy", "scipy", "pandas", "scikit-learn", "torch")
    versions = ", ".join(f"{package} {corpus[package]}" for package in packages)
    trained = "" if recipe["start"] is None else f" Trained on from {recipe['start']}."
    return f"""---
library_name: transformers
license: mit
language: en
pipeline_tag: text-generation
---
# {folder.name}

A small language model of Python and scientific documentation, for the demo of ITDA Explorer: {recipe["layers"]} blocks
of width {recipe["width"]} (Llama architecture), {result["parameters"]:,} parameters, context {recipe["context"]},
{recipe["vocabulary"]} byte-level BPE tokens, no token added to a text. Seed {recipe["seed"]}.{trained}

**Corpus.** {corpus["documents"]:,} documents, {corpus["characters"]:,} characters: {WHAT[recipe["text"]]} of the
standard library, numpy, scipy, pandas, scikit-learn and torch, as installed ({versions}).
Documents whose ordinal ends in 9 were held out. SHA-256 of the texts: `{corpus["sha256"]}`.

**Training.** {recipe["steps"]:,} steps of {recipe["batch"]} windows, {result["training_tokens"]:,} tokens
({result["training_tokens"] / result["distinct_training_tokens"]:.1f} passes) on one core, {result["seconds"] / 60:.0f}
minutes. Repeat it with `{command}`;
`training.json` has every setting and the loss curve.

**Held-out loss** on {result["held_out_tokens"]:,} tokens of the held-out documents, in nats a token, beside models that
count: a unigram and an interpolated Kneser-Ney trigram on the same training tokens.

| model | loss | perplexity |
|---|---|---|
{rows}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train one of the demo's models.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tokenizer", type=Path, help="folder of the model whose tokenizer is used")
    parser.add_argument("--start", type=Path, help="folder of the model that it starts from, tokenizer included")
    parser.add_argument("--text", choices=TEXTS, default=Recipe(0).text)
    for name in ("vocabulary", "layers", "width", "batch", "steps"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Recipe(0), name))
    parser.add_argument("--rate", type=float, default=Recipe(0).matrix_lr, help="peak learning rate, of all weights")
    parser.add_argument("--matrices", choices=("muon", "adamw"), default=Recipe(0).matrices)
    parser.add_argument("--checkpoints", type=int, nargs="*", default=[])
    args = parser.parse_args()
    if args.steps <= Recipe.warmup:
        parser.error(
            f"--steps {args.steps}: the learning rate rises for {Recipe.warmup} steps, so give more than that."
        )
    train(
        Recipe(
            args.seed,
            vocabulary=args.vocabulary,
            width=args.width,
            layers=args.layers,
            text=args.text,
            start=args.start and args.start.name,
            batch=args.batch,
            steps=args.steps,
            matrices=args.matrices,
            matrix_lr=args.rate,
            other_lr=args.rate,
            checkpoints=tuple(args.checkpoints),
        ),
        args.folder,
        args.start or args.tokenizer,
        args.start,
    )
