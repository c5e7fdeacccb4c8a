"""Rows of `itda bench recipes`, kept in a file as they are measured, so that a stopped run can go on."""

import time
from pathlib import Path
from statistics import mean

from itda_core.benchmarks.recipes.results import PUBLISHED, Lead, RecipeRow, RecipesBench, RecipesReport
from itda_core.common.disk_errors import writing
from itda_core.common.errors import UserError
from itda_core.common.files import read_json, write_json
from itda_core.common.validate import parse


class RecipesRun:
    """Run of the benchmark with the rows measured so far.

    Attributes:
        held_out: number of evaluation tokens, by model.
    """

    def __init__(self, corpus: str, settings: RecipesBench, kept: Path | None = None) -> None:
        """Begin a run, or continue the one whose report is in `kept`.

        Raises:
            UserError: `kept` is of another corpus or other settings, or cannot be written.
            DamagedError: it is not a report.
        """
        self.held_out: dict[str, int] = {}
        self._corpus, self._settings, self._kept = corpus, settings, kept
        self._rows: dict[tuple[str, int, int, int], RecipeRow] = {}
        self._began, self._before = time.perf_counter(), 0.0
        if kept is None:
            return
        if not kept.parent.is_dir():
            raise UserError(f"there is no folder {str(kept.parent)!r}: make it, or name another file")
        if not kept.exists():
            with writing(kept.parent):
                write_json(kept, self.report().as_json())  # what cannot be written is known before hours of work
            return
        remedy = "name another file"
        report = parse(RecipesReport, read_json(kept), str(kept), remedy)
        if (report.corpus, report.settings) != (corpus, settings):
            raise UserError(f"{kept} has results for another corpus or other settings: {remedy}")
        self.held_out, self._before = report.held_out, report.seconds
        self._rows = {(row.model, row.layer, row.atoms, row.l0): row for row in report.rows}

    def seconds(self) -> float:
        """Return the duration of the run so far, with the part before it was stopped."""
        return self._before + time.perf_counter() - self._began

    def missing(self, model: str, layer: int) -> list[tuple[int, int]]:
        """Return the sizes, with their L0, that are not measured yet at a site."""
        return [size for size in self._settings.sizes if not self._has(model, layer, size)]

    def add(self, row: RecipeRow) -> None:
        """Add a row, and write the report if it is kept."""
        self._rows[row.model, row.layer, row.atoms, row.l0] = row
        if self._kept is not None:
            write_json(self._kept, self.report().as_json())

    def report(self) -> RecipesReport:
        """Return the report on the rows so far, in the order of the settings."""
        sites, sizes = self._settings.sites, self._settings.sizes
        keys = [(*site, *size) for site in sites for size in sizes]
        rows = [self._rows[key] for key in keys if key in self._rows]
        leads = {name: _lead(rows, name) for name in self._settings.names if rows and name != PUBLISHED}
        return RecipesReport(self._corpus, self._settings, self.held_out, rows, leads, self.seconds())

    def _has(self, model: str, layer: int, size: tuple[int, int]) -> bool:
        row = self._rows.get((model, layer, *size))
        return row is not None and (row.sae is not None or size not in self._settings.saes)


def _lead(rows: list[RecipeRow], name: str) -> Lead:
    pairs = [(row.recipes[name], row.recipes[PUBLISHED]) for row in rows]
    off = [1 - ours.unexplained[0] / theirs.unexplained[0] for ours, theirs in pairs]
    more = [ours.ce_loss_score[0] - theirs.ce_loss_score[0] for ours, theirs in pairs]
    added = [row.ce_added(name) / row.ce_added(PUBLISHED) for row in rows]
    leads = [ours.ce_lead for ours, _ in pairs]
    return Lead(
        mean(off),
        sum(each > 0 for each in off),
        mean(more),
        sum(each > 0 for each in more),
        mean(added),
        sum(low > 0 for _, low, _ in leads),
        sum(high < 0 for *_, high in leads),
        sum(ours.seconds for ours, _ in pairs) / sum(theirs.seconds for _, theirs in pairs),
        sum(ours.encode_seconds for ours, _ in pairs) / sum(theirs.encode_seconds for _, theirs in pairs),
    )
