"""Sparse probing: prediction of text-based token properties from a few latents.

After Gurnee et al. (2023, arXiv 2305.01610) and SAEBench (Karvonen et al. 2025, arXiv 2503.09532): of all latents,
the k that differ most between training tokens with and without the property are the inputs of a logistic regression,
whose accuracy on other text is the score.

The difference of a latent is the difference of its two means in units of its standard deviation over all training
tokens. This gives the order of the F statistic, one of the rules that Gurnee et al. compare. SAEBench leaves the
standard deviation out, and so did a first trial here. But the coefficients of pursuit differ in scale from atom to
atom, and the plain difference chose the atoms that are large everywhere. With the standard deviation, probes of one
to five latents were better for every coder (docs-a, layer 3, on average over the properties: 0.519, 0.533, 0.564
against 0.518, 0.531, 0.561 for atoms, 0.615, 0.653, 0.699 against 0.612, 0.642, 0.684 for the model's dimensions),
the order of the coders was the same, and the single atom that is chosen corresponds to the property. Choosing by the
weights of a regression on all latents would require that regression first.

Differences from these sources: a property is of a token, not of a text whose codes are averaged, so that a latent
that fires on one token in a thousand can predict no more than that; accuracy is balanced, where SAEBench samples
equally many tokens of each class; and no document has tokens in both training and testing.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from itda_core.common.bootstrap import drawn_ratios, interval_of
from itda_core.common.errors import UserError
from itda_core.evaluation.probing.features import Features
from itda_core.reports.probing import ITDA, Probe, ProbedProperty, Score
from itda_core.reports.quality import Measured

KS = (1, 2, 5, 20, 100)
"""Numbers of latents that a probe reads, besides all of them."""
TEST_SHARE = 1 / 3
"""Share of the documents used for testing."""
FEWEST_TOKENS, FEWEST_TEXTS = 50, 5
"""Minimum number of tokens with a property, and without it, in training and in testing each, and of documents that
they are from."""
_MOST_STEPS = 2000  # of a regression


class ProbeResults(NamedTuple):
    """Results of probing."""

    properties: tuple[ProbedProperty, ...]
    """The properties that could be probed."""
    means: tuple[Score, ...]
    """By coder and k, the mean over these properties."""
    left_out: dict[str, str]
    """The other properties, each with the reason."""


class ProbeDataset(NamedTuple):
    """Tokens to probe, as arrays of length n."""

    document: np.ndarray
    """Document index, from 0."""
    position: np.ndarray
    """Position in the document."""
    token_id: np.ndarray
    """Token id."""
    labels: Mapping[str, np.ndarray]
    """By property, whether each token has it."""


def split(n_documents: int, seed: int) -> np.ndarray:
    """Return the mask of the test documents, chosen at random.

    Bool, shape [n_documents].
    """
    is_test = np.zeros(n_documents, bool)
    is_test[np.random.default_rng(seed).permutation(n_documents)[: round(TEST_SHARE * n_documents)]] = True
    return is_test


def choose(
    features: Features, has: np.ndarray, train: np.ndarray, spreads: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rank all latents by their difference between the classes of a property.

    The difference is between training tokens with and without the property.

    Args:
        features: the latents of n tokens.
        has: [n] which tokens have the property.
        train: [n] which tokens are trained on; both classes must occur among them.
        spreads: [latents] standard deviation of each latent over the training tokens.

    Returns:
        [latents] the latents in descending order of absolute difference; and the differences in the latents' order:
            mean with the property less mean without it, in units of the standard deviation, 0 for a constant latent.
    """
    weights = np.where(has, 1 / np.count_nonzero(has & train), -1 / np.count_nonzero(~has & train)) * train
    differences = np.asarray(features.differences(weights), np.float64)
    differences = np.divide(differences, spreads, out=np.zeros_like(differences), where=spreads > 0)
    return np.argsort(-np.abs(differences), kind="stable"), differences


def fit(x: Any, has: np.ndarray) -> LogisticRegression:
    """Fit a logistic regression with balanced class weights.

    The inputs x [n, k] may be sparse.
    """
    return LogisticRegression(class_weight="balanced", max_iter=_MOST_STEPS).fit(x, has)


