"""What counting alone achieves: the unigram and trigram models that a demo model's held-out loss is held against."""

import numpy as np


def unigram_loss(training: np.ndarray, windows: np.ndarray, vocabulary: int) -> float:
    """Mean loss in nats of add-one unigram probabilities, over all but the first token of each window."""
    counts = np.bincount(training, minlength=vocabulary) + 1
    return float(-np.log(counts / counts.sum())[windows[:, 1:]].mean())


def trigram_loss(training: np.ndarray, windows: np.ndarray, vocabulary: int, discount: float = 0.75) -> float:
    """Mean loss in nats of an interpolated Kneser-Ney trigram model, over all but the first token of each window.

    The highest order counts occurrences, the lower ones the distinct contexts that a token follows; each order is
    discounted by `discount` and backed off to the next (Chen and Goodman 1998, eq. 4.24); the lowest is mixed with
    the uniform distribution.
    """
    first, second, third = training[:-2], training[1:-1], training[2:]
    trigrams, trigram_counts = np.unique((first * vocabulary + second) * vocabulary + third, return_counts=True)
    # Continuation counts: each distinct trigram is one distinct context of its last two tokens, and so on down.
    bigrams, bigram_counts = np.unique(trigrams % vocabulary**2, return_counts=True)
    unigram_counts = np.bincount(bigrams % vocabulary, minlength=vocabulary)

    before, context, target = windows[:, :-2].ravel(), windows[:, 1:-1].ravel(), windows[:, 2:].ravel()
    seen = (unigram_counts > 0).sum()
    unigram = np.maximum(unigram_counts[target] - discount, 0) / unigram_counts.sum()
    unigram += discount * seen / unigram_counts.sum() / vocabulary
    bigram = _interpolate(bigrams, bigram_counts, context, target, vocabulary, discount, unigram)
    pair = before * vocabulary + context
    trigram = _interpolate(trigrams, trigram_counts, pair, target, vocabulary, discount, bigram)
    # A window's second token has one token before it: the bigram order judges it, as it would in the model.
    starts = _interpolate(
        bigrams,
        bigram_counts,
        windows[:, 0],
        windows[:, 1],
        vocabulary,
        discount,
        np.maximum(unigram_counts[windows[:, 1]] - discount, 0) / unigram_counts.sum()
        + discount * seen / unigram_counts.sum() / vocabulary,
    )
    return float(-np.log(np.concatenate([trigram, starts])).mean())


def _interpolate(
    grams: np.ndarray,
    counts: np.ndarray,
    context: np.ndarray,
    target: np.ndarray,
    vocabulary: int,
    discount: float,
    lower: np.ndarray,
) -> np.ndarray:
    """Probability of each target after its context at one order, given the lower order's probability."""
    contexts, starts = np.unique(grams // vocabulary, return_index=True)  # grams are sorted, so contexts are runs
    totals = np.add.reduceat(counts, starts)
    kinds = np.diff(np.append(starts, len(grams)))
    found, at = _look_up(contexts, context)
    hit, where = _look_up(grams, context * vocabulary + target)
    own = np.where(hit, np.maximum(counts[where] - discount, 0), 0)
    total = np.where(found, totals[at], 1)
    return np.where(found, own / total + discount * kinds[at] / total * lower, lower)


def _look_up(sorted_keys: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each key is among the sorted ones, and where."""
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    return sorted_keys[at] == keys, at
