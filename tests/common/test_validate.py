"""Values out of JSON are read strictly: what is wrong is named in one line, with what to do."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.settings import WindowSettings
from itda_core.common.types import GrowthPoint
from itda_core.common.validate import Count, Finite, parse
from itda_core.jobs.control import cancel
from itda_core.jobs.job import running_job
from itda_core.jobs.read import read_jobs, verify_jobs
from itda_core.library.library import Library
from itda_core.reports.sae import sae_record
from itda_core.reports.transplant import TransplantSummary, read_transplant
from tests.support.small_library import ID
from tests.support.whole_library import OTHER, SAE, files_of, write_whole_library


@dataclass(frozen=True)
class Inner:
    n: Annotated[int, Field(gt=0)] = 1


@dataclass(frozen=True)
class Outer:
    name: str
    count: Count = 0
    value: Finite | None = None
    flag: bool = False
    inner: Inner = field(default_factory=Inner)
    cut: WindowSettings = field(default_factory=WindowSettings)
    growth: tuple[GrowthPoint, ...] = ()


def test_a_dataclass_is_read_out_of_json() -> None:
    said = {"name": "a", "count": 2**63 - 1, "value": 3, "inner": {"n": 2}, "growth": [[1, 2, 0.5]], "more": [1]}
    assert parse(Outer, said, "it", "mend it") == Outer(
        "a", 2**63 - 1, 3.0, False, Inner(2), growth=(GrowthPoint(1, 2, 0.5),)
    )
    assert parse(Outer, {"name": ""}, "it", "mend it") == Outer("")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": 3}, "name"), ({"name": None}, "name"), ({"count": -1}, "count"), ({"count": 2**63}, "count"),
        ({"count": 1.0}, "count"), ({"count": True}, "count"), ({"count": "3"}, "count"), ({"value": 10**400}, "value"),
        ({"value": True}, "value"), ({"value": "nan"}, "value"), ({"flag": "false"}, "flag"), ({"flag": 0}, "flag"),
        ({"inner": {"n": 0}}, "inner.n"), ({"inner": []}, "inner"), ({"cut": {"context": 1}}, "context"),
        ({"growth": [[1, 2]]}, "growth.0"), ({"growth": [[1, 2.5, 0.1]]}, "growth.0"),
    ],
)  # fmt: skip
def test_the_first_field_that_cannot_be_is_named(change: dict[str, Any], where: str) -> None:
    with pytest.raises(DamagedError) as caught:
        parse(Outer, {"name": "a"} | change, "a file", "mend it")
    said = str(caught.value)
    assert said.startswith("a file is damaged (") and said.endswith("): mend it")
    assert where in said and "\n" not in said and len(said) < 300


@pytest.mark.parametrize("value", [None, [], 3, "text", {}])
def test_what_is_no_such_object_is_damage(value: object) -> None:
    with pytest.raises(DamagedError, match="mend it"):
        parse(Outer, value, "a file", "mend it")


# What files were read loosely


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return write_whole_library(tmp_path_factory.mktemp("whole") / "library")


@pytest.mark.parametrize(
    "change",
    [{"holdout": "false"}, {"holdout": 1}, {"width": "3"}, {"seconds": -1.0}, {"layer": 10**30}, {"k": 0},
     {"cut": {"context": 1}}, {"hook": "nose"}, {"files": {}}, {"versions": {"torch": 2}}],
)  # fmt: skip
def test_an_sae_record_is_read_strictly(library: Library, change: dict[str, Any]) -> None:
    path = files_of(library)["SAE record"]
    sound = path.read_text()
    assert sae_record(library, SAE).holdout is True
    path.write_text(json.dumps(json.loads(sound) | change))
    try:
        with pytest.raises(DamagedError, match="train or fetch it again"):
            sae_record(library, SAE)
    finally:
        path.write_text(sound)


@pytest.mark.parametrize("value", ["3", True, 1.9, -1, 2**63, None])
def test_a_transplants_counts_are_counts(library: Library, value: object) -> None:
    pair = library.record(ID), library.record(OTHER)
    found = read_transplant(library, *pair)
    assert found is not None
    for name in ("atoms", "transplanted", "tokens", "l0", "compared", "silent"):
        with pytest.raises(DamagedError, match=f"{name}: .*compute it again"):
            TransplantSummary.parse(asdict(found.summary) | {name: value})


# Job states


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with running_job(tmp_path, "Something") as job:
        job.stage("building", 10)
        job.grown("a", [GrowthPoint(5, 1, 0.5)])
    (path,) = (tmp_path / "jobs").glob("*/state.json")
    return path


@pytest.mark.parametrize(
    "change",
    [{"done": -5}, {"total": -2}, {"done": 10**400}, {"total": 10**400}, {"growth": {"a": [[1]]}}, {"pid": 1},
     {"growth": {"a": [[1, 2, 10**400]]}}, {"rate": "x"}, {"rate": 10**400}, {"pid": 10**12}, {"status": "well"},
     {"finished": [1]}, {"title": None}, {"error": 3}, {"started": 0}],
)  # fmt: skip
def test_a_damaged_state_is_one_line_and_hides_no_other_job(tmp_path: Path, state: Path, change: dict) -> None:
    with running_job(tmp_path, "Another"):
        pass
    state.write_text(json.dumps(json.loads(state.read_text()) | change))
    found = {job.title: job for job in read_jobs(tmp_path)}
    assert found.keys() == {"unreadable", "Another"}
    said = found["unreadable"].error or ""
    assert next(iter(change)) in said and said.endswith(f"delete jobs/{state.parent.name}") and "\n" not in said
    assert verify_jobs(tmp_path) == {state.parent.name: [said]}
    with pytest.raises(UserError, match="is not running"):
        cancel(tmp_path, state.parent.name)


@pytest.mark.parametrize("content", ["{}", "", "[]", "null", '{"title"', "\x00"])
def test_what_is_no_state_is_one_line_too(tmp_path: Path, state: Path, content: str) -> None:
    state.write_text(content)
    (job,) = read_jobs(tmp_path)
    assert (job.title, job.status) == ("unreadable", "failed")


@pytest.mark.parametrize("name", ["lock", "state.json", "command.json", "log.txt"])
def test_a_folder_in_a_files_place(tmp_path: Path, state: Path, name: str) -> None:
    path = state.with_name(name)
    path.unlink(missing_ok=True)
    path.mkdir()
    (job,) = read_jobs(tmp_path)
    assert job.id == state.parent.name and job.status in ("done", "running")  # without a state it may only begin


def test_a_time_that_cannot_be_told_is_none(state: Path, tmp_path: Path) -> None:
    said = json.loads(state.read_text())
    for change, expected in (
        ({"rate": 5e-324, "total": 2**63 - 1}, None),
        ({"rate": -1.0, "total": 10}, None),
        ({"rate": 0.0, "total": 10}, None),
        ({"rate": 2.0, "total": 10, "done": 4}, 3.0),
    ):
        state.write_text(json.dumps(said | change))
        assert read_jobs(tmp_path)[0].seconds_left == expected