def run_probes(
    tokens: ProbeDataset, coders: Mapping[str, Features], seed: int, advance: Callable[[int], None] = lambda _: None
) -> ProbeResults:
    """Probe every property with every coder.

    Args:
        tokens: the tokens to probe.
        coders: latents of these tokens by the coder's name, including the dictionary's own atoms.
        seed: seed of the split and of the intervals.
        advance: called after each property.

    Raises UserError if no property can be probed.
    """
    n_documents = int(tokens.document.max()) + 1
    is_test = split(n_documents, seed)
    sides = _Sides(tokens, is_test, seed)
    found, accuracies, left_out = [], {}, {}
    for name, has in tokens.labels.items():
        reason = sides.lacking(has)
        if reason is not None:
            left_out[name] = reason
        else:
            with threadpool_limits(1):  # the matrix products are small: threads would only wait for each other
                made = _probe(name, has, tokens, coders, sides)
            found.append(made.found)
            for key, accuracy in made.accuracies.items():
                accuracies.setdefault(key, []).append(accuracy)
        advance(1)
    if not found:
        raise UserError(
            f"no property can be probed: {'; '.join(f'{name}: {reason}' for name, reason in left_out.items())}"
        )
    means = {key: _Accuracy.mean(each) for key, each in accuracies.items()}
    scores = []
    for coder, k in means:
        accuracy, lead = _accuracy_of(means, coder, k)
        scores.append(Score(coder, k, accuracy, lead))
    return ProbeResults(tuple(found), tuple(scores), left_out)


class _Accuracy(NamedTuple):
    """A balanced accuracy with its bootstrap resamples over documents."""

    value: float
    drawn: np.ndarray

    @classmethod
    def mean(cls, each: list["_Accuracy"]) -> "_Accuracy":
        """Return the mean over several properties."""
        return cls(float(np.mean([one.value for one in each])), np.mean([one.drawn for one in each], axis=0))

    def less(self, other: "_Accuracy") -> "_Accuracy":
        return _Accuracy(self.value - other.value, self.drawn - other.drawn)

    @property
    def measured(self) -> Measured:
        """Value with its interval.

        Resamples without a token of either class give no value.
        """
        interval = interval_of(self.drawn)
        if interval is None:
            raise UserError("no draw of the test documents has tokens of both classes: give --tokens more")
        return Measured(self.value, *interval)


_Key = tuple[str, int | None]


def _accuracy_of(accuracies: Mapping[_Key, _Accuracy], coder: str, k: int | None) -> tuple[Measured, Measured | None]:
    """Return a coder's accuracy and its lead over the dictionary's atoms.

    The lead is None without a probe of as many atoms, and for the atoms themselves.
    """
    own, atoms = accuracies[coder, k], accuracies.get((ITDA, k))
    return own.measured, None if coder == ITDA or atoms is None else own.less(atoms).measured


class _Sides:
    """Training and test tokens, and the test documents that intervals resample."""

    def __init__(self, tokens: ProbeDataset, is_test: np.ndarray, seed: int) -> None:
        self.test = is_test[tokens.document]
        self.train = ~self.test
        self.spreads: dict[str, np.ndarray] = {}  # by coder, over the training tokens
        _, self._document = np.unique(tokens.document[self.test], return_inverse=True)
        self._all = tokens.document
        self._n, self._seed = int(self._document.max(initial=-1)) + 1, seed

    def lacking(self, has: np.ndarray) -> str | None:
        """Return why a property cannot be probed, or None if it can."""
        for side, rows in (("to train on", self.train), ("to test on", self.test)):
            for which, wanted in (("have it", has), ("lack it", ~has)):
                tokens = int(np.count_nonzero(wanted & rows))
                documents = len(np.unique(self._all[wanted & rows]))
                if tokens < FEWEST_TOKENS or documents < FEWEST_TEXTS:
                    return (
                        f"{tokens} tokens of {documents} documents {side} {which}; {FEWEST_TOKENS} of {FEWEST_TEXTS} "
                        "are needed"
                    )
        return None

    def accuracies(self, has: np.ndarray, predictions: Mapping[_Key, np.ndarray]) -> dict[_Key, _Accuracy]:
        """Return the balanced accuracies of probes on the test tokens.

        Each prediction is [n test tokens] bool, as `has` is. The same documents are resampled for all probes and
        properties.
        """
        right = [self._per_document(part) for each in predictions.values() for part in (has & each, ~has & ~each)]
        of = [self._per_document(part) for part in (has, ~has)] * len(predictions)
        drawn = drawn_ratios(np.column_stack(right), np.column_stack(of), self._seed)
        return {
            key: _Accuracy(_balanced(has, each), drawn[:, 2 * at : 2 * at + 2].mean(1))
            for at, (key, each) in enumerate(predictions.items())
        }

    def _per_document(self, rows: np.ndarray) -> np.ndarray:
        return np.bincount(self._document[rows], minlength=self._n).astype(np.float64)


