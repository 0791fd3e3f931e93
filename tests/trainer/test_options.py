"""A training's options: the config's, with what a search found put in."""

import keras_tuner
import pytest

from schema.errors import UserError
from trainer.options import hyperparameter_values, override

CONFIG = {
    "model": {"dense_units": 8, "filters": [4]},
    "augmentation": {"strength": 1.0},
    "training": {"epochs": 3},
    "evaluation": {"attribute_threshold": 0.5},
}


def test_values_replace_those_of_the_config_which_stays_as_it_is():
    options = override(CONFIG, {"model.dense_units": 16, "augmentation.strength": 0.5})
    assert options == {
        "model": {"dense_units": 16, "filters": [4]},
        "augmentation": {"strength": 0.5},
        "training": {"epochs": 3},
    }
    options["model"]["filters"].append(5)
    assert CONFIG["model"] == {"dense_units": 8, "filters": [4]}


@pytest.mark.parametrize("name", ["model.depth", "evaluation.attribute_threshold", "epochs"])
def test_a_tuned_value_of_no_option_is_named(name):
    with pytest.raises(UserError, match=f"names {name}, which is no option"):
        override(CONFIG, {name: 3})


def test_what_a_search_found_is_read_without_its_own_books():
    found = keras_tuner.HyperParameters()
    found.Fixed("model.dense_units", 16)
    found.Fixed("tuner/epochs", 99)
    assert hyperparameter_values(found.get_config()) == {"model.dense_units": 16}
    assert hyperparameter_values(None) == hyperparameter_values({}) == {}
