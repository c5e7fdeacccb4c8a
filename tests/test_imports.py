"""What the import contracts of `pyproject.toml` cannot say: single files, strings, and what a fresh process loads."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY

CORE = sorted((REPOSITORY / "itda_core").rglob("*.py"))
APP = sorted((REPOSITORY / "app").rglob("*.py"))
CHARTS = sorted((REPOSITORY / "app" / "charts").glob("*.py"))


@cache
def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def importers(files: list[Path], package: str) -> set[str]:
    return {str(path.relative_to(REPOSITORY)).split("/", 1)[1] for path in files if package in imported(path)}


def test_nnsight_stands_where_models_run() -> None:
    assert importers(CORE + APP, "nnsight") <= {"models/model.py", "capture/local.py", "capture/remote.py"}


def test_saelens_stands_in_two_files() -> None:
    homes = {"evaluation/sae/saelens.py", "interop/saelens.py"}
    assert importers(CORE + APP, "sae_lens") <= homes
    assert importers(CORE + APP, "transformer_lens") <= homes


def test_sql_stands_where_indexes_are_written_and_read() -> None:
    assert importers(CORE + APP, "duckdb") == {
        f"index/{name}.py" for name in ("writer", "connection", "memory", "checks")
    }
    for path in [*CORE, *APP]:
        if path.parent.name not in ("index", "queries"):
            strings = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            assert not [s for s in strings if isinstance(s, str) and "SELECT " in s], path


def test_charts_know_no_streamlit() -> None:
    assert importers(CHARTS, "plotly")
    assert importers(CHARTS, "streamlit") == set()


def test_nothing_is_pickled() -> None:
    for package in ("pickle", "joblib", "dill", "cloudpickle"):
        assert importers(CORE + APP, package) == set()
    for path in CORE:
        if path.name != "published.py":  # the published format of ITDA is torch's own
            assert "torch.save(" not in path.read_text()
        assert path.read_text().count("torch.load(") == path.read_text().count("weights_only=True"), path
        assert "trust_remote_code=True" not in path.read_text()


def loaded_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sorted(sys.modules))"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "build.estimate",
        "cli.command_line",
        "cli.evaluate",
        "comparison.layers",
        "decompose.passages",
        "models.bundled",
        "queries.pairs",
        "reports.sae",
        "similarity.overlap",
    ],
)
def test_what_pages_and_commands_need_first_loads_no_torch(module: str) -> None:
    assert not {"torch", "transformers", "umap", "numba"} & loaded_after(f"import itda_core.{module}")


def test_importing_the_package_loads_no_torch() -> None:
    assert "torch" not in loaded_after("import itda_core")
    assert "torch" in loaded_after("from itda_core import Dictionary")


def test_listing_loads_no_torch(library: Path) -> None:
    code = f"from itda_core.cli.command_line import main\nassert main(['list', '--library', {str(library)!r}]) == 0"
    assert "torch" not in loaded_after(code)