class _Made(NamedTuple):
    found: ProbedProperty
    accuracies: dict[_Key, _Accuracy]


def _probe(name: str, has: np.ndarray, tokens: ProbeDataset, coders: Mapping[str, Features], sides: _Sides) -> _Made:
    predictions: dict[_Key, np.ndarray] = {}
    made: dict[_Key, dict[str, Any]] = {}
    actual = has[sides.test]
    for coder, features in coders.items():
        if coder not in sides.spreads:
            sides.spreads[coder] = features.spreads(sides.train)
        order, differences = choose(features, has, sides.train, sides.spreads[coder])
        for k in (*(k for k in KS if k <= features.latents), None):
            x = features.whole() if k is None else features.columns(order[:k])
            if x is None:
                continue
            # Selected latents are scaled by their own standard deviation, so that their scale does not matter;
            # all latents by one number per coder, since individual scaling would give the rarest latents the
            # largest weight.
            x = x / (_length(x[sides.train]) if k is None else _spread(x[sides.train]))
            probe = fit(x[sides.train], has[sides.train])
            score = probe.decision_function(x[sides.test])
            predicted = score > 0
            chosen = [] if k is None else order[:k].tolist()
            predictions[coder, k] = predicted
            made[coder, k] = {
                "auc": float(roc_auc_score(actual, score)),
                "precision": float(actual[predicted].mean()) if predicted.any() else None,
                "recall": float(predicted[actual].mean()),
                "latents": tuple(chosen),
                "signs": tuple(1 if differences[latent] >= 0 else -1 for latent in chosen),
            }
    accuracies = sides.accuracies(actual, predictions)
    return _Made(
        ProbedProperty(
            name=name,
            tokens=int(np.count_nonzero(has)),
            documents=len(np.unique(tokens.document[has])),
            test_tokens=int(np.count_nonzero(actual)),
            by_position=_balanced(actual, _by_position(tokens.position, has, sides)),
            by_token=_balanced(actual, _by_token(tokens.token_id, has, sides)),
            probes=tuple(Probe(*key, *_accuracy_of(accuracies, *key), **made[key]) for key in made),
        ),
        accuracies,
    )


def _balanced(has: np.ndarray, predicted: np.ndarray) -> float:
    """Return the balanced accuracy of predictions.

    It is the mean of the shares of correct predictions with and without the property.
    """
    return float((predicted[has].mean() + (~predicted)[~has].mean()) / 2)


def _spread(x: np.ndarray) -> np.ndarray:
    """Return the standard deviations of columns; 1 for a constant column.

    Shape [k].
    """
    spread = x.std(0)
    return np.where(spread > 0, spread, 1)


def _length(x: Any) -> float:
    """Return the root mean square norm of rows; 1 if all are zero."""
    squares = (x * x).sum(dtype=np.float64) / x.shape[0]
    return float(np.sqrt(squares)) if squares > 0 else 1.0


def _by_position(position: np.ndarray, has: np.ndarray, sides: _Sides) -> np.ndarray:
    """Predict a property from the position alone.

    Shape [n test tokens].
    """
    x = np.stack([position, np.log1p(position), np.sqrt(position)], 1)
    x = x / _spread(x[sides.train])
    return fit(x[sides.train], has[sides.train]).decision_function(x[sides.test]) > 0


def _by_token(token_id: np.ndarray, has: np.ndarray, sides: _Sides) -> np.ndarray:
    """Predict a property from its frequency for the same token id in training.

    Shape [n test tokens]. A token that does not occur in training is predicted to lack it.
    """
    size = int(token_id.max()) + 1
    shares = [
        np.bincount(token_id[rows], minlength=size) / np.count_nonzero(rows)
        for rows in (has & sides.train, ~has & sides.train)
    ]
    return (shares[0] > shares[1])[token_id[sides.test]]
