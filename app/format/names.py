"""Display names of dictionaries.

A name is the model and the site; where several dictionaries share both, the settings that differ are added.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from itda_core.library.manifest import DictionaryManifest

Key = TypeVar("Key", bound=Hashable)


def place_of(record: DictionaryManifest) -> str:
    """Return a dictionary's site in its model, as text."""
    return f"layer {record.site.layer} {record.site.hook}"


def names(records: Sequence[DictionaryManifest]) -> dict[str, str]:
    """Return the name of each dictionary by id; no two are the same."""
    groups = _grouped(records, {record.id: (record.model, record.site) for record in records})
    return {
        record.id: " · ".join(filter(None, [record.model, place_of(record), differences[record.id]]))
        for group in groups
        for differences in [_differences(group)]
        for record in group
    }


def rows(records: Sequence[DictionaryManifest]) -> dict[str, tuple[str, str]]:
    """Return each dictionary's row in a grid of models and layers, by id.

    A row is the model, and the settings that distinguish it from the model's other rows. A model has one row, unless it
    has several dictionaries at one site.
    """
    placed: dict[str, tuple[str, str]] = {}
    for group in _grouped(records, {record.id: record.model for record in records}):
        is_plain = len({record.site for record in group}) == len(group)
        differences = {} if is_plain else _differences(group)
        placed |= {record.id: (record.model, differences.get(record.id, "")) for record in group}
    return placed


def _grouped(records: Sequence[DictionaryManifest], keys: dict[str, Hashable]) -> list[list[DictionaryManifest]]:
    groups: defaultdict[Hashable, list[DictionaryManifest]] = defaultdict(list)
    for record in records:
        groups[keys[record.id]].append(record)
    return list(groups.values())


def _differences(group: Sequence[DictionaryManifest]) -> dict[str, str]:
    """Return the settings by which dictionaries differ, as text by id.

    Where two at one site have the same settings, the hashes of the ids are added.
    """
    if len(group) == 1:
        return {group[0].id: ""}
    words = differing({record.id: _details(record) for record in group})
    shown = [(words[record.id], record.site) for record in group]
    if len(set(shown)) < len(shown):
        return {each: ", ".join(filter(None, [text, each.rsplit("-", 1)[-1]])) for each, text in words.items()}
    return words


def differing(details: Mapping[Key, tuple[str, ...]]) -> dict[Key, str]:
    """Return what distinguishes things from each other: of their details, those that are not the same in all."""
    shown = [at for at, values in enumerate(zip(*details.values(), strict=True)) if len(set(values)) > 1]
    return {key: ", ".join(filter(None, (detail[at] for at in shown))) for key, detail in details.items()}


def _details(record: DictionaryManifest) -> tuple[str, ...]:
    settings = record.settings
    return (
        f"τ {settings.threshold:.4g}" + ("" if settings.error == "relative" else f" {settings.error}"),
        f"L0 {settings.l0}",
        settings.scan,
        settings.init,
        "" if settings.recipe == "published" else settings.recipe,
        "" if settings.center == "none" else "centred",
        "" if settings.max_norm is None else f"norms to {settings.max_norm:g} × median",
        "" if settings.max_atoms is None else f"at most {settings.max_atoms} atoms",
        record.corpus,
        (record.revision or "")[:8],
        (record.weights_sha256 or "")[:8],
    )
