"""A small run's contents, and the same run with everything left out that may be missing."""

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest
from google.protobuf import text_format

from components.data_gate.findings import Distance, Finding
from components.evaluation import figures
from components.evaluation.results import Evaluation
from components.judge import gates
from components.judge.answers import Judged, masks
from components.judge.judgement import Judgement
from components.judge.measures import Answers, AttributeAnswers, ClassAnswers
from components.report import products
from components.report.contents import Answer, Contents, Expectation
from components.similarity_index.quality import Figure, Quality
from tests.components.report.written import write_report

# One white pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAH"
    "ggJ/PchI7wAAAABJRU5ErkJggg=="
)
CONFUSION = {
    "category": np.array([[-1, 0, 2], [0, 0, 60], [0, 1, 4], [1, 1, 34]]),
    "subcategory": np.array([[0, 0, 40], [0, 2, 10], [1, 1, 20], [1, 0, 5], [2, 2, 25]]),
    "gender": np.array([[0, 0, 70], [0, 1, 5], [1, 1, 15]]),
}
# Answers, the sum of their scores, right ones; the other bins are empty.
RELIABILITY = np.zeros((15, 3))
RELIABILITY[[7, 14]] = [[20, 10.0, 12], [80, 76.0, 78]]
UNCALIBRATED = np.zeros((15, 3))
UNCALIBRATED[14] = [100, 99.0, 90]
LEVELS = (*CONFUSION, "attributes")
ATTRIBUTE_COUNTS = np.array([[30, 10, 20], [5, 0, 0]])


def line(metric, figure, products, named=None, *, bound=0.01, last=None, interval=None, **more):
    """A gate's line: of a least figure, or, with `last`, of how much worse it may be."""
    told = {"verdict": gates.PASSES, "kind": "at_least" if last is None else "at_most_worse"}
    return gates.Line(
        metric=metric,
        slice=named or {},
        products=products,
        figure=figure,
        interval=interval,
        last=last,
        bound=bound,
        confidence=0.95,
        **told | more,
    )


def accepted(threshold, number, **more):
    """What is told of 100 products of which so many are taken as they are."""
    told = {"products": 100, "accepted": number, "share": number / 100, "threshold": threshold}
    right = {"precision": 0.99, "interval": [0.97, 1.0]} if number else {}
    return told | {"precision": None, "interval": None} | right | more


def class_answers(labels, pairs, seed):
    """Answers whose confusions are `pairs`; truths that training never saw are the last label."""
    random = np.random.default_rng(seed)
    truth, answer, count = pairs.T
    truth = np.where(truth < 0, len(labels), truth)
    truth, answer = np.repeat(truth, count), np.repeat(answer, count)
    score = np.where(truth == answer, 0.9, 0.4) + 0.1 * random.random(len(truth))
    rank = np.where(truth == answer, 1, 2)
    return ClassAnswers([*labels, "Novelty"], truth, answer, score, rank, np.zeros(len(truth)))


@pytest.fixture
def judged():
    """100 products, whose sub-category the last model answered otherwise in three."""
    labels = {"category": ["Apparel", "Footwear"], "subcategory": ["Tshirt", "Shoe", "Shirt"]}
    levels = {
        level: class_answers(of, CONFUSION[level], seed)
        for seed, (level, of) in enumerate(labels.items())
    }
    attributes = np.arange(200).reshape(100, 2) % 10 / 10
    levels["attributes"] = AttributeAnswers(
        ["season=Summer", "usage=Sports"], attributes > 0.5, attributes, 0.75
    )
    before = levels["subcategory"]
    other = dataclasses.replace(before, answer=np.where(np.arange(100) < 3, 1, before.answer))
    return Judged(
        Answers(levels),
        Answers({**levels, "subcategory": other}),
        np.arange(100),
        {
            "gender": masks(np.array(["Women", "Men", "Kids", "unknown"])[np.arange(100) % 4]),
            "attributes": {"season=Summer": attributes[:, 0] > 0.5},
        },
        ("gender",),
    )


def found(value, **more):
    """A figure of a search, of 40 queries."""
    told = {"low": value - 0.05, "high": value + 0.05, "chance": 0.1, "best": 0.98}
    return Figure(**{"value": value, **told, "queries": 40, "lone": 2} | more)


