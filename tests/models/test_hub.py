"""The README's command on a Hub model and a Hub dataset, against a loopback server that speaks the Hub's protocol."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoModelForCausalLM

from itda_core.common.errors import UserError
from itda_core.common.types import Document
from itda_core.models.hub import weight_files
from tests.support.hub_server import COMMIT, UNKNOWN_TOKEN, Hub, hub_environment, serve
from tests.support.places import MODEL_A
from tests.support.processes import run_itda, run_python

PARTS = [f"model-{part:05}-of-00004.safetensors" for part in range(1, 5)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, language_reference: list[Document]) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    ignore = shutil.ignore_patterns("checkpoints")
    for name in ("open", "gated"):
        shutil.copytree(MODEL_A, folder / "models" / "tests" / name, ignore=ignore)
    (folder / "datasets" / "tests" / "reference").mkdir(parents=True)
    texts = pd.DataFrame({"text": [document.text for document in language_reference]})
    texts.to_parquet(folder / "datasets" / "tests" / "reference" / "train.parquet")
    models = folder / "models" / "tests"
    AutoModelForCausalLM.from_pretrained(MODEL_A).save_pretrained(models / "parts", max_shard_size="2MB")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL_A / file, models / "parts")
    for name in ("private", "pickle", "gguf", "adapter", "elsewhere", "code", "short"):
        (models / name).mkdir()
        for file in MODEL_A.glob("*.json"):
            shutil.copy(file, models / name)
    for name in ("private", "code"):
        shutil.copy(MODEL_A / "model.safetensors", models / name)
    (models / "pickle" / "pytorch_model.bin").write_bytes(b"no pickle is read")
    (models / "gguf" / "q4.gguf").write_bytes(b"GGUF")
    (models / "adapter" / "config.json").rename(models / "adapter" / "adapter_config.json")
    index = {"weight_map": {"model.embed_tokens.weight": "../../away.safetensors"}}
    (models / "elsewhere" / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}}
    (models / "code" / "config.json").write_text(json.dumps(config))
    (models / "code" / "own.py").write_text("raise SystemExit('it was run')")
    (models / "short" / "model.safetensors").write_bytes((MODEL_A / "model.safetensors").read_bytes()[:100_000])
    locked = {"models/tests/gated": "hf_right"}
    with serve(folder, gated=locked, private={"models/tests/private": "hf_right"}) as served:
        yield served


def build(hub: Hub, home: Path, model: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    arguments = ["build", model, "--corpus", "tests/reference", "--layers", "2", "--tokens", "3000", "--no-map", *more]
    where = ["--library", str(home / "library"), "--json"]
    return run_itda(*arguments, *where, env=hub.environment(home / "cache", **environment))


def test_a_model_and_a_dataset_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    done = build(hub, tmp_path, "tests/open")
    assert done.returncode == 0, done.stderr
    (built,) = json.loads(done.stdout)["dictionaries"]
    assert built["model"] == "tests/open"
    assert built["id"].startswith("tests-open-l2-resid-")
    assert built["corpus"].startswith("reference-") or built["corpus"].startswith("tests-reference-")
    manifest = json.loads((tmp_path / "library" / "dictionaries" / built["id"] / "manifest.json").read_text())
    assert manifest["revision"] == COMMIT


def test_a_gated_model(hub: Hub, tmp_path: Path) -> None:
    refused = build(hub, tmp_path, "tests/gated")
    assert refused.returncode == 2
    assert "HF_TOKEN" in refused.stderr.splitlines()[-1]
    allowed = build(hub, tmp_path, "tests/gated", "--tokens", "300", "--no-holdout", HF_TOKEN="hf_right")
    assert allowed.returncode == 0, allowed.stderr


def test_a_model_in_parts_is_fetched_with_progress_and_read_again_offline(hub: Hub, tmp_path: Path) -> None:
    few = ["--tokens", "300", "--no-holdout"]
    done = build(hub, tmp_path, "tests/parts", *few)
    assert done.returncode == 0, done.stderr
    for part in PARTS:
        assert re.search(re.escape(part) + r".*100%.*B/s", done.stderr), done.stderr
    asked = len(hub.requests)
    text = tmp_path / "corpus.txt"  # a dataset is read from the Hub itself
    text.write_text("one two three four\n" * 200)
    again = build(hub, tmp_path, "tests/parts", *few, "--corpus", str(text), HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert len(hub.requests) == asked
    (built,) = json.loads(again.stdout)["dictionaries"]
    manifest = json.loads((tmp_path / "library" / "dictionaries" / built["id"] / "manifest.json").read_text())
    assert manifest["revision"] == COMMIT


# What cannot be had. The client reads its environment when it is imported, so each environment has one process, in
# which the command runs once for each case.

RUN_ALL = """
import contextlib, io, json, sys
from itda_core.cli.command_line import main

