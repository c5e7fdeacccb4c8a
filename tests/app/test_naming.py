"""Names of dictionaries."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.format.names import names, rows
from app.panels.similarity import chooser
from itda_core.common.types import Site
from tests.support.page_fixtures import records


def test_names_say_model_and_place(library: Path) -> None:
    found = names(records(library))
    assert sorted(found.values()) == sorted(
        f"{record.model} · layer {record.site.layer} resid" for record in records(library)
    )


def test_what_shares_a_place_is_told_apart_by_what_differs(library: Path) -> None:
    first = records(library)[0]
    looser = replace(first, id="looser-0000000001", settings=replace(first.settings, threshold=0.5, l0=4))
    other = replace(first, id="other-0000000002", site=Site(5))
    found = names([first, looser, other])
    assert found[first.id].endswith("· τ 0.25, L0 8")
    assert found[looser.id].endswith("· τ 0.5, L0 4")
    assert found[other.id].endswith("layer 5 resid")
    pruned = replace(first, id="pruned-0000000003", settings=replace(first.settings, recipe="pruned"))
    assert names([first, pruned])[pruned.id].endswith("· pruned")
    placed = rows([first, looser, other])
    assert placed[first.id] != placed[looser.id]
    assert len(set(rows([first, other]).values())) == 1


def test_no_two_names_are_the_same(library: Path) -> None:
    first = records(library)[0]
    twins = [first, replace(first, id="twin-0000000001"), replace(first, id="twin-0000000002")]
    assert len(set(names(twins).values())) == 3
    assert len(set(rows(twins).values())) == 3


def test_a_model_is_told_from_its_namesake_by_what_differs(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = records(library)[0]
    other = replace(first, id="other-0000000001", corpus="texts-2")
    monkeypatch.setattr(chooser.chrome, "sound_records", lambda: [first, other])
    assert list(chooser.models()) == [f"{first.model} · {first.corpus}", f"{first.model} · texts-2"]
    assert list(chooser.models().values()) == [first, other]
