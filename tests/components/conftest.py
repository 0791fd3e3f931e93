"""A small judged catalog: Examples that carry their scores, and SavedModels that repeat them."""

import dataclasses

import numpy as np
import pytest

from schema import features

SHOTS = ("flat", "worn")
"""Values of a slice column, one product after the other."""


@dataclasses.dataclass
class Judged:
    """Truths and scores of N pictures, for models whose vocabulary is `vocabularies`.

    Two in three show the same product, which has their labels.
    """

    product: np.ndarray
    vocabularies: dict[str, list[str]]
    category: np.ndarray
    subcategory: np.ndarray
    attributes: list[list[str]]
    gender: np.ndarray
    scores: dict[str, np.ndarray]


def _scores(generator, truth, vocabulary):
    """Random scores that favor the truth, rows summing to 1."""
    scores = generator.random((len(truth), len(vocabulary)))
    for row, label in zip(scores, truth, strict=True):
        if label in vocabulary:
            row[vocabulary.index(label)] += 0.5
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def judged():
    """120 products; "Saree", "Clutch" and "Kids" are in no vocabulary, "Watch" is never true."""
    generator = np.random.default_rng(7)
    count = 120
    vocabularies = {
        "category": ["Apparel", "Footwear", "Accessories"],
        "subcategory": ["Tshirt", "Jeans", "Sandal", "Shoe", "Watch"],
        "attributes": ["season=Summer", "season=Winter", "usage=Casual", "usage=Sports"],
        "gender": ["Women", "Men"],
    }
    category = generator.choice(
        [*vocabularies["category"], "Saree"], count, p=[0.5, 0.3, 0.15, 0.05]
    )
    subcategory = generator.choice(["Tshirt", "Jeans", "Sandal", "Shoe", "Clutch"], count)
    attributes = [
        [label for label in vocabularies["attributes"] if generator.random() < 0.4]
        for _ in range(count)
    ]
    attribute_scores = generator.random((count, 4)).astype(np.float32)
    # Just at the threshold: predicted.
    attribute_scores[:10, 0] = 0.75
    gender = generator.choice(["Women", "Men", "Kids", "unknown"], count, p=[0.5, 0.3, 0.1, 0.1])
    for labels in (category, subcategory, gender):
        labels[1::3] = labels[::3]
    attributes[1::3] = attributes[::3]
    scores = {
        "category": _scores(generator, category, vocabularies["category"]),
        "subcategory": _scores(generator, subcategory, vocabularies["subcategory"]),
        "attributes": attribute_scores,
        "gender": _scores(generator, gender, vocabularies["gender"]),
    }
    for level in ("category", "subcategory"):
        # What would be said without joint decoding differs for every fourth product or so.
        scores[f"{level}_independent"] = scores[level] ** generator.choice([1, -1], (count, 1))
    for level in vocabularies:
        # Three times as sure as what is served.
        powers = scores[level] ** 3
        rest = (
            (1 - scores[level]) ** 3 + powers if level == "attributes" else powers.sum(1)[:, None]
        )
        scores[f"{level}_uncalibrated"] = powers / rest
    return Judged(
        product=np.array([f"p{row - row % 3 % 2}" for row in range(count)]),
        vocabularies=vocabularies,
        category=category,
        subcategory=subcategory,
        attributes=attributes,
        gender=gender,
        scores=scores,
    )


@pytest.fixture(scope="session")
def examples_folder(judged, tmp_path_factory):
    """An Examples artifact's folder, all products in its test split."""
    import tensorflow as tf

    def text(*values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))

    folder = tmp_path_factory.mktemp("examples")
    file = folder / "Split-test" / "data_tfrecord-00000-of-00001.gz"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for row, category in enumerate(judged.category):
            feature = {
                "id": text(str(row)),
                "product": text(judged.product[row]),
                "image": text("\x00" * 100),
                "category": text(category),
                "subcategory": text(judged.subcategory[row]),
                "attributes": text(*judged.attributes[row]),
                "gender": text(judged.gender[row]),
                "shot": text(SHOTS[row % len(SHOTS)]),
            }
            for level, scores in judged.scores.items():
                feature[f"scores_{level}"] = tf.train.Feature(
                    float_list=tf.train.FloatList(value=scores[row])
                )
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())
    return folder


