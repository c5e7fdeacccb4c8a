"""Let SmolLM2-135M-Instruct write the texts of the dictionary that ships with the project.

    python data/write_texts.py data/smollm2

Each topic of `topics.txt` there is asked for in two of six forms. Writes `texts.jsonl`, one text a line, under the
licence of the model (Apache-2.0). The same versions on the same kind of machine give the same texts.
"""

import argparse
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from itda_core.models.gguf_cache import converted_gguf
from itda_core.models.smollm2 import require_smollm2

FORMS = (
    "Write an article for an encyclopedia about {}.",
    "Write the beginning of a short story about {}.",
    "Write a report for a newspaper about {}.",
    "Write a dialogue in which two people talk about {}.",
    "Explain to a child, with an example, what is interesting about {}.",
    "Write a letter to a friend about {}.",
)
ASKED = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LONGEST, TOGETHER, SEED = 150, 16, 0
TEMPERATURE, TOP_P, REPETITION = 0.6, 0.9, 1.15


def prompts(topics: list[str]) -> list[str]:
    """Return two prompts for each topic, in forms that take turns."""
    n = len(FORMS)
    pairs = [(at % n, (at + 1 + at // n % (n - 1)) % n) for at in range(len(topics))]
    return [ASKED.format(FORMS[form].format(topic)) for topic, pair in zip(topics, pairs, strict=True) for form in pair]


def write_texts(folder: Path) -> None:
    """Write `texts.jsonl` from the topics in a folder.

    Raises UserError if SmolLM2 is not installed.
    """
    place = converted_gguf(require_smollm2())
    tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    inputs = prompts((folder / "topics.txt").read_text(encoding="utf-8").splitlines())
    texts = []
    torch.manual_seed(SEED)
    for first in range(0, len(inputs), TOGETHER):
        fed = tokenizer(inputs[first : first + TOGETHER], return_tensors="pt", padding=True)
        found = model.generate(
            **fed,
            max_new_tokens=LONGEST,
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
            repetition_penalty=REPETITION,
        )
        texts += tokenizer.batch_decode(found[:, fed["input_ids"].shape[1] :], skip_special_tokens=True)
        print(f"{len(texts)} of {len(inputs)}", flush=True)
    with (folder / "texts.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text.strip()}, ensure_ascii=False) + "\n" for text in texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Let SmolLM2 write the texts of the dictionary that ships.")
    parser.add_argument("folder", type=Path, help="where topics.txt lies and texts.jsonl goes")
    write_texts(parser.parse_args().folder)
