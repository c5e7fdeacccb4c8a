"""Which tests are slow, and in which order files are tested: a plugin of all tests.

A worker tests whole files, one after another: were the slowest not first, one worker would be left with it at the end.
"""

import pytest

from tests.support.places import REPOSITORY

SLOWEST = (
    "browser/test_first_start.py",
    "capture/test_remote.py",
    "browser/test_build.py",
    "browser/test_pages.py",
    "models/test_gguf.py",
    "build/test_resume.py",
    "cli/test_demo_smollm2.py",
    "cli/test_demo.py",
    "interop/test_hub.py",
    "cli/test_cli.py",
    "evaluation/sae/test_sae.py",
    "browser/test_decompose.py",
    "browser/test_quality.py",
    "evaluation/probing/test_probe.py",
    "models/test_hub.py",
    "app/test_imported_pages.py",
    "browser/test_similarity.py",
    "browser/test_compare.py",
    "jobs/test_jobs.py",
    "benchmarks/test_sae.py",
    "benchmarks/test_pursuit.py",
    "pursuit/test_backends.py",
    "pursuit/test_compiling.py",
    "evaluation/test_evaluate.py",
)
"""Files that take longest, in this order; all others take less than 20 seconds on one core."""
SLOW_FIXTURES = {"far", "hub", "imported", "measured", "probed", "small_run", "with_saes"}
"""What takes long to make or to ask: tests with one of these are slow."""


@pytest.hookimpl(tryfirst=True)  # before others deselect what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {REPOSITORY / "tests" / name: at for at, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        if not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