@pytest.fixture(scope="session")
def evaluate_models(tmp_path_factory):
    """Asks SavedModels about Examples and runs the Evaluator on what they say; reads it back."""
    from tfx import types
    from tfx.types import standard_artifacts

    from components.evaluation.component import Evaluator
    from components.evaluation.results import read_evaluation
    from components.predictions import answering, table
    from components.predictions.artifacts import Predictions
    from pipeline.beam_runner import LOCAL

    def artifact(kind, uri):
        made = kind()
        made.uri = str(uri)
        return made

    def run(config, examples, model, baseline=None, slices=(), several_pictures=False):
        folder = tmp_path_factory.mktemp("evaluation")
        inputs = {"predictions": [], "baseline_predictions": []}
        for key, asked in zip(inputs, (model, baseline), strict=True):
            if asked is None:
                continue
            for file in sorted((examples / "Split-test").iterdir()):
                answering.answer(
                    answering.Answerer(str(asked / "Format-Serving")),
                    str(file),
                    str(table.split_folder(folder / key, "test") / f"{file.name}.parquet"),
                    split="test",
                    slices=slices,
                    several_pictures=several_pictures,
                )
            inputs[key] = [artifact(Predictions, folder / key)]
        channel = types.Channel(type=Predictions)
        component = Evaluator(channel, channel, eval_config=config, slices=slices)
        executor = component.executor_spec.executor_class
        # A copy, for the executor appends to the list that it is given.
        context = executor.Context(beam_pipeline_args=[*LOCAL], tmp_dir=str(folder), unique_id="1")
        out = artifact(standard_artifacts.ModelEvaluation, folder / "out")
        executor(context).Do(inputs, {"evaluation": [out]}, component.exec_properties)
        return read_evaluation(out.uri)

    return run


@pytest.fixture(scope="session")
def save_model(judged):
    """Writes a SavedModel that answers the Examples' own scores.

    `order` permutes the category vocabulary (dropping what it leaves out), `attributes=False` makes
    a model of a catalog without attributes, `gender=False` one that does not know the extra label,
    `compared=False` one that says nothing of what it would serve without decoding or calibration.
    """
    import tensorflow as tf

    def save(folder, order=(0, 1, 2), attributes=True, gender=True, compared=True):
        vocabularies = {
            "category": [judged.vocabularies["category"][index] for index in order],
            "subcategory": judged.vocabularies["subcategory"],
            "gender": judged.vocabularies["gender"],
        }
        label_names = judged.vocabularies["attributes"] if attributes else []
        module = tf.Module()
        module.tables = {
            level: tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(vocabulary), tf.range(len(vocabulary), dtype=tf.int64)
                ),
                default_value=-1,
            )
            for level, vocabulary in vocabularies.items()
        }
        serialized = tf.TensorSpec([None], tf.string, name="examples")

        @tf.function(input_signature=[serialized])
        def evaluate(examples):
            parsed = tf.io.parse_example(
                examples,
                {
                    f"scores_{name}": tf.io.FixedLenFeature([scores.shape[1]], tf.float32)
                    for name, scores in judged.scores.items()
                },
            )
            outputs = {"embedding": tf.ones([tf.shape(examples)[0], 8])}
            for name in judged.scores:
                if name.startswith("category"):
                    outputs[name] = tf.gather(parsed[f"scores_{name}"], list(order), axis=1)
                elif name.startswith("attributes"):
                    outputs[name] = parsed[f"scores_{name}"][:, : len(label_names)]
                elif gender or not name.startswith("gender"):
                    outputs[name] = parsed[f"scores_{name}"]
            return {name: values for name, values in outputs.items() if compared or "_" not in name}

        @tf.function(input_signature=[serialized])
        def transform_labels(examples):
            parsed = tf.io.parse_example(
                examples,
                {
                    "category": tf.io.FixedLenFeature([], tf.string),
                    "subcategory": tf.io.FixedLenFeature([], tf.string),
                    "attributes": tf.io.VarLenFeature(tf.string),
                    "gender": tf.io.FixedLenFeature([], tf.string),
                },
            )
            present = tf.sparse.to_dense(parsed["attributes"])[:, :, None]
            names = tf.constant(label_names, tf.string, shape=[len(label_names)])
            labels = {
                "category_label": module.tables["category"].lookup(parsed["category"]),
                "subcategory_label": module.tables["subcategory"].lookup(parsed["subcategory"]),
                "attributes_label": tf.cast(
                    tf.reduce_any(present == names[None, None, :], axis=1), tf.float32
                ),
            }
            if gender:
                labels["gender_label"] = tf.where(
                    parsed["gender"] == features.UNKNOWN,
                    tf.constant(features.NOT_GIVEN, tf.int64),
                    module.tables["gender"].lookup(parsed["gender"]),
                )
            return labels

        tf.saved_model.save(
            module,
            str(folder / "Format-Serving"),
            signatures={"evaluate": evaluate, "transform_labels": transform_labels},
        )
        # As a Transform graph's vocabularies come along: a file a level, a label a line.
        if not gender:
            del vocabularies["gender"]
        for level, labels in (vocabularies | {"attributes": label_names}).items():
            (folder / "Format-Serving" / "assets" / level).write_text(
                "".join(f"{label}\n" for label in labels)
            )
        return folder

    return save
