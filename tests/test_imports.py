"""Who may import what (design §3): read from the sources, and seen in fresh processes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY

CORE = sorted((REPOSITORY / "itda_core").rglob("*.py"))
APP = sorted((REPOSITORY / "app").rglob("*.py"))
VIEWS = sorted((REPOSITORY / "app" / "views").glob("*.py"))


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
    return {path.name for path in files if package in imported(path)}


def test_the_lists_are_not_empty() -> None:
    assert len(CORE) > 15
    assert len(VIEWS) >= 3


@pytest.mark.parametrize("package", ["streamlit", "plotly", "app"])
def test_the_core_knows_no_page(package: str) -> None:
    assert importers(CORE, package) == set()


def test_nnsight_stands_in_three_files() -> None:
    assert importers(CORE + APP, "nnsight") <= {"models.py", "capture.py", "remote.py"}


def test_saelens_stands_in_one_file() -> None:
    assert importers(CORE + APP, "sae_lens") == {"saelens.py"}
    assert importers(CORE + APP, "transformer_lens") == {"saelens.py"}


def test_sql_stands_where_indexes_are_written_and_read() -> None:
    # One writes an index, one opens it, one checks it, one reads it, one reads two at once: what joins two has no place
    # among the queries of one.
    homes = {"index.py", "index_connection.py", "index_checks.py", "queries.py", "pair_queries.py"}
    assert importers(CORE + APP, "duckdb") == homes - {"queries.py", "pair_queries.py"}
    for path in [*CORE, *APP]:
        if path.name not in homes:
            strings = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            assert not [s for s in strings if isinstance(s, str) and "SELECT " in s], path


@pytest.mark.parametrize("package", ["torch", "nnsight", "duckdb"])
def test_views_ask_resources(package: str) -> None:
    assert importers(VIEWS, package) == set()


def test_figures_know_no_streamlit() -> None:
    assert "streamlit" not in imported(REPOSITORY / "app" / "figures.py")


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
        "types",
        "config",
        "queries",
        "pair_queries",
        "comparison",
        "transplant",
        "layers",
        "library",
        "jobs",
        "maps",
        "cli",
        "estimate",
        "passages",
        "quality",
        "resampling",
        "evaluation.commands",
        "demo_models",
        "sae_records",
        "evaluation.commands",
        "similarity.sources",
        "probing_results",
        "evaluation.labels",
    ],
)
def test_what_pages_need_loads_no_torch(module: str) -> None:
    assert not {"torch", "transformers", "umap", "numba"} & loaded_after(f"import itda_core.{module}")


def test_importing_the_package_loads_no_torch() -> None:
    assert "torch" not in loaded_after("import itda_core")
    assert "torch" in loaded_after("from itda_core import Dictionary")


def test_listing_loads_no_torch(library: Path) -> None:
    code = f"from itda_core.cli.command_line import main\nassert main(['list', '--library', {str(library)!r}]) == 0"
    assert "torch" not in loaded_after(code)
