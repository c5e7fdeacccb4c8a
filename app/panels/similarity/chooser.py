"""Similarity page: the models that can be compared."""

from collections import defaultdict

from app.format.names import differing
from app.shell import chrome, urls, widgets
from app.state import pages
from itda_core.library.manifest import DictionaryManifest

go = urls.Binding(pages.SimilarityState, "similarity").go


def models() -> dict[str, DictionaryManifest]:
    """Return a dictionary of each model in the library, by the model's display name."""
    found: dict[tuple, DictionaryManifest] = {}
    for record in chrome.sound_records():
        found.setdefault(identity(record), record)
    namesakes: defaultdict[str, list[DictionaryManifest]] = defaultdict(list)
    for record in found.values():
        namesakes[record.model].append(record)
    return {
        " · ".join(filter(None, [model, differences[record.id]])): record
        for model, group in namesakes.items()
        for differences in [differing({record.id: _details(record) for record in group})]
        for record in group
    }


def identity(record: DictionaryManifest) -> tuple:
    """Return the key that identifies one model, as captured on one corpus."""
    return record.model, record.weights_sha256, record.revision, record.corpus, record.site.hook, record.cut


def _details(record: DictionaryManifest) -> tuple[str, ...]:
    """Return what may distinguish a model from its namesakes."""
    weights, revision = (record.weights_sha256 or "")[:8], (record.revision or "")[:8]
    cut = f"{record.cut.context} tokens, {record.cut.windows}" + (", first kept" if record.cut.keep_first else "")
    return record.site.hook, record.corpus, cut, weights, revision


def show_others(shown: pages.SimilarityState, found: dict[str, DictionaryManifest]) -> None:
    """Show links that choose the second model."""
    chosen = shown.a or shown.b
    records = {record.id: record for record in chrome.sound_records()}
    if chosen not in records:
        return
    others = {name: record for name, record in found.items() if identity(record) != identity(records[chosen])}
    for name, record in others.items():
        pair = pages.SimilarityState(shown.a or record.id, shown.b or record.id)
        widgets.link(name, urls.address(pair), "grid_on", key=f"other_{record.id}")
