"""Temperature scaling: scores divided by one number a level, so that probabilities are honest.

Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy import optimize, special

from schema import features
from trainer.decoding import TINY
from trainer.hierarchical_model import HEADS, TypeSoftmax
from trainer.label_space import LabelSpace

_LOG_BOUNDS = (-4.0, 4.0)

_NEAR_ONE = 1e-7
"""How near to 0 and 1 an independent attribute's probability may be; 32 bits tell no more."""

Loss = Callable[[float], float]
"""From a temperature to the negative log-likelihood, the mean over the products."""


def calibrate(
    model: keras.Model,
    batches: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]],
    labels: LabelSpace,
) -> dict[str, float]:
    """Fits each level's temperature and folds it into the model, which needs no further layer.

    A level's scores come out divided by its temperature, because kernel and bias of the layers that
    give them are. Which label is likeliest stays the same.

    Args:
        model: From `trainer.hierarchical_model.build_model`, with its final weights.
        batches: Pictures that the model was not fitted to, with their labels as
            `input_pipeline.evaluation_batches` gives them; negative ones take no part.
        labels: What the model names.

    Returns:
        Level to temperature; above 1 the model was too sure of itself. A level of which the batches
        have no known label stays as it is, and is left out.
    """
    temperatures = {}
    loss: Callable[[np.ndarray, np.ndarray], Callable[[float], float]]
    for level, (probabilities, truths) in _answers(model, batches).items():
        if level != features.ATTRIBUTES:
            known = truths >= 0
            probabilities, truths = probabilities[known], truths[known]
            loss = softmax_loss
        elif types := _type_softmax(model):
            loss = types_loss(types.types)
        else:
            loss = sigmoid_loss
        if len(truths):
            temperatures[level] = fit_temperature(loss(probabilities, truths), len(truths))
    _fold(model, temperatures, labels)
    return temperatures


def uncalibrated(
    model: keras.Model, outputs: Mapping[str, object], temperatures: Mapping[str, float]
) -> dict[str, object]:
    """What a calibrated model would have said without: the inverse of dividing the scores.

    Args:
        model: The model that `calibrate` changed.
        outputs: Its outputs for a batch.
        temperatures: What `calibrate` returned.

    Returns:
        Each level in `temperatures` with its probabilities before.
    """
    before = {}
    for level, temperature in temperatures.items():
        probabilities: Any = outputs[level]
        logarithms = ops.log(ops.maximum(probabilities, TINY))
        if level != features.ATTRIBUTES:
            before[level] = ops.softmax(temperature * logarithms, axis=-1)
        elif types := _type_softmax(model):
            before[level] = types(temperature * logarithms)
        else:
            opposite = ops.log(ops.maximum(1 - probabilities, TINY))
            before[level] = ops.sigmoid(temperature * (logarithms - opposite))
    return before


def fit_temperature(loss: Loss, products: int) -> float:
    """The temperature with the least negative log-likelihood.

    On its logarithm stands a standard normal prior, which weighs as much as one product: on few or
    faultless ones the likelihood alone would drive it to 0, and every answer to certainty.

    Args:
        loss: What is minimized.
        products: How many products the loss is the mean over.
    """

    def penalized(log_temperature: float) -> float:
        return loss(np.exp(log_temperature)) + log_temperature**2 / (2 * products)

    fitted = optimize.minimize_scalar(penalized, bounds=_LOG_BOUNDS, method="bounded")
    return float(np.exp(fitted.x))


def softmax_loss(probabilities: np.ndarray, truths: np.ndarray) -> Loss:
    """The loss of a level with one label a product.

    Args:
        probabilities: (N, C), rows sum to 1.
        truths: Indices of the true labels, int (N).
    """
    scores = np.log(np.maximum(probabilities, TINY))
    products = np.arange(len(truths))

    def loss(temperature: float) -> float:
        return -special.log_softmax(scores / temperature, axis=1)[products, truths].mean()

    return loss


def sigmoid_loss(probabilities: np.ndarray, truths: np.ndarray) -> Loss:
    """The loss of independent attributes.

    Args:
        probabilities: (N, A), each in [0, 1].
        truths: (N, A) of zeros and ones.
    """
    scores = special.logit(np.clip(probabilities, _NEAR_ONE, 1 - _NEAR_ONE))
    margins = np.where(truths > 0, scores, -scores)
    return lambda temperature: -special.log_expit(margins / temperature).sum(axis=1).mean()


def types_loss(types: list[list[int]]) -> Callable[[np.ndarray, np.ndarray], Loss]:
    """Makes the loss of attributes that exclude one another within each type.

    Args:
        types: For each type the indices of its attributes. A type counts for the products that
            have exactly one attribute of it.

    Returns:
        From probabilities (N, A) that sum to 1 within each type, and truths (N, A) of zeros and
        ones, to the loss.
    """

    def make(probabilities: np.ndarray, truths: np.ndarray) -> Loss:
        parts = []
        for members in types:
            said = truths[:, members].sum(axis=1) == 1
            loss = softmax_loss(
                probabilities[said][:, members], truths[said][:, members].argmax(axis=1)
            )
            if said.any():
                parts.append((said.mean(), loss))
        return lambda temperature: sum(share * loss(temperature) for share, loss in parts)

    return make


def _answers(
    model: keras.Model, batches: Iterable[tuple[np.ndarray, Mapping[str, np.ndarray]]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each level's probabilities and true labels, of all batches."""
    collected: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for pictures, labels in batches:
        # Keras' own prediction would answer each picture once a device where there are several.
        outputs = model(np.asarray(pictures, np.float32), training=False)
        for level, truths in labels.items():
            answers = ops.convert_to_numpy(outputs[level])
            collected.setdefault(level, []).append((answers, np.asarray(truths)))
    return {
        level: (
            np.concatenate([answers for answers, _ in parts]),
            np.concatenate([truths for _, truths in parts]),
        )
        for level, parts in collected.items()
    }


def _type_softmax(model: keras.Model) -> TypeSoftmax | None:
    """The layer by which the attributes of a type share the probability 1, if they do."""
    layers = model.get_layer(HEADS).layers
    return next((layer for layer in layers if isinstance(layer, TypeSoftmax)), None)


def _fold(model: keras.Model, temperatures: Mapping[str, float], labels: LabelSpace) -> None:
    """Divides the weights of each level's last dense layers by its temperature, in place."""
    heads = model.get_layer(HEADS)
    there = {layer.name for layer in heads.layers}
    for level, temperature in temperatures.items():
        names = [f"{level}_scores"]
        if level == features.ATTRIBUTES and names[0] not in there:
            names = [f"type_{name}_scores" for name in labels.attribute_types]
        for layer in map(heads.get_layer, names):
            layer.set_weights([weights / temperature for weights in layer.get_weights()])
