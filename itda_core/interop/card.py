"""Model card of a dictionary on the Hub.

It states the dictionary's site, settings and quality, and how to load it.
"""

import re

import yaml

from itda_core.common.text import one_line
from itda_core.library.manifest import DictionaryManifest
from itda_core.reports.quality import QUALITY_METRICS, Measured, Point, Quality

_PLAIN = re.compile(r"[^A-Za-z0-9 ,./=%-]")
_OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def inert(text: str) -> str:
    """Escape untrusted text so that Markdown displays it literally.

    The result is one line without markup.
    """
    return _PLAIN.sub(lambda found: f"&#{ord(found[0])};", one_line(text))


def card(record: DictionaryManifest, repo: str, has_index: bool, quality: Quality | None) -> str:
    """Return the README of a repository.

    Args:
        record: the dictionary's manifest.
        repo: the repository, OWNER/NAME.
        has_index: whether the index, and so the corpus texts, is included.
        quality: the dictionary's evaluation report, if there is one.
    """
    head = {"library_name": "itda-explorer", "tags": ["itda", "interpretability", "dictionary-learning"]}
    if record.revision is not None and _OWNER_AND_NAME.fullmatch(record.model):
        head["base_model"] = record.model
    settings = record.settings
    rows = {
        "model": record.model + ("" if record.revision is None else f" at {record.revision}"),
        "place": f"layer {record.site.layer}, {record.site.hook}",
        "corpus": record.corpus,
        "tokens": f"{record.n_tokens:,}" if record.has_text else "not known",
        "atoms": f"{record.n_atoms:,} of width {record.d_model:,}",
        "threshold": f"{settings.threshold:g}, {settings.error} error",
        "pursuit": f"{settings.method}, L0 {settings.l0}",
        "scan": f"{settings.scan}, start {settings.init}",
        **({"recipe": settings.recipe} if settings.recipe != "published" else {}),
        **({"centring": "the mean activation is subtracted first"} if settings.center == "mean" else {}),
        **({"norms": f"at most {limit:g} times the median"} if (limit := settings.max_norm) is not None else {}),
        **({"relative error": _error(record)} if record.relative_error is not None else {}),
        **({"variance explained": f"{explained:.4f}"} if (explained := record.variance_explained) is not None else {}),
    }
    measured = {} if quality is None or quality.is_seen else _measured(record, quality)
    lines = [
        f"# ITDA dictionary of {inert(record.model)}, layer {record.site.layer} {record.site.hook}",
        "",
        "Its atoms are activations of the model at tokens of a text; others are sums of few of them (Inference-Time "
        "Decomposition of Activations, [arXiv 2505.17769](https://arxiv.org/abs/2505.17769)).",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {inert(value)} |" for name, value in rows.items()),
        *(f"| {QUALITY_METRICS[name]} | {_interval(value)} |" for name, value in measured.items()),
        "",
        "```python",
        "from huggingface_hub import snapshot_download",
        "from itda_core import Dictionary",
        f'dictionary = Dictionary.load(snapshot_download("{repo}"))',
        "```",
        "",
        f"`itda pull {repo}` brings it into a library"
        + (
            ", with the index by which it is browsed: `index.duckdb` holds the texts that it was built from."
            if has_index
            else "; with `--model` and `--corpus` it is encoded there, to be browsed. The texts are not here."
        ),
        "`manifest.json` has all settings and the SHA-256 of the files.",
        "",
    ]
    return "---\n" + yaml.safe_dump(head, sort_keys=False, allow_unicode=True) + "---\n" + "\n".join(lines)


def _error(record: DictionaryManifest) -> str:
    return f"{record.relative_error:.4f} on {record.measured_tokens:,} {'held-out ' if record.holdout else ''}tokens"


def _measured(record: DictionaryManifest, quality: Quality) -> dict[str, Measured]:
    """Return the metrics of the uncropped dictionary at its own L0.

    The relative error is left out, since the manifest has it.
    """

    def is_own(point: Point) -> bool:
        return (point.latents, point.l0) == (record.n_atoms, record.settings.l0)

    points = [point for series in quality.series[:1] for point in series.points if is_own(point)]
    return {name: value for point in points[:1] for name, value in point.measured.items() if name != "relative_error"}


def _interval(value: Measured) -> str:
    return f"{value.value:.4g} ({value.low:.4g} to {value.high:.4g}, 95 % bootstrap over documents)"
