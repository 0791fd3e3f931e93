"""Takes over what fits of an earlier model's weights, label by label where labels have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from schema import features
from schema.errors import UserError
from schema.vocabulary import file_labels
from trainer.hierarchical_model import HEADS
from trainer.label_space import LabelSpace
from trainer.signatures import keras_file
from trainer.training_model import backbone_of

Labels = Mapping[str, Sequence[str]]


def warm_start(model: keras.Model, labels: Labels, directory: str) -> str:
    """Gives a new model what an exported one has learned.

    Of the backbones and of the heads, a layer is taken where both models have it with weights of
    the same shapes. Of layers with a label a unit, each label that both models know is taken, in
    its new place. Everything else stays as it began.

    Args:
        model: From `hierarchical_model.build_model`; is changed.
        labels: The labels of every level in the order of the model's units.
        directory: A SavedModel written by `signatures.export`.

    Returns:
        A sentence on what was taken.

    Raises:
        UserError: there is no such model.
    """
    try:
        old = keras.models.load_model(keras_file(directory), compile=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"training.warm_start cannot read the last blessed model, {directory} ({error}). Its "
            "files may have been deleted by hand; set training.warm_start to false."
        ) from error

    backbones = _layers_with_weights(backbone_of(old)), _layers_with_weights(backbone_of(model))
    taken_of_backbone = 0
    # Keras numbers layers through, so that one of the same place need not have the same name.
    if [type(layer) for layer in backbones[0]] == [type(layer) for layer in backbones[1]]:
        taken_of_backbone = sum(map(_take, *backbones))

    old_heads = {layer.name: layer for layer in _layers_with_weights(old.get_layer(HEADS))}
    old_units = _labels_of_units(_exported_labels(directory, labels))
    heads = {layer.name: layer for layer in _layers_with_weights(model.get_layer(HEADS))}
    units = {name: of for name, of in _labels_of_units(labels).items() if name in heads}
    taken_of_heads = taken_labels = 0
    for name in heads.keys() & old_heads.keys():
        if name in units:
            taken_labels += _take_labels(
                old_heads[name], heads[name], old_units.get(name, ()), units[name]
            )
        else:
            taken_of_heads += _take(old_heads[name], heads[name])
    return (
        f"warm start: {taken_of_backbone} of {len(backbones[1])} layers of the backbone, "
        f"{taken_of_heads} of {len(heads) - len(units)} below the labels and {taken_labels} of "
        f"{sum(map(len, units.values()))} labels go on from the last blessed model"
    )


def _exported_labels(directory: str, labels: Labels) -> dict[str, list[str]]:
    """The labels that the exported model has, of the levels that the new one has as well."""
    # A SavedModel brings its Transform graph's vocabularies along as assets, a file a level.
    files = {level: Path(directory, "assets", level) for level in labels}
    return {level: file_labels(file.read_bytes()) for level, file in files.items() if file.exists()}


def _labels_of_units(labels: Labels) -> dict[str, list[str]]:
    """The labels of every layer of the heads that has one a unit, by the layer's name."""
    of_attributes = labels[features.ATTRIBUTES]
    units = {f"{level}_scores": list(of) for level, of in labels.items() if len(of)}
    for name, members in LabelSpace.of(labels).attribute_types.items():
        units[f"type_{name}_scores"] = [of_attributes[index] for index in members]
    return units


def _layers_with_weights(model: keras.Model) -> list[keras.Layer]:
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if layer.weights and not isinstance(layer, keras.Model)
    ]


def _take(before: keras.Layer, layer: keras.Layer) -> bool:
    """Takes a whole layer's weights if they fit, and says whether."""
    fits = [x.shape for x in before.weights] == [x.shape for x in layer.weights]
    if fits:
        layer.set_weights(before.get_weights())
    return fits


def _take_labels(
    before: keras.Layer, layer: keras.Layer, old_labels: Sequence[str], labels: Sequence[str]
) -> int:
    """Takes the units of the labels that both layers have, and says how many."""
    old_kernel, old_bias = before.get_weights()
    kernel, bias = layer.get_weights()
    if len(old_kernel) != len(kernel):
        return 0
    places = {label: place for place, label in enumerate(old_labels)}
    pairs = [(place, places[label]) for place, label in enumerate(labels) if label in places]
    here, there = np.array(pairs, int).reshape(-1, 2).T
    kernel[:, here], bias[here] = old_kernel[:, there], old_bias[there]
    layer.set_weights([kernel, bias])
    return len(pairs)
