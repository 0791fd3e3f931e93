"""What stands in a query is what is meant, or is refused in a sentence."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.app import parameters
from serving.app.errors import Refused
from serving.app.pictures import Crop

NAMES = st.text(min_size=1).filter(lambda name: "=" not in name)


@given(st.dictionaries(NAMES, st.lists(st.text(), min_size=1, unique=True)))
def test_filters_are_read_as_they_were_written(wanted):
    texts = [f"{name}={value}" for name, values in wanted.items() for value in values]

    assert parameters.filters(texts) == {name: tuple(values) for name, values in wanted.items()}
    assert parameters.filters(texts + texts) == parameters.filters(texts)


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1000)))
def test_weights_are_read_as_they_were_written(wanted):
    assert parameters.weights(f"{name}={value!r}" for name, value in wanted.items()) == wanted


@given(st.text())
def test_any_text_is_a_filter_a_weight_and_a_crop_or_is_refused(text):
    for read in (lambda: parameters.filters([text]), lambda: parameters.weights([text]),
                 lambda: Crop.parse(text)):  # fmt: skip
        try:
            read()
        except Refused as refused:
            assert refused.status == 400
            assert "expected" in str(refused)


@pytest.mark.parametrize(
    ("given_", "said"),
    [({"version": -1}, 'The parameter "version" is "-1"; input should be greater than or equal'),
     ({"k": 0}, 'The parameter "k" is "0"; input should be greater than or equal to 1.'),
     ({"exclude": ["p"] * 501}, 'There are too many of "exclude"; at most 500 are taken.'),
     ({"weight": ["x" * 1001]}, 'The parameter "weight"'), ({"size": 3}, 'no parameter "size"')],
)  # fmt: skip
def test_what_comes_from_a_command_line_has_the_bounds_of_what_comes_in_a_query(given_, said):
    with pytest.raises(Refused) as refused:
        parameters.Search.of(**given_)

    assert said in str(refused.value) and refused.value.status == 400
    assert parameters.Search.of(k=3, where=["a=b"]).question.where == {"a": ("b",)}


@given(st.integers(8, 5000), st.integers(8, 5000), st.data())
def test_a_crop_lies_within_the_picture(width, height, data):
    edges = [sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))) for _ in range(2)]
    (left, right), (top, bottom) = edges
    try:
        crop = Crop.parse(f"{left!r},{top!r},{right - left!r},{bottom - top!r}")
    except Refused:
        assert right - left <= 0 or bottom - top <= 0
        return

    box = crop.box(width, height)

    assert 0 <= box[0] <= box[2] <= width and 0 <= box[1] <= box[3] <= height
    assert box[0] == pytest.approx(left * width, abs=0.51)
    assert box[2] == pytest.approx(right * width, abs=0.51)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["k", "where", "weight", "exclude", "crop", "fold", "version", "model",
                             "exact", "expand", "other"]),
            st.one_of(st.text(max_size=30), st.sampled_from(["gender=Women", "colour=1", "p20",
                                                             "true", "3", "5", "catalog"])),
        ),
        max_size=6,
    )
)  # fmt: skip
def test_no_query_makes_the_app_fail(app, query):
    asked = urllib.parse.urlencode(query, errors="replace")

    for answer in (app.http.post(f"/api/search?{asked}", json={"id": "p20"}),
                   app.http.get(f"/api/facets?{asked}")):  # fmt: skip
        assert answer.status_code in (200, 400, 404)
        if answer.status_code != 200:
            assert set(answer.json()) == {"detail"}