def search_told(scale, slices=None):
    """How good a search is, by so much of the figures of the best one; as the step tells it."""
    nan = dict.fromkeys(("value", "low", "high", "chance", "best"), math.nan)
    values = {
        "precision_at_15": 0.8,
        "all_alike/precision_at_15": 0.5,
        "ndcg_at_15": 0.7,
        "mean_average_precision": 0.6,
        "map_at_r": 0.55,
        "recall_at_1": 0.9,
        "recall_at_10": 0.94,
    }
    micro = {name: found(scale * value) for name, value in values.items()}
    macro = {name: found(scale * value - 0.2) for name, value in values.items()}
    unknown = {name: Figure(**nan, queries=0, lone=3) for name in values}
    return Quality(42, 900, micro, macro, {"gender": {"Women": micro, "Kids": unknown}}).to_json()


@pytest.fixture
def search_map(ids):
    """The products in ten rows of ten, three of them unknown to the rest of the page."""
    places = np.arange(100)
    brands = [f"brand {code}" for code in range(9)]
    return {
        "way": "t-SNE",
        "side": 900,
        "count": 120,
        "ids": [*ids[:97], "q97", "q98", "q99"],
        "x": (100 * (places % 10)).tolist(),
        "y": (100 * (places // 10)).tolist(),
        "fields": {
            "article": {"values": ["Tshirt", "Shoe", "Shirt"], "of": (places % 4 - 1).tolist()},
            "brand": {"values": brands, "of": (places % 9).tolist()},
        },
    }


@pytest.fixture
def ids():
    return [f"p{place}" for place in range(100)]


@pytest.fixture
def contents(judged, ids, search_map):
    """A blessed and pushed model with everything there is to tell."""
    metrics = {
        f"{level}/{name}": value
        for level, confusion in CONFUSION.items()
        for name, value in figures.class_figures(confusion).items()
    } | {
        f"attributes/{name}": value
        for name, value in figures.attribute_figures(ATTRIBUTE_COUNTS).items()
    }
    metrics |= {f"{level}/calibration_error": 0.04 for level in LEVELS}
    metrics |= {f"{level}/uncalibrated_calibration_error": 0.09 for level in LEVELS}
    metrics |= {
        "category/independent_accuracy": 0.93,
        "category/changed_by_decoding": 0.02,
        "subcategory/independent_accuracy": 0.86,
        "subcategory/changed_by_decoding": 0.03,
        "subcategory/pair_accuracy": 0.84,
        "subcategory/independent_pair_accuracy": 0.81,
    }
    women = {name: value - 0.1 for name, value in metrics.items()}
    return Contents(
        name="winter",
        created="November 21, 2026, 20:00 UTC",
        evaluation=Evaluation(
            example_count=100,
            metrics=metrics,
            baseline={name: value - 0.02 for name, value in metrics.items()},
            slices={
                "gender": {
                    "Women": {**women, "example_count": 80},
                    "Men": {**metrics, "example_count": 12},
                    "Kids": {**women, "example_count": 8},
                    # Of these nobody knows the gender, so nothing is said of it.
                    "unknown": {
                        **{name: of for name, of in metrics.items() if "gender" not in name},
                        "example_count": 5,
                    },
                }
            },
            confusion=CONFUSION,
            attribute_counts=ATTRIBUTE_COUNTS,
            reliability=dict.fromkeys(LEVELS, RELIABILITY),
            uncalibrated_reliability=dict.fromkeys(LEVELS, UNCALIBRATED),
        ),
        judgement=Judgement(
            (
                line("category/accuracy", 0.94, 100, bound=0.9),
                line("subcategory/accuracy", 0.85, 100, last=0.83, interval=(-0.01, 0.05)),
                line("category/accuracy", 0.8, 12, {"gender": "Men"}, verdict=gates.TOO_FEW),
                line("gender/accuracy", 0.7, 80, {"gender": "Women"}, last=0.72, is_guard=True),
                line("gender/accuracy", None, 0, {"gender": "Boys"}, verdict=gates.VANISHED),
            ),
            slices={
                "gender": {
                    value: {
                        "category/accuracy": {
                            "value": sum(interval) / 2,
                            "interval": interval,
                            "products": products,
                            "low": value == "Women",
                        }
                    }
                    for value, interval, products in (
                        ("Women", [0.7, 0.85], 80),
                        ("Men", [0.8, 0.99], 12),
                    )
                },
                "image_brightness": {
                    "darkest tenth": {
                        "category/accuracy": {
                            "value": 0.6,
                            "interval": [0.4, 0.8],
                            "products": 10,
                            "low": True,
                        }
                    },
                    "those between": {},
                },
                "image_size": {},
            },
            automatic={
                "wanted": 0.98,
                "confidence": 0.95,
                "levels": {
                    "category": accepted(0.91, 80, slices={"gender": {"Men": accepted(None, 9)}}),
                    "subcategory": accepted(None, 0),
                },
                "attributes": {"season=Summer": accepted(0.97, 30, recall=0.5)},
                "lanes": {
                    "subcategory": accepted(None, 0),
                    "category": accepted(None, 80),
                    "person": {"products": 100, "accepted": 20, "share": 0.2},
                },
            },
            figures={"category/accuracy": {"value": 0.94, "interval": None, "products": 100}},
        ),
        labels={
            "category": ["Apparel", "Footwear"],
            "subcategory": ["Tshirt", "Shoe", "Shirt"],
            "attributes": ["season=Summer", "usage=Sports"],
            "gender": ["Women", "Men"],
        },
        attribute_threshold=0.75,
        canary_passed=True,
        canary_summary="2 questions answered",
        pushed_version="17",
        pushed_destination="/shop/serving/catalog/17",
        ingest={
            "rows": 1022,
            "further_pictures": 20,
            "belonging_rows": 30,
            "accepted": 1000,
            "rejected": 5,
            "capped": 7,
            "not_sampled": 0,
            "pictures_without_row": 1,
            "rejected_by_reason": {"missing_picture": 4, "empty_label": 1},
            "products_by_split": {"train": 800, "eval": 100, "test": 100},
            "hints": ["4 rows name pictures like `1.0`."],
            "notes": ["list_category_cloth.txt says 50 in its first line and lists 46."],
        },
        rejects=[
            {
                "row": str(row),
                "id": f"p{row}",
                "column": "",
                "reason": "missing_picture",
                "found": f"images/p{row}.jpg",
            }
            for row in range(2, 6)
        ],
        expectations=[Expectation("image_height", "integer", True, "at least 8")],
        findings=[
            Finding("train", "gender", "error", "`gender` has 1 value outside its domain"),
            Finding("test", "season", "warning", "`season` is skewed"),
        ],
        distances=[
            Distance("drift", "train", "season", 0.04, 0.15, "`season` has drifted"),
            Distance("drift", "train", "gender", 0.01, 0.15, "`gender` has drifted"),
            Distance("skew", "test", "gender", 0.21, 0.15, "`gender` is skewed"),
        ],
        conflict_counts={"same_picture": 25, "several_categories": 1, "spelling": 0},
        conflicts=[
            {
                "kind": "same_picture",
                "value": "p9",
                "rows": "17 4",
                "ids": "p9|p10",
                "found": "subcategory: 'Shirt' (1), 'Tshirt' (1)",
            },
            {
                "kind": "several_categories",
                "value": "Socks",
                "rows": " ".join(map(str, range(2, 11))),
                "ids": "|".join(f"p{number}" for number in range(9)),
                "found": "categories: 'Accessories' (30), 'Apparel' (9)",
            },
        ],
        class_counts={
            "category": {"Apparel": 600, "Footwear": 200},
            "subcategory": {"Tshirt": 400, "Shoe": 200, "Shirt": 200},
            "attributes": {"season=Summer": 500, "usage=Sports": 50},
            "gender": {"Women": 700, "Men": 100},
        },
        history={
            "epochs": [
                {
                    "epoch": epoch,
                    "seconds": 30,
                    "loss": 3 / epoch,
                    "val_loss": float("nan") if epoch == 3 else 4 / epoch,
                    "category_accuracy": 0.3 * epoch,
                    "val_category_accuracy": 0.25 * epoch,
                    "gender_accuracy": 0.2 * epoch,
                    "val_gender_accuracy": 0.15 * epoch,
                    "category_loss": 1 / epoch,
                    "val_category_loss": 1 / epoch,
                }
                for epoch in (1, 2, 3)
            ],
            "best_epoch": 2,
            "parameters": 930_000,
            "temperatures": {"category": 1.3, "subcategory": 1.6, "attributes": 0.9},
            "stopped_early": True,
            "hyperparameters": {"training.learning_rate": 0.003},
        },
        answers=[
            Answer(
                "p7",
                {
                    "category": "Apparel",
                    "subcategory": "Shirt",
                    "attributes": ["season=Summer"],
                    "gender": "Men",
                },
                {
                    "category": "Apparel",
                    "category_score": 0.98,
                    "subcategory": "Tshirt",
                    "subcategory_score": 0.6,
                    "attributes": {"season=Summer": 0.2, "usage=Sports": 0.75},
                    "extra_labels": {"gender": {"label": "Women", "score": 0.7}},
                },
                PNG,
            ),
            Answer(
                "p8",
                {
                    "category": "Footwear",
                    "subcategory": "Shoe",
                    "attributes": [],
                    "gender": "unknown",
                },
                {
                    "category": "Footwear",
                    "category_score": 0.9,
                    "subcategory": "Shoe",
                    "subcategory_score": 0.9,
                    "attributes": {"season=Summer": 0.74},
                    "extra_labels": {"gender": {"label": "Men", "score": 0.8}},
                },
                PNG,
            ),
        ],
        products=products.told(judged, ids),
        attribute_decisions=products.attribute_counts(judged),
        coverage=products.coverages(judged, {"category": 0.91, "subcategory": None}),
        parents=products.parents(judged),
        runs=[
            {
                "created": f"2026-11-{day} 20:00",
                "live": str(day) if day == 20 else None,
                "blessed": day != 19,
                "products": 100,
                "figures": {"category/accuracy": {"value": day / 25, "interval": None}},
            }
            for day in (19, 20, 21)
        ],
        search={
            "products": 1200,
            "weights": {"kind": 1.8, "season": 0.0, "colour": 1.2},
            "threshold": 0.6142,
            "approximation": None,
            "alike": ["article", "gender", "colour"],
            "quality": {
                "all blocks": search_told(1),
                "kind": search_told(0.9),
                "colour": search_told(0.5),
            },
        },
        search_map=search_map,
    )


@pytest.fixture
def bare_contents(contents):
    """A first run with category and sub-category alone, whose model was not blessed."""
    evaluation = contents.evaluation
    return Contents(
        name="bare",
        created=contents.created,
        evaluation=dataclasses.replace(
            evaluation,
            metrics={
                name: value
                for name, value in evaluation.metrics.items()
                if not re.search("attributes|gender|independent|decoding|pair|uncalibrated", name)
            },
            baseline={},
            slices={},
            confusion=dict.fromkeys(("category", "subcategory"), np.array([[0, 0, 50]])),
            attribute_counts=np.zeros((0, 3), np.int64),
            reliability=dict.fromkeys(("category", "subcategory"), RELIABILITY),
            uncalibrated_reliability={},
        ),
        judgement=Judgement(
            (line("category/accuracy", 0.94, 100, bound=0.95, verdict=gates.BLOCKS),)
        ),
        labels={
            "category": ["Apparel", "Footwear"],
            "subcategory": ["Tshirt", "Shoe", "Shirt"],
            "attributes": [],
        },
        attribute_threshold=0.75,
        ingest={**contents.ingest, "rejected": 0, "rejected_by_reason": {}, "accepted": 1005},
        class_counts={"category": {"Apparel": 800}, "subcategory": {}, "attributes": {}},
    )


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a report, and fails the test if the page logs anything or asks the net for anything.

    Its `said` are what was said.
    """
    said, contexts = [], []

    def run(contents, width=1280, **more):
        file = write_report(contents, tmp_path / "report")
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:")) else said.append(request.url)
            ),
        )
        page.goto(file.as_uri())
        return page

    run.said = said
    yield run
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture(scope="session")
def tfma_result(tmp_path_factory):
    """What TFMA writes of a binary classifier, with slices and a cross."""
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.proto import config_pb2

    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "label": random.integers(0, 2, 120),
            "prediction": random.random(120),
            "color": random.choice(["red", "blue"], 120),
            "size": random.integers(0, 2, 120),
        }
    )
    config = text_format.Parse(
        """
        model_specs { label_key: "label" prediction_key: "prediction" }
        metrics_specs {
          metrics { class_name: "ExampleCount" }
          metrics { class_name: "BinaryAccuracy" }
          metrics { class_name: "ConfusionMatrixPlot" }
          metrics { class_name: "AUC" }
        }
        slicing_specs {}
        slicing_specs { feature_keys: ["color"] }
        slicing_specs { feature_keys: ["color", "size"] }
        """,
        config_pb2.EvalConfig(),
    )
    folder = tmp_path_factory.mktemp("result")
    tfma.analyze_raw_data(frame, config, output_path=str(folder))
    return folder, frame
