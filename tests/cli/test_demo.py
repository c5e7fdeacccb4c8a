"""The demo library, made small: what it has, with all of its models and with one of them missing."""

import json
import shutil
from pathlib import Path

import pytest

from itda_core.cli import demo
from itda_core.cli.command_line import main
from itda_core.common.settings import CorpusSettings
from itda_core.common.types import Document
from itda_core.corpus import readers
from itda_core.jobs.locks import build_lock
from itda_core.library.library import Library
from itda_core.library.manifest import DictionaryManifest
from itda_core.models import bundled
from itda_core.reports.comparison import digest_of, folder_of, read_comparison, read_measures
from itda_core.reports.quality import dictionary_quality

pytestmark = pytest.mark.slow


@pytest.fixture
def small(language_reference: list[Document], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The demo over few documents, as reading all takes longest, and few tokens.

    The folder of its models, with links to those that lie in `data/`.
    """
    documents = [Document(each.name, each.text[:300]) for each in language_reference[:30]]  # the tenth is read too
    monkeypatch.setattr(readers, "read_documentation", lambda: iter(documents))
    monkeypatch.setattr(demo, "CORPUS", CorpusSettings("docs", documents=30))
    monkeypatch.setattr(demo, "TOKENS", 1500)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("docs-a", "docs-b"):
        (data / name).symlink_to(bundled.model_folder(name))
    # Other weights under the names of models that a clone may be without: what is built of them does not matter here.
    for name in ("code-a", "docs-c"):
        shutil.copytree(bundled.model_folder("docs-b"), data / name, ignore=shutil.ignore_patterns("checkpoints"))
    monkeypatch.setattr(bundled, "DEMO_FOLDER", data)
    return data


def built(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, int], DictionaryManifest]:
    """Build the demo; its dictionaries by model and layer."""
    assert main(["demo", "--json", "--library", str(root)]) == 0
    said = json.loads(capsys.readouterr().out)["dictionaries"]
    assert [each["id"] for each in said[:1]] == [each["id"] for each in said if each["layer"] == 3][:1]
    found = [Library(root).record(each["id"]) for each in said]
    assert found[0].model == "docs-a"
    return {(record.model, record.site.layer): record for record in found}


def compared(root: Path, found: dict[tuple[str, int], DictionaryManifest]) -> set[str]:
    """The models that layer 3 of docs-a is compared with."""
    here, a = Library(root), found["docs-a", 3]
    others = {record.model: record for (_, layer), record in found.items() if layer == 3}
    return {
        name
        for name, b in others.items()
        if name != "docs-a" and read_comparison(here, a, b) is not None and read_measures(here, a, b) is not None
    }


def test_the_demo_has_all_models_and_compares_them(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "library"
    found = built(root, capsys)
    wanted = {("docs-a", 1), ("docs-a", 3), ("docs-a", 5), ("docs-b", 1), ("docs-b", 3), ("docs-b", 5)}
    assert set(found) == wanted | {("code-a", 3), ("docs-c", 3)}
    assert compared(root, found) == {"docs-b", "code-a", "docs-c"}
    assert len(list((root / "comparisons").iterdir())) == 3
    quality = dictionary_quality(Library(root), found["docs-a", 3])
    assert quality is not None and quality.ce_original is not None
    # A comparison that is damaged, and one that is under way in another process, do not keep the rest from being made.
    here, a = Library(root), found["docs-a", 3]
    folders = {name: folder_of(here, a, found[name, 3]) for name in ("docs-b", "code-a", "docs-c")}
    (folders["docs-b"] / "comparison.json").write_text("{")
    shutil.rmtree(folders["code-a"])
    shutil.rmtree(folders["docs-c"])
    here.map_path(a.id).unlink()
    running = min(digest_of(a, found["code-a", 3]), digest_of(found["code-a", 3], a))
    with build_lock(root, f"compare-{running}"):
        assert main(["demo", "--library", str(root)]) == 0
    said = capsys.readouterr().err
    assert f"{found['docs-b', 3].id} are not compared: " in said
    assert f"{found['code-a', 3].id} are not compared: " in said
    assert read_comparison(here, a, found["docs-c", 3]) is not None
    assert here.map_path(a.id).is_file()


def test_without_a_model_the_rest_is_built(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("docs-b", "docs-c"):
        shutil.move(small / name, tmp_path / name)
    root = tmp_path / "library"
    found = built(root, capsys)
    assert set(found) == {("docs-a", 1), ("docs-a", 3), ("docs-a", 5), ("code-a", 3)}
    assert compared(root, found) == {"code-a"}
