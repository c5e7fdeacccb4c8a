"""SAEBench's core evaluation of a dictionary, in an environment of its own, which SAEBench needs.

    python -m venv saebench && saebench/bin/pip install sae-bench==0.6.0 numba==0.68.1 duckdb==2.0.0
    saebench/bin/pip install --no-deps -e .
    saebench/bin/python data/saebench_core.py ID --library library --model data/docs-a --out data/results/saebench.json

SAEBench and the code under it are run as they come: `multiple_evals` of `sae_bench.evals.core`, on texts of the
dictionary's corpus that it was not built from. Only the loading of the model is replaced, since TransformerLens loads
by names of the Hub and this model lies in a folder; that it computes what transformers computes is checked first.

What SAEBench counts of signed coefficients: `l0` all that are not zero, `l1` their sum with its sign, and densities,
`frac_alive` among them, those above zero only.
"""

import argparse
import json
import logging
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import sae_bench.evals.core.main as core
import torch
from datasets import Dataset
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from itda_core.corpus.store import Corpus
from itda_core.corpus.windows import is_held_out
from itda_core.dictionary.dictionary import Dictionary
from itda_core.interop.saelens import ItdaSae
from itda_core.library.library import Library

SAME = 1e-3  # that a logit may be off by, of logits of some tens


def hooked(folder: Path) -> HookedTransformer:
    """Load a folder's Llama in TransformerLens, nothing folded; raises RuntimeError where it computes anything else."""
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = network.config
    heads = config.num_attention_heads
    form = HookedTransformerConfig(
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        n_ctx=config.max_position_embeddings,
        d_head=config.head_dim,
        n_heads=heads,
        n_key_value_heads=None if config.num_key_value_heads == heads else config.num_key_value_heads,
        d_mlp=config.intermediate_size,
        d_vocab=config.vocab_size,
        act_fn=config.hidden_act,
        eps=config.rms_norm_eps,
        normalization_type="RMS",
        final_rms=True,
        gated_mlp=True,
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=False,
        rotary_dim=config.head_dim,
        rotary_base=int(config.rope_parameters["rope_theta"]),
        model_name=folder.name,
        original_architecture="LlamaForCausalLM",
        default_prepend_bos=False,
        device="cpu",
        dtype=torch.float32,
    )
    model = HookedTransformer(form, tokenizer=tokenizer, default_padding_side="right")
    model.load_and_process_state_dict(
        convert_llama_weights(network, form),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    ids = torch.randint(1, config.vocab_size, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        off = (model(ids) - network(ids).logits).abs().max().item()
    if not off < SAME:
        raise RuntimeError(f"TransformerLens' logits of {folder.name} differ by {off:g} from those of transformers")
    print(f"logits differ by {off:.1e} at most from those of transformers", file=sys.stderr)
    return model


def main() -> None:
    """Evaluate a dictionary with SAEBench and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("id")
    parser.add_argument("--library", type=Path, default=Path("library"))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reconstruction-batches", type=int, default=20)
    parser.add_argument("--sparsity-batches", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=16, help="in a batch")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)

    library = Library(args.library)
    record = library.record(args.id)
    dictionary = Dictionary.load(library.folder(args.id))
    model = hooked(args.model)
    core.HookedTransformer.from_pretrained_no_processing = lambda *_, **__: model  # names of the Hub only, as it is
    documents = Corpus.open(library.corpora / record.corpus).documents()
    texts = [document.text for at, document in enumerate(documents) if is_held_out(at) and document.text.strip()]
    sae = ItdaSae.of(record, dictionary)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "held-out"
        data.mkdir()
        Dataset.from_dict({"text": texts}).to_parquet(data / "train.parquet")
        results = core.multiple_evals(
            selected_saes=[(args.id, sae)],
            n_eval_reconstruction_batches=args.reconstruction_batches,
            n_eval_sparsity_variance_batches=args.sparsity_batches,
            eval_batch_size_prompts=args.prompts,
            compute_featurewise_density_statistics=True,
            compute_featurewise_weight_based_metrics=True,
            exclude_special_tokens_from_reconstruction=True,
            dataset=str(data),
            context_size=record.cut.context,
            output_folder=str(Path(folder) / "results"),
            dtype="float32",
            device="cpu",
            force_rerun=True,
        )
        if not results:
            raise RuntimeError("SAEBench evaluated nothing: its reason is above")
        (path,) = (Path(folder) / "results").glob("*.json")
        report = json.loads(path.read_text())
    config = report["eval_config"]
    packages = ("sae-bench", "sae-lens", "transformer-lens", "transformers", "torch", "numpy")
    kept = {
        "dictionary": record.summary(),
        "texts": f"{len(texts):,} held-out documents of {record.corpus}",
        "eval_config": {name: config[name] for name in config if name not in ("dataset", "model_name")},
        "metrics": report["eval_result_metrics"],
        "latents": len(report["eval_result_details"]),
        "versions": {name: version(name) for name in packages},
    }
    args.out.write_text(json.dumps(kept, indent=2) + "\n")
    print(json.dumps(report["eval_result_metrics"], indent=2))


if __name__ == "__main__":
    main()
