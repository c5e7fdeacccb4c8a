"""Similarity page: the models that can be compared."""

from app.shell import chrome, urls, widgets
from app.state import pages
from itda_core.library.manifest import DictionaryManifest

go = urls.Binding(pages.SimilarityState, "similarity").go


def models() -> dict[str, DictionaryManifest]:
    """Return a dictionary of each model in the library, by the model's display name."""
    found: dict[tuple, DictionaryManifest] = {}
    for record in chrome.sound_records():
        found.setdefault(identity(record), record)
    names = [record.model for record in found.values()]
    return {record.model if names.count(record.model) == 1 else _long_name(record): record for record in found.values()}


def identity(record: DictionaryManifest) -> tuple:
    """Return the key that identifies one model, as captured on one corpus."""
    return record.model, record.weights_sha256, record.revision, record.corpus, record.site.hook, record.cut


def _long_name(record: DictionaryManifest) -> str:
    """Return a model's name with all that may distinguish it from its namesakes."""
    weights, revision = (record.weights_sha256 or "")[:8], (record.revision or "")[:8]
    cut = f"{record.cut.context} tokens, {record.cut.windows}" + (", first kept" if record.cut.keep_first else "")
    return " · ".join(filter(None, [record.model, record.site.hook, record.corpus, cut, weights, revision]))


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
