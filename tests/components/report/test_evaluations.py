"""Any TFMA result opens in the explorer with the figures that TFMA itself reads from it."""

import re

import pytest
import tensorflow as tf
from tensorflow_model_analysis.proto import metrics_for_slice_pb2

from components.report import evaluations
from schema.errors import UserError


def test_figures_are_those_of_tfma(tfma_result):
    folder, frame = tfma_result
    slices, _ = evaluations.read(folder)
    overall, *rest = slices
    assert (overall.column, overall.products) == ("", 120)
    right = (frame.prediction > 0.5) == (frame.label == 1)
    found = {(of.column, of.value): of for of in slices}
    assert overall.figures["/binary_accuracy"].value == pytest.approx(right.mean())
    red = found["color", "red"]
    assert red.products == (frame.color == "red").sum()
    assert red.figures["/binary_accuracy"].value == pytest.approx(
        right[frame.color == "red"].mean()
    )
    assert ("color x size", "blue x 1") in found
    assert len(rest) == 2 + 4


def record(**slice_key):
    of = metrics_for_slice_pb2.MetricsForSlice()
    for column, value in slice_key.items():
        of.slice_key.single_slice_keys.add(column=column, bytes_value=value.encode())
    return of


def metric(of, name, value, **key):
    added = of.metric_keys_and_values.add()
    added.key.name = name
    for field, told in key.items():
        setattr(added.key, field, told)
    added.value.double_value.value = value
    return added


def written(folder, records, config='{"evalConfig": {}}'):
    with tf.io.TFRecordWriter(str(folder / "metrics-00000-of-00001.tfrecord")) as file:
        for of in records:
            file.write(of.SerializeToString())
    (folder / "eval_config.json").write_text(config)
    return folder


def test_a_baseline_stands_beside_the_candidate_whatever_both_are_called(tmp_path):
    of = record()
    metric(of, "example_count", 9)
    metric(of, "auc", 0.9, model_name="new")
    metric(of, "auc", 0.8, model_name="old")
    metric(of, "auc", 0.1, model_name="new", is_diff=True)
    config = (
        '{"evalConfig": {"modelSpecs": [{"name": "new"}, {"name": "old", "isBaseline": true}]}}'
    )
    [overall], _ = evaluations.read(written(tmp_path, [of], config))
    assert overall.figures["/auc"].value == 0.9
    assert overall.figures["/auc"].last == 0.8
    assert list(overall.figures) == ["/auc"]


def test_several_candidates_and_outputs_are_told_apart(tmp_path):
    of = record()
    metric(of, "auc", 0.9, model_name="a", output_name="color")
    metric(of, "auc", 0.8, model_name="b", output_name="color")
    top = metric(of, "precision", 0.7, model_name="a")
    top.key.sub_key.class_id.value = 3
    macro = metric(of, "precision", 0.6, model_name="a")
    macro.key.aggregation_type.macro_average = True
    config = '{"evalConfig": {"modelSpecs": [{"name": "a"}, {"name": "b"}]}}'
    [overall], _ = evaluations.read(written(tmp_path, [of], config))
    assert {name: of.value for name, of in overall.figures.items()} == {
        "a: color/auc": 0.9,
        "b: color/auc": 0.8,
        "a/precision of class id 3": 0.7,
        "a/precision (macro average)": 0.6,
    }
    assert overall.products is None


def test_intervals_are_tfmas(tmp_path):
    of = record()
    ends = metric(of, "auc", 0.9).confidence_interval
    ends.lower_bound.double_value.value = 0.85
    ends.upper_bound.double_value.value = 0.93
    metric(of, "loss", 0.1).confidence_interval.lower_bound.double_value.value = 0.05
    [overall], _ = evaluations.read(written(tmp_path, [of]))
    assert overall.figures["/auc"].interval == (0.85, 0.93)
    assert overall.figures["/loss"].interval is None


def test_what_is_no_number_is_counted_and_left_out(tmp_path):
    of = record(color="red")
    metric(of, "auc", 0.9)
    table = of.metric_keys_and_values.add()
    table.key.name = "confusion"
    table.value.array_value.float64_values.append(1.0)
    broken = of.metric_keys_and_values.add()
    broken.key.name = "__ERROR__"
    broken.value.bytes_value = b"too few"
    slices, left_out = evaluations.read(written(tmp_path, [of]))
    # There are no figures of all examples here.
    assert [(of.column, list(of.figures)) for of in slices] == [("", []), ("color", ["/auc"])]
    assert left_out == {"/confusion": 1, "/__ERROR__": 1}


def test_a_comparison_of_two_slices_is_shown_as_one(tmp_path):
    of = metrics_for_slice_pb2.MetricsForSlice()
    of.cross_slice_key.comparison_slice_key.single_slice_keys.add(
        column="color", bytes_value=b"red"
    )
    of.cross_slice_key.baseline_slice_key.SetInParent()
    metric(of, "auc", -0.1, is_diff=True)
    slices, _ = evaluations.read(written(tmp_path, [record(), of]))
    assert (slices[1].column, slices[1].value) == ("all against color", "all against red")
    assert slices[1].figures["/auc"].value == -0.1


def test_results_from_before_metrics_had_keys_are_read(tmp_path):
    of = record(color="red")
    of.metrics["post_export_metrics/example_count"].double_value.value = 7
    of.metrics["accuracy"].bounded_value.value.value = 0.7
    of.metrics["accuracy"].bounded_value.lower_bound.value = 0.6
    of.metrics["accuracy"].bounded_value.upper_bound.value = 0.8
    _, red = evaluations.read(written(tmp_path, [of]))[0]
    assert red.products == 7
    assert red.figures["/accuracy"].interval == (0.6, 0.8)


def test_the_page_needs_nothing_but_itself(tfma_result):
    html = evaluations.render(tfma_result[0])
    assert "7 slices" not in html and "6 slices" in html
    assert 'id="data-slices"' in html
    assert not re.search(r"(src|href)=\"(?!#|data:)|url\(h", html)


def test_a_workspace_opens_its_last_result(tmp_path):
    for number, value in (("9", 0.1), ("10", 0.2)):
        folder = tmp_path / "artifacts/Evaluator/evaluation" / number
        folder.mkdir(parents=True)
        of = record()
        metric(of, "auc", value)
        written(folder, [of])
    [overall], _ = evaluations.read(tmp_path)
    assert overall.figures["/auc"].value == 0.2


def test_what_is_no_result_is_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        evaluations.read(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no `metrics-\\*` file"):
        evaluations.read(tmp_path)
    (tmp_path / "metrics-00000-of-00001.tfrecord").write_bytes(b"no records" * 9)
    with pytest.raises(UserError, match="cannot be read"):
        evaluations.read(tmp_path)
    written(tmp_path, [])
    with pytest.raises(UserError, match="without a single slice"):
        evaluations.read(tmp_path)
