"""How many labels each level has, and which attributes go together."""

import pytest

from trainer.label_space import LabelSpace


def test_attributes_are_of_the_type_that_their_label_begins_with():
    space = LabelSpace.of(
        {
            "category": ["bags", "shoes"],
            "subcategory": ["clutch", "boot", "sandal"],
            "attributes": ["color=red", "line=dotted", "color=blue", "color=green"],
            "gender": ["Women", "Men"],
        }
    )
    assert space == LabelSpace(2, 3, {"color": [0, 2, 3], "line": [1]}, {"gender": 2})
    assert space.attributes == 4
    assert [*space.single_levels()] == [("category", 2), ("subcategory", 3), ("gender", 2)]


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ((0, 1), "Every level needs a label.*categories=0"),
        ((1, 0), "Every level needs a label.*subcategories=0"),
        ((1, 1, {}, {"gender": 0}), "Every level needs a label.*'gender': 0"),
        ((1, 1, {"color": [0, 1], "line": [1]}), "Every attribute must be of one type"),
        ((1, 1, {"color": [0, 2]}), "Every attribute must be of one type"),
    ],
)
def test_a_level_without_labels_and_attributes_of_no_type_are_refused(labels, problem):
    with pytest.raises(ValueError, match=problem):
        LabelSpace(*labels)
    assert LabelSpace(1, 1).attributes == 0
