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


def test_what_the_trainer_has_to_note_is_told(tmp_path):
    history = {"parameters": 1234, "best_epoch": 2, "epochs": [{}, {}], "temperatures": {}}
    (tmp_path / "history.json").write_text(json.dumps(history | {"notes": ["mind the gap"]}))
    found = standard_artifacts.ModelRun()
    found.uri = str(tmp_path)
    told = summarize("Trainer", {"model_run": [found]})
    assert told == "1,234 parameters; epoch 2 is the best of 2; mind the gap"


def test_labels_are_counted_whatever_letters_they_have(tmp_path):
    assets = tmp_path / "transform_fn" / "assets"
    assets.mkdir(parents=True)
    for level, labels in (
        ("category", ["a\rb"]),
        ("subcategory", ["c\u2028d", "e\x85"]),
        ("attributes", ["49d0cd50-04bb-48c0-bc6f-5b575dce351a"]),
        ("gender", ["Men", "Women", "Boys"]),
    ):
        (assets / level).write_bytes("".join(f"{label}\n" for label in labels).encode())
    found = standard_artifacts.TransformGraph()
    found.uri = str(tmp_path)
    told = summarize("Transform", {"transform_graph": [found]})
    assert told == "1 categories, 2 sub-categories, 0 attributes, 3 labels of gender"
