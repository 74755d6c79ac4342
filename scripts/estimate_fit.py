"""Fitting the weights and bounds of estimates to true counts, in plain Python.

Weights minimise the mean relative error, by least squares that are weighted anew until they weigh every error alike
(iteratively reweighted), with a small penalty on size so that features that rarely occur stay small. Bounds are
quantiles of the errors of texts that were held out of the fit, by kind of text (split conformal prediction).
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from tokenward.engine.tokenizers.estimate import ANY, BASE, Estimator, kind_of, spread_of

FOLDS = 5
PENALTY = 1e-3
ROUNDS, SWEEPS = 12, 6
FLAT_ERROR = 0.03
"""Below this relative error a text pulls on the weights no more than one with it would."""

OUTSIDE = 0.02
"""The share of true counts to leave below the bounds, and above them, where a kind has texts enough to tell."""

FEW_TEXTS = 30
"""A kind with fewer texts than this gets the bounds of all texts."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A text as far as it is needed for fitting: features and counts, not the text.

    Attributes:
        source: Where the text is from; texts of one source are never on both sides of a split.
        features: Its features by name.
        base_tokens: Its count by each base encoding.
        tokens: Its true count by each family.
    """

    source: str
    features: Mapping[str, float]
    base_tokens: Mapping[str, int]
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Score:
    """How estimates fare on texts: mean relative error, share of truths between the bounds, median width of bounds."""

    mean_error: float
    coverage: float
    median_width: float
    texts: int


@dataclass(frozen=True, slots=True)
class Fitted:
    """A family's numbers on one base encoding.

    Attributes:
        base: The base encoding.
        estimator: Weights from all samples, and bounds from the errors of estimates by a fit to other sources.
        worth: How such estimates fare on sources that were left out of the fit.
    """

    base: str
    estimator: Estimator
    worth: Score


def fold_of(source: str) -> int:
    """In which part of the texts a source is; the same everywhere and always."""
    return int(hashlib.sha256(source.encode()).hexdigest(), 16) % FOLDS


def fit(samples: Sequence[Measured], family: str, base: str) -> Fitted:
    """Fit a family's numbers to samples."""
    estimates = cross_estimates(samples, family, base)
    weights = dict(sorted(fit_weights(samples, family, base).items()))
    estimator = Estimator(weights, ratios_seen(samples, family, base), fit_bounds(samples, estimates, family))
    return Fitted(base, estimator, cross_score(samples, estimates, family))


def cross_estimates(samples: Sequence[Measured], family: str, base: str) -> list[int]:
    """An estimate for each sample, by weights fitted without the fold that its source is in."""
    estimates = [0] * len(samples)
    for fold in range(FOLDS):
        rest = [sample for sample in samples if fold_of(sample.source) != fold]
        if len(rest) == len(samples):
            continue
        estimator = Estimator(fit_weights(rest, family, base), ratios_seen(rest, family, base), {})
        for row, sample in enumerate(samples):
            if fold_of(sample.source) == fold:
                estimates[row] = estimator.tokens(sample.base_tokens[base], sample.features)
    return estimates


def cross_score(samples: Sequence[Measured], estimates: Sequence[int], family: str) -> Score:
    """How ``cross_estimates`` fare, each with bounds from the errors in the other folds."""
    rows: list[tuple[int, int, int, int]] = []
    for fold in range(FOLDS):
        other = [row for row, sample in enumerate(samples) if fold_of(sample.source) != fold]
        bounds = fit_bounds([samples[row] for row in other], [estimates[row] for row in other], family)
        estimator = Estimator({}, (0.0, 0.0), bounds)
        for sample, estimate in zip(samples, estimates, strict=True):
            if fold_of(sample.source) == fold:
                between = estimator.between(estimate, kind_of(sample.features))
                rows.append((sample.tokens[family], estimate, *between))
    return _score(rows)


