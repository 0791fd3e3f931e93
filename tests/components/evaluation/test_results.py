"""What the Evaluator wrote as plain data, and figures as people read them."""

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.evaluation.results import metrics_json, number, read_evaluation
from schema.errors import UserError


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9124, ".912"), (0.0, ".000"), (1.0, "1.000"), (-0.25, "-.250"), (0.9999, "1.000")],
)
def test_numbers_are_written_without_the_leading_zero(value, text):
    assert number(value) == text


class Record:
    """What TFMA says of a slice."""

    def __init__(self, **slice_of: str | int):
        self.proto = metrics_for_slice_pb2.MetricsForSlice()
        self.proto.slice_key.SetInParent()
        for column, value in slice_of.items():
            key = self.proto.slice_key.single_slice_keys.add(column=column)
            if isinstance(value, int):
                key.int64_value = value
            else:
                key.bytes_value = value.encode()

    def says(self, name, value, level="", model="", is_diff=False):
        metric = self.proto.metric_keys_and_values.add()
        metric.key.name, metric.key.output_name = name, level
        metric.key.model_name, metric.key.is_diff = model, is_diff
        if isinstance(value, float):
            metric.value.double_value.value = value
        elif isinstance(value, tuple):
            # With an interval.
            metric.value.bounded_value.value.value = value[0]
        else:
            array = metric.value.array_value
            array.shape.extend(value.shape)
            is_whole = value.dtype == np.int64
            (array.int64_values if is_whole else array.float64_values).extend(value.ravel())
        return self


@pytest.fixture
def read(monkeypatch):
    def read(*records: Record):
        told = [record.proto for record in records]
        monkeypatch.setattr(tfma, "load_metrics", lambda uri: iter(told))
        return read_evaluation("/runs/7")

    return read


CONFUSION = np.array([[-1, 0, 1], [0, 0, 6], [1, 1, 3]], np.int64)
RELIABILITY = np.array([[10, 9.5, 9.0]])


def overall() -> Record:
    return (
        Record()
        .says("example_count", 10.0)
        .says("accuracy", (0.9,), "category")
        .says("accuracy", 0.8, "category", "baseline")
        .says("accuracy", 0.1, "category", is_diff=True)
        .says("accuracy", 0.0, "gender")
        .says("confusion", CONFUSION, "category")
        .says("confusion", np.zeros((0, 3), np.int64), "gender")
        .says("reliability", RELIABILITY, "category")
        .says("counts", np.array([[4, 1, 2]], np.int64), "attributes")
        .says("confusion", CONFUSION + 1, "category", "baseline")
    )


def test_figures_overall_by_slice_and_of_the_last_blessed_model_are_told_apart(read):
    found = read(
        Record(gender="Men")
        .says("example_count", 6.0)
        .says("accuracy", 1.0, "category")
        .says("accuracy", 0.7, "category", "baseline"),
        Record(gender="Men", season="Fall").says("example_count", 2.0),
        # Of too few products TFMA says nothing.
        Record(gender="Boys").says("__ERROR__", 0.0),
        Record(year=2012).says("example_count", 3.0).says("accuracy", 0.5, "category"),
        overall(),
    )
    assert found.example_count == 10
    # Nobody knows the gender of any product.
    assert found.metrics == {"category/accuracy": 0.9}
    assert found.baseline == {"category/accuracy": 0.8}
    assert found.slices == {
        "gender": {"Men": {"example_count": 6, "category/accuracy": 1.0}},
        "gender x season": {"Men x Fall": {"example_count": 2}},
        "year": {"2012": {"example_count": 3, "category/accuracy": 0.5}},
    }
    assert found.baseline_slices == {"gender": {"Men": {"category/accuracy": 0.7}}}
    assert found.confusion["category"].tolist() == CONFUSION.tolist()
    assert found.reliability["category"].tolist() == RELIABILITY.tolist()
    assert found.uncalibrated_reliability == {}
    assert found.attribute_counts.tolist() == [[4, 1, 2]]

    labels = {"category": ["Shoe", "Top"], "gender": ["Men"], "attributes": ["season=Fall"]}
    plain = metrics_json(found, labels)
    assert plain["slices"] == found.slices
    assert plain["labels"]["gender"] == {}
    by_class = plain["labels"]["category"]
    assert {name: of["support"] for name, of in by_class.items()} == {
        "(not in the train part)": 1,
        "Shoe": 6,
        "Top": 3,
    }
    assert by_class["Shoe"]["precision"] == pytest.approx(6 / 7)
    assert plain["labels"]["attributes"]["season=Fall"]["recall"] == pytest.approx(4 / 6)


def test_a_catalog_without_attributes_has_no_counts_of_them(read):
    found = read(Record().says("example_count", 1.0))
    assert found.attribute_counts.shape == (0, 3)
    assert (found.example_count, found.metrics, found.slices) == (1, {}, {})


def test_nothing_judged_is_one_sentence(read):
    with pytest.raises(UserError, match="/runs/7 holds no metrics"):
        read()