report = {}
for case, arguments in json.loads(sys.argv[1]).items():
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    report[case] = [code, said.getvalue().splitlines()[-1]]
print(json.dumps(report))
"""


def told(environment: dict[str, str], home: Path, cases: dict[str, list[str]]) -> dict[str, str]:
    """The last line of stderr for each case, a model and options of `itda build`, which must end with exit code 2."""
    text = home / "corpus.txt"
    text.write_text("one two three four\n" * 20)
    common = ["--corpus", str(text), "--layers", "2", "--library", str(home / "library")]
    arguments = {case: ["build", *given, *common] for case, given in cases.items()}
    done = run_python(RUN_ALL, json.dumps(arguments), env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "hf_" not in done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert {code for code, _ in report.values()} == {2}, report
    return {case: line for case, (_, line) in report.items()}


def test_what_cannot_be_had_is_told_in_one_line(hub: Hub, tmp_path: Path) -> None:
    cases = {
        "missing": ["tests/none"],
        "private": ["tests/private"],
        "gated": ["tests/gated"],
        "revision": ["tests/open", "--revision", "v9"],
        "pickle": ["tests/pickle"],
        "GGUF": ["tests/gguf"],
        "no config": ["tests/adapter"],
        "elsewhere": ["tests/elsewhere"],
        "code": ["tests/code"],
        "cut short": ["tests/short"],
        "device": ["tests/open", "--device", "cuda:77"],
        "no id": ["not an id"],
    }
    lines = told(hub.environment(tmp_path / "cache"), tmp_path, cases)
    expected = {
        "missing": "there is no folder and no Hub model 'tests/none': check the name",
        "private": "set HF_TOKEN if it is private",
        "gated": f"tests/gated is gated: accept its terms on {hub.url}/tests/gated and set HF_TOKEN",
        "revision": "tests/open has no revision 'v9'",
        "pickle": "as pickle only (pytorch_model.bin), which is never loaded here: name a copy in safetensors",
        "GGUF": "as GGUF only: fetch one file (q4.gguf) with hf download, and name that file",
        "no config": "tests/adapter has no config.json",
        "elsewhere": "names '../../away.safetensors', which is no weight file",
        "code": "tests/code needs code of its own, which is never run here",
        "cut short": "tests/short has damaged weights",
        "device": "there is no device 'cuda:77' here",
        "no id": "there is no folder 'not an id'",
    }
    for case, line in expected.items():
        assert lines[case].startswith("itda: ") and line in lines[case], lines[case]


@pytest.mark.parametrize(
    "said",
    [
        '{"weight_map": {"a": 1, "b": 2}}',
        '{"weight_map": {"a": "one.safetensors", "b": null}}',
        '{"weight_map": {"a": "\\u001b[31m.safetensors"}}',
        '{"weight_map": {"a": "*.safetensors"}}',
        '{"weight_map": {"a": ["one.safetensors"]}}',
        '{"weight_map": {"a": "sub/one.safetensors"}}',
        '{"weight_map": 3}',
        "[" * 100_000,
    ],
)
def test_a_list_of_weights_that_is_none(said: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(said)
    with pytest.raises(UserError, match=r"names '.*', which is no weight file|is damaged: fetch the model again"):
        weight_files(tmp_path)


def test_weights_in_parts(tmp_path: Path) -> None:
    names = {"a": PARTS[1], "b": PARTS[0], "c": PARTS[1]}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert weight_files(tmp_path) == PARTS[:2]


def test_a_token_that_is_not_known_or_not_let_in(hub: Hub, tmp_path: Path) -> None:
    unknown = told(hub.environment(tmp_path / "a", HF_TOKEN=UNKNOWN_TOKEN), tmp_path, {"it": ["tests/open"]})
    assert "the Hub does not know the token" in unknown["it"]
    cases = {"gated": ["tests/gated"], "private": ["tests/private"]}
    wrong = told(hub.environment(tmp_path / "b", HF_TOKEN="hf_of_another"), tmp_path, cases)
    assert "accept its terms" in wrong["gated"]
    assert "no Hub model 'tests/private'" in wrong["private"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("offline", "line"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "is not in the cache and HF_HUB_OFFLINE is set: unset it once to fetch the model"),
        ({}, "the Hub cannot be reached, and tests/open is not in the cache: check the network"),
    ],
    ids=["offline", "no network"],
)
def test_without_a_network_and_a_cache_the_user_is_told_at_once(offline: dict, line: str, tmp_path: Path) -> None:
    started = time.monotonic()
    lines = told(hub_environment("http://127.0.0.1:9", tmp_path / "cache", **offline), tmp_path, {"it": ["tests/open"]})
    assert line in lines["it"]
    assert time.monotonic() - started < 60
