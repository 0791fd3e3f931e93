"""What stands in a query is what is meant, or is refused in a sentence."""

from __future__ import annotations

import asyncio
import time
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from serving.app import api, parameters
from serving.app.errors import Refused
from serving.app.joint_searches import Question
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


def test_a_query_is_handed_on_as_it_was_meant():
    asked = parameters.Search.of(
        k=3,
        where=["gender=Men", "gender=Women", "fit=a=b"],
        exclude=["p1", "p2", "p1"],
        weight=["colour=0.5", "a=b=2"],
        fold=False,
        exact=True,
        expand=True,
    )

    assert asked.question == Question(
        k=3,
        where={"gender": ("Men", "Women"), "fit": ("a=b",)},
        exclude=frozenset(["p1", "p2"]),
        weights={"colour": 0.5, "a=b": 2.0},
        fold=False,
        exact=True,
        expand=True,
    )
    assert parameters.Search.of(crop="0,0.25,1,0.5").part == Crop(0, 0.25, 1, 0.5)
    assert parameters.Search.of().part is None
    assert parameters.Search.of().question == Question(k=15, fold=True, exact=False, expand=False)


@pytest.mark.parametrize(
    ("taken", "refused"),
    [({"k": 1}, {"k": 0}), ({"k": 1000}, {"k": 1001}), ({"version": 0}, {"version": -1}),
     ({"version": 2**63 - 1}, {"version": 2**63}),
     ({"where": ["a=b"] * 500}, {"where": ["a=b"] * 501}),
     ({"exclude": ["x" * 1000]}, {"exclude": ["x" * 1001]}),
     ({"model": "x" * 1000}, {"model": "x" * 1001})],
)  # fmt: skip
def test_bounds_are_taken_and_what_is_beyond_is_refused_in_a_short_sentence(taken, refused):
    parameters.Search.of(**taken)
    with pytest.raises(Refused) as said:
        parameters.Search.of(**refused)
    assert len(str(said.value)) < 250


def test_what_was_sent_is_told_again_by_its_beginning():
    for read in (
        lambda: parameters.filters(["x" * 5000]),
        lambda: parameters.weights(["x" * 5000]),
        lambda: parameters.Search.of(**{"x" * 5000: 1}),
        lambda: parameters.Search.of(k="x" * 5000),
        lambda: Crop.parse("x" * 5000),
    ):
        with pytest.raises(Refused) as said:
            read()
        assert str(said.value).count("x") in range(80, 90)


def test_weights_are_refused_that_are_too_many_too_large_or_no_numbers():
    assert parameters.weights(["colour=1000", "kind=0", "a=-0.0"]) == {
        "colour": 1000,
        "kind": 0,
        "a": 0,
    }
    for text in ("colour=1000.1", "colour=inf", "colour=nan", "colour=-1e-9", "colour=", "=1", "1"):
        with pytest.raises(Refused, match="with a number from 0 to 1000"):
            parameters.weights([text])
    with pytest.raises(Refused, match='The block "colour" is weighed twice; weigh it once.'):
        parameters.weights(["colour=1", "kind=1", "colour=1"])


def test_to_find_a_name_that_is_there_twice_costs_what_reading_the_query_does():
    query = "&".join(f"n{at}=1" for at in range(1999)).encode()

    def seconds(do):
        costs = []
        for _ in range(3):
            began = time.thread_time()
            do()
            costs.append(time.thread_time() - began)
        return min(costs)

    reading = seconds(lambda: urllib.parse.parse_qsl(query))
    scope = {"type": "http", "method": "GET", "headers": [], "query_string": query}
    checking = seconds(lambda: asyncio.run(api._once_each(Request(scope))))

    assert checking < 10 * reading


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
