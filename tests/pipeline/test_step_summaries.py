"""What the console says of a step that is done."""

import json

from tfx.types import standard_artifacts

from pipeline.step_summaries import summarize


def test_the_best_values_are_told_without_the_books_of_the_search(tmp_path):
    values = {
        "training.learning_rate": 0.00123456,
        "model.heads": "plain",
        "tuner/bracket": 1,
        "tuner/epochs": 3,
    }
    (tmp_path / "best_hyperparameters.txt").write_text(json.dumps({"values": values}))
    found = standard_artifacts.HyperParameters()
    found.uri = str(tmp_path)
    told = summarize("Tuner", {"best_hyperparameters": [found]})
    assert told == "best: model.heads plain, training.learning_rate 0.00123"
