"""The options of one training: the config's sections, with what a search found put in."""

from __future__ import annotations

import copy
from typing import Any

from schema.errors import UserError

SECTIONS = ("model", "augmentation", "training")
"""Sections of the config that say how a model is built and fitted."""

Options = dict[str, dict[str, Any]]


def override(custom_config: dict[str, Any], values: dict[str, Any]) -> Options:
    """The options of a training: the config's sections with some values replaced.

    Args:
        custom_config: Has the sections named in `SECTIONS`, each a dict of options.
        values: New values by "section.option".

    Raises:
        UserError: a name is none of an option.
    """
    options = {section: copy.deepcopy(custom_config[section]) for section in SECTIONS}
    for name, value in values.items():
        section, _, option = name.partition(".")
        if option not in options.get(section, {}):
            raise UserError(
                f"tuning.space names {name}, which is no option. Name options of "
                f"{', '.join(SECTIONS)} as section.option, e.g. training.learning_rate."
            )
        options[section][option] = value
    return options


def hyperparameter_values(config: dict[str, Any] | None) -> dict[str, Any]:
    """The "section.option" values in the KerasTuner config that a Tuner hands on."""
    if not config:
        return {}
    # What trains with given options needs no KerasTuner.
    import keras_tuner

    return tuned_options(keras_tuner.HyperParameters.from_config(config).values)


def tuned_options(values: dict[str, Any]) -> dict[str, Any]:
    """A trial's values without those that Hyperband keeps its own books in."""
    return {name: value for name, value in values.items() if not name.startswith("tuner/")}