def fit_weights(samples: Sequence[Measured], family: str, base: str) -> dict[str, float]:
    """Weights of the base count and the features that make the mean relative error small."""
    columns = _columns(samples, family, base)
    squares = {name: sum(value * value for _, value in column) / len(samples) for name, column in columns.items()}
    weights = dict.fromkeys(columns, 0.0) | {BASE: 1.0}
    residuals = [1.0] * len(samples)
    for row, value in columns[BASE]:
        residuals[row] -= value
    for _ in range(ROUNDS):
        importance = [1 / max(abs(residual), FLAT_ERROR) for residual in residuals]
        level = PENALTY * sum(importance)
        for _ in range(SWEEPS):
            for name, column in columns.items():
                weights[name] = _improved(weights[name], column, residuals, importance, level * squares[name])
    return {name: round(weight, 3) for name, weight in weights.items() if name == BASE or abs(weight) >= 0.002}


def ratios_seen(samples: Iterable[Measured], family: str, base: str) -> tuple[float, float]:
    """The lowest and highest true count per token of the base encoding."""
    ratios = [sample.tokens[family] / sample.base_tokens[base] for sample in samples]
    return math.floor(min(ratios) * 100) / 100, math.ceil(max(ratios) * 100) / 100


def fit_bounds(samples: Sequence[Measured], estimates: Sequence[int], family: str) -> dict[str, tuple[float, float]]:
    """By kind, the factors between which nearly all truths lie, per token of a long text's estimate."""
    by_kind: dict[str, list[float]] = {}
    for sample, estimate in zip(samples, estimates, strict=True):
        error = math.log(sample.tokens[family] / estimate) / spread_of(estimate)
        by_kind.setdefault(kind_of(sample.features), []).append(error)
    bounds = {ANY: _quantiles([error for errors in by_kind.values() for error in errors])}
    return bounds | {kind: _quantiles(errors) for kind, errors in sorted(by_kind.items()) if len(errors) >= FEW_TEXTS}


def score(estimator: Estimator, samples: Iterable[Measured], family: str, base: str) -> Score:
    """How an estimator fares on samples."""
    rows: list[tuple[int, int, int, int]] = []
    for sample in samples:
        estimate = estimator.tokens(sample.base_tokens[base], sample.features)
        rows.append((sample.tokens[family], estimate, *estimator.between(estimate, kind_of(sample.features))))
    return _score(rows)


def _score(rows: Sequence[tuple[int, int, int, int]]) -> Score:
    """The score of rows of truth, estimate, lower and upper bound."""
    return Score(
        mean_error=mean(abs(estimate - truth) / truth for truth, estimate, _, _ in rows),
        coverage=mean(lower <= truth <= upper for truth, _, lower, upper in rows),
        median_width=median((upper - lower) / estimate for _, estimate, lower, upper in rows),
        texts=len(rows),
    )


def _columns(samples: Sequence[Measured], family: str, base: str) -> dict[str, list[tuple[int, float]]]:
    """By feature, the rows that have it and its value there, divided by the true count."""
    columns: dict[str, list[tuple[int, float]]] = {BASE: []}
    for row, sample in enumerate(samples):
        truth = sample.tokens[family]
        columns[BASE].append((row, sample.base_tokens[base] / truth))
        for name, value in sample.features.items():
            columns.setdefault(name, []).append((row, value / truth))
    return columns


def _improved(
    weight: float,
    column: Sequence[tuple[int, float]],
    residuals: list[float],
    importance: Sequence[float],
    penalty: float,
) -> float:
    """The best weight for the present others (coordinate descent); the residuals become what is left with it."""
    slope = square = 0.0
    for row, value in column:
        weighted = importance[row] * value
        slope += weighted * residuals[row]
        square += weighted * value
    best = (slope + square * weight) / (square + penalty)
    change = best - weight
    for row, value in column:
        residuals[row] -= change * value
    return best


def _quantiles(errors: Sequence[float]) -> tuple[float, float]:
    """The factors below and above which ``OUTSIDE`` of the errors lie, rounded outwards; the estimate lies between."""
    ordered = sorted(errors)
    skipped = max(0, round(OUTSIDE * (len(ordered) + 1)) - 1)
    low, high = ordered[skipped], ordered[-1 - skipped]
    return min(0.99, math.floor(math.exp(low) * 100) / 100), max(1.01, math.ceil(math.exp(high) * 100) / 100)
