"""What of a library is not as it was written: its dictionaries, its SAEs and the reports on them, its corpora, and what
jobs kept of two dictionaries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from itda_core import comparison, layers, transplant
from itda_core.corpus import Corpus
from itda_core.files import read_json
from itda_core.library import DictionaryRecord, Library
from itda_core.probing_results import read_probing
from itda_core.quality import dictionary_quality
from itda_core.sae_records import sae_ids, verify_sae
from itda_core.types import UserError


def verify_library(library: Library) -> dict[str, list[str]]:
    """Problems of everything in a library, a line each, by the name of its folder or file; none for what is sound."""
    problems = {dictionary_id: list(library.verify(dictionary_id)) for dictionary_id in library.ids()}
    for record in library.records():
        if isinstance(record, DictionaryRecord):
            own = problems.setdefault(record.id, [])
            own += _problem(dictionary_quality, library, record)
            own += _problem(read_probing, record, library.folder(record.id))
    saes = {sae_id: list(verify_sae(library, sae_id)) for sae_id in sae_ids(library)}
    for more in (saes, _of_corpora(library), _of_comparisons(library), _of_layers(library)):
        for name, lines in more.items():  # two of one name, which a stranger may give them, hide nothing of each other
            problems.setdefault(name, []).extend(lines)
    return problems


def _of_corpora(library: Library) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    for folder in sorted(library.corpora.iterdir()) if library.corpora.is_dir() else []:
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                problems[folder.name] = list(Corpus.open(folder).verify())
            except UserError as error:
                problems[folder.name] = [str(error)]
    return problems


def _of_comparisons(library: Library) -> dict[str, list[str]]:
    """Of every comparison and every transplant, which lie in one folder, of the library's dictionaries.

    What is left of dictionaries that are not here, or were built anew since, is passed over.
    """
    records = [record for record in library.records() if isinstance(record, DictionaryRecord)]
    problems: dict[str, list[str]] = {}
    for summary, reads in (
        (comparison.SUMMARY_FILE, (comparison.read_comparison, comparison.read_measures)),
        (transplant.SUMMARY_FILE, (transplant.read_transplant,)),
    ):
        for name, (a, b) in comparison.kept_pairs(library, records, summary).items():
            own = problems.setdefault(name, [])
            own += [line for read in reads for line in _problem(read, library, a, b)]
    return problems


def _of_layers(library: Library) -> dict[str, list[str]]:
    def read(path: Path) -> None:
        layers.LayerSimilarity.parse(read_json(path))

    return {path.name: _problem(read, path) for path in sorted(library.comparisons.glob(layers.REPORTS))}


def _problem(read: Callable[..., Any], *of: Any) -> list[str]:
    try:
        read(*of)
    except UserError as error:
        return [str(error)]
    return []
