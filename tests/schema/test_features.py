"""Names and numbers that callers of a served model build on."""

import pytest

from schema import features


def test_so_many_labels_are_promised():
    assert (features.BEST, features.BEST_ATTRIBUTES) == (5, 32)


def test_a_level_s_outputs_are_named_by_it_and_by_what_they_are():
    assert features.outputs("gender") == [
        "gender",
        *(f"gender_{what}" for what in ("score", "scores", "labels", "threshold")),
        *("gender_independent", "gender_uncalibrated"),
    ]
    assert features.outputs("attributes") == [
        "attributes",
        *(f"attribute{what}" for what in ("_scores", "s_threshold", "s_uncalibrated")),
        *("embedding", "status"),
    ]


@pytest.mark.parametrize("label", ["colour=Red", "a=b=c", "size=", "fit=|x"])
def test_an_attribute_label_is_its_group_and_its_value(label):
    group, value = features.split_attribute_label(label)
    assert "=" not in group
    assert features.attribute_label(group, value) == label


@pytest.mark.parametrize(
    ("column", "own"),
    [
        ("gender", "gender"),
        *(
            (name, None)
            for name in ("id", "category", "gender_label", "__raw_record__", "field/price")
        ),
    ],
)
def test_a_slice_column_never_takes_another_features_name(column, own):
    name = features.slice_feature(column)
    assert (name == column) == (own is not None)
    assert features.slice_column(name) == column
    assert features.slice_feature(name) != name or name == own


@pytest.mark.parametrize("column", ["price", "id", "slice:id", "field/price", "\u5546\u54c1 name"])
def test_a_field_never_takes_another_features_name(column):
    name = features.field_feature(column)
    assert features.field_column(name) == column
    assert name not in {column, features.slice_feature(column), *features.RESERVED}
    assert name != features.slice_feature(name)
