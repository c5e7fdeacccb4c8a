"""Terminal tables of `itda probe`."""

from itda_core.reports.probing import Probing
from itda_core.reports.properties import property_of


def probing_table(report: Probing) -> str:
    """Balanced accuracies: a block for each coder, with a line for each property and for their mean."""
    ks = list(dict.fromkeys(score.k for score in report.means))
    lines = [
        f"balanced accuracy on {report.test_tokens:,} tokens of {report.test_documents} documents, from k latents "
        f"(0.5 by chance); trained on {report.tokens - report.test_tokens:,} tokens of others"
    ]
    for coder in report.coders:
        lines += ["", f"{coder.words}: {coder.latents:,} latents, {coder.active:.1f} active a token"]
        lines.append(f"{'':24}" + "".join(f"{'all' if k is None else f'k = {k}':>9}" for k in ks))
        rows = {property_of(each.name).words: each.probes for each in report.properties}
        for words, scores in {**rows, "mean": report.means}.items():
            by_k = {score.k: score.accuracy.value for score in scores if score.coder == coder.name}
            lines.append(f"{words:24}" + "".join(f"{by_k[k]:9.3f}" if k in by_k else f"{'–':>9}" for k in ks))
    lines += ["", "without the model: from nothing but the position, and from nothing but which token it is"]
    for each in report.properties:
        lines.append(f"{property_of(each.name).words:24}{each.by_position:9.3f}{each.by_token:9.3f}")
    lines += [f"left out: {property_of(name).words}: {reason}" for name, reason in report.left_out.items()]
    return "\n".join(lines)
