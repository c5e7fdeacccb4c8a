"""Results of the ITDA paper, for comparison."""

CHOSEN_ON = ("docs-a", "docs-b")
"""Models on which the form of the concordance measure was chosen; its results on other models are its test."""
PAPER_ACCURACY = {
    "linear_regression": (0.16, 0.07),
    "svcca_directions": (0.50, 0.44),
    "linear_cka": (0.69, 0.61),
    "relative_representation": (0.87, 0.78),
    "jaccard": (0.88, 0.89),
}
"""Layer-matching accuracy on five seeds each of GPT-2 small and medium (ITDA paper, Table 1). Its SVCCA uses 20
directions of every layer, as its published code does."""
PAPER_UNION = {"same": (0.56, 0.59), "different": (0.46, 0.47)}
"""Lowest and highest union IoU of two of those models, of the same and of different architecture (ITDA paper, §5.2)."""
