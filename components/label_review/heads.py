"""Linear heads on features that stay as they are, and what they say of products they did not see.

A head is a multinomial logistic regression with an L2 penalty, or one logistic regression for each
label where a product may have several; those of all levels are fitted in one pass, by Adam (Kingma
and Ba 2015, arXiv 1412.6980) in batches. They stop before the loss is least, which leaves wrong
labels unlearned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import special

NOT_GIVEN = -1
"""The label's index where a product has none: nothing is learned from it."""

_EPOCHS = 12
_LEAST_STEPS = 750
"""Of small catalogs, whose epochs have few."""

_BATCH = 512
_RATE = 2e-3
_FIRST_MOMENT, _SECOND_MOMENT, _TINY = 0.9, 0.999, 1e-8
_ROWS = 4_096


@dataclasses.dataclass(frozen=True)
class Level:
    """The labels that products have on a level.

    Attributes:
        labels: Their names, in the order of their indices.
        given: int64 (N,), one label a product, `NOT_GIVEN` where it has none; or bool (N, K), where
            it may have several.
    """

    labels: Sequence[str]
    given: np.ndarray

    @property
    def is_single(self) -> bool:
        """Whether a product has one label at most."""
        return self.given.ndim == 1

    def some(self, places: np.ndarray) -> Level:
        """The same of the products at some places."""
        return Level(self.labels, self.given[places])


def cross_fitted(
    vectors: np.ndarray,
    levels: Mapping[str, Level],
    fold: np.ndarray,
    *,
    penalty: float,
    seed: int = 0,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, np.ndarray]:
    """What heads say of the products of each fold that were fitted to those of all others.

    Each fold's probabilities are calibrated by a temperature, one number that is fitted to that
    fold (Guo et al. 2017, arXiv 1706.04599).

    Args:
        vectors: float (N, D), of about unit variance.
        levels: Each level's labels.
        fold: int64 (N,), from `folds.folds_of`.
        penalty: Of the squared weights, beside the mean loss of a product.
        seed: Of the order of the batches.
        report: Is told how many folds are done.

    Returns:
        Level to float32 (N, K).
    """
    found = {name: np.zeros((len(fold), len(of.labels)), np.float32) for name, of in levels.items()}
    for number in range(fold.max() + 1):
        own, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        heads = Heads.fitted(vectors, levels, others, penalty=penalty, seed=seed)
        for rows in _chunks(own, _ROWS):
            for name, probabilities in heads(vectors[rows]).items():
                found[name][rows] = probabilities
        for name, level in levels.items():
            if level.is_single:
                found[name][own] = _calibrated(found[name][own], level.given[own])
        report(number + 1)
    return found


@dataclasses.dataclass(frozen=True)
class Heads:
    """Fitted heads.

    Attributes:
        weights: float32 (D, K), those of all levels beside each other.
        bias: float32 (K,).
        blocks: The columns of each level, and whether they exclude one another.
    """

    weights: np.ndarray
    bias: np.ndarray
    blocks: Mapping[str, tuple[slice, bool]]

    def __call__(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Level to probabilities, float32 (N, K), of vectors (N, D)."""
        scores = vectors.astype(np.float32) @ self.weights + self.bias
        return {name: _activated(scores[:, at], one) for name, (at, one) in self.blocks.items()}

    @classmethod
    def fitted(
        cls,
        vectors: np.ndarray,
        levels: Mapping[str, Level],
        places: np.ndarray,
        *,
        penalty: float,
        seed: int = 0,
    ) -> Heads:
        """Heads that are fitted to the products at some places; see `cross_fitted`."""
        ends = np.cumsum([0, *(len(of.labels) for of in levels.values())]).tolist()
        blocks = {
            name: (slice(start, end), of.is_single)
            for (name, of), start, end in zip(levels.items(), ends, ends[1:], strict=False)
        }
        weights = np.zeros((vectors.shape[1], ends[-1]), np.float32)
        bias = np.zeros(ends[-1], np.float32)
        heads = cls(weights, bias, blocks)
        batches = -(-len(places) // _BATCH)
        epochs = max(_EPOCHS, -(-_LEAST_STEPS // batches))
        optimizer = _Adam([weights, bias], epochs * batches)
        generator = np.random.default_rng(seed)
        for _ in range(epochs):
            for rows in _chunks(generator.permutation(places), _BATCH):
                # In the order in which they lie on disk.
                rows = np.sort(rows)
                batch = vectors[rows].astype(np.float32)
                errors = np.concatenate(
                    [
                        _error(probabilities, levels[name].given[rows])
                        for name, probabilities in heads(batch).items()
                    ],
                    axis=1,
                )
                errors /= len(rows)
                optimizer.step([batch.T @ errors + penalty * weights, errors.sum(axis=0)])
        return heads


class _Adam:
    """Changes variables in place, by a rate that falls as a cosine from step to step."""

    def __init__(self, variables: Sequence[np.ndarray], steps: int) -> None:
        self._variables = variables
        self._steps = steps
        self._done = 0
        self._first = [np.zeros_like(one) for one in variables]
        self._second = [np.zeros_like(one) for one in variables]

    def step(self, gradients: Sequence[np.ndarray]) -> None:
        rate = _RATE * 0.5 * (1 + np.cos(np.pi * self._done / self._steps))
        self._done += 1
        first_bias = 1 - _FIRST_MOMENT**self._done
        second_bias = 1 - _SECOND_MOMENT**self._done
        for variable, gradient, first, second in zip(
            self._variables, gradients, self._first, self._second, strict=True
        ):
            first += (1 - _FIRST_MOMENT) * (gradient - first)
            second += (1 - _SECOND_MOMENT) * (gradient * gradient - second)
            variable -= (
                np.float32(rate / first_bias) * first / (np.sqrt(second / second_bias) + _TINY)
            )


def _activated(scores: np.ndarray, exclude: bool) -> np.ndarray:
    return special.softmax(scores, axis=1) if exclude else special.expit(scores)


def _error(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The loss' slope by the scores: (N, K), 0 for a product without a label."""
    if given.ndim == 2:
        return probabilities - given
    known = np.flatnonzero(given >= 0)
    errors = probabilities.copy()
    errors[given < 0] = 0
    errors[known, given[known]] -= 1
    return errors


def _calibrated(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    # Here, because whoever only wires the pipeline need not wait for Keras.
    from trainer.calibration import fit_temperature, softmax_loss

    known = given >= 0
    if not known.any():
        return probabilities
    loss = softmax_loss(probabilities[known], given[known])
    temperature = fit_temperature(loss, int(known.sum()))
    tempered = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)) / temperature
    return special.softmax(tempered, axis=1)


def _chunks(places: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(places, range(size, len(places), size))
