"""The `itda compare`, `transplant` and `similarity` commands."""

import argparse
import json
from dataclasses import asdict

from itda_core.cli.options import DONE, command_job, quiet
from itda_core.common.options import settings_from
from itda_core.common.settings import LayersSettings
from itda_core.common.text import one_line
from itda_core.library.library import Library


def run_compare(args: argparse.Namespace) -> int:
    """Compare two dictionaries."""
    from itda_core.comparison.compare import compare

    with command_job(args, f"Compare {args.a} with {args.b}") as job:
        found = compare(Library(args.library), args.a, args.b, job)
    if args.json:
        print(json.dumps(asdict(found)))
        return DONE
    where = "token" if found.key == "token" else "character where the token ends"
    low, high = found.interval
    print(
        f"{found.shared:,} atoms have the same source ({where}); {found.only_a:,} only in A, {found.only_b:,} only in B"
    )
    print(
        f"IoU {found.jaccard:.4f} (95 % interval {low:.4f} to {high:.4f}); by chance {found.chance:.4f}, "
        f"among equally frequent tokens {found.chance_frequency:.4f}"
    )
    print(f"of the captured tokens, {found.coverage_a:.1%} of A's and {found.coverage_b:.1%} of B's are on both sides")
    return DONE


def run_transplant(args: argparse.Namespace) -> int:
    """Transplant a dictionary's atoms to another dictionary's model."""
    from itda_core.comparison.transplant import transplant

    with command_job(args, f"Transplant {args.a} to the model of {args.b}") as job:
        quiet()
        found = transplant(Library(args.library), args.a, args.b, job)
    if args.json:
        print(json.dumps(asdict(found)))
        return DONE
    print(
        f"{found.transplanted:,} of A's {found.atoms:,} atoms have a transplant in B, and {found.silent:,} of these "
        f"never fire; {found.tokens:,} common tokens"
    )
    print(
        "no correlation: no atom fires together with its transplant"
        if found.correlation is None
        else f"median correlation {found.correlation:.4f} over {found.compared:,} atoms that fire on both sides"
    )
    print(
        "no relative error was measured: all common tokens are A's sources"
        if found.relative_error is None
        else f"A's sources decompose B to a relative error of {found.relative_error:.4f}"
    )
    return DONE


def run_similarity(args: argparse.Namespace) -> int:
    """Compare all layers of two models."""
    from itda_core.comparison.layers import compare_layers
    from itda_core.reports.layers import LAYER_MEASURES, OLD_REPORT

    settings = settings_from(LayersSettings, args)
    with command_job(args, f"Layers of the models of {args.a} and {args.b}") as job:
        quiet()
        found = compare_layers(Library(args.library), args.a, args.b, job, settings)
    if args.json:
        print(json.dumps(asdict(found)))
        return DONE
    low, high = found.union_interval
    print(
        f"{found.tokens:,} tokens that both read; IoU of all layers together {found.union:.4f} "
        f"(95 % interval {low:.4f} to {high:.4f}), by chance {found.union_chance:.4f}"
    )
    for name, rows in found.values.items():
        best = ", ".join(str(max(range(len(row)), key=row.__getitem__)) for row in rows)
        print(f"{LAYER_MEASURES[name]}: most like layers 0 to {len(rows) - 1} of A are {best} of B")
    for name, reason in [*found.cautions.items(), *found.left_out.items()]:
        print(one_line(f"{LAYER_MEASURES[name]}: {reason}"))
    if found.unmeasured:
        print(f"{', '.join(LAYER_MEASURES[name] for name in found.unmeasured)}: {OLD_REPORT}")
    return DONE
