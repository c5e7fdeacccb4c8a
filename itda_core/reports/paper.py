"""Figures of the ITDA paper that results are held against."""

CHOSEN_ON = ("docs-a", "docs-b")
"""The models that the form of the concordance was chosen on: what it does on others is its test."""
PAPER_ACCURACY = {
    "linear_regression": (0.16, 0.07),
    "svcca_directions": (0.50, 0.44),
    "linear_cka": (0.69, 0.61),
    "relative_representation": (0.87, 0.78),
    "jaccard": (0.88, 0.89),
}
"""Layer-matching accuracy on five seeds each of GPT-2 small and medium: the ITDA paper, Table 1. Its SVCCA takes 20
directions of every layer, as its published code does."""
PAPER_UNION = {"same": (0.56, 0.59), "different": (0.46, 0.47)}
"""Union IoU of two of those models, lowest and highest, of one architecture and of two: the ITDA paper, §5.2."""
