"""Values worth a choice, as many as a person looks through."""

from __future__ import annotations

import numpy as np

from serving.app.facets import MOST_VALUES, choices, facets
from serving.search import ExactIndex, Space


def indexed(fields):
    count = len(next(iter(fields.values())))
    index = ExactIndex(Space({"all": 2}))
    index.upsert([f"p{at}" for at in range(count)], np.ones((count, 2)), fields)
    return index


def test_a_field_of_which_nearly_every_product_has_its_own_value_is_no_choice():
    index = indexed(
        {
            "name": [f"Shirt {at}" for at in range(100)],
            "brand": [f"Brand {at % 40}" for at in range(100)],
            "rare": [f"value {at}" if at < 30 else None for at in range(100)],
            "few": [f"value {at}" if at < 20 else None for at in range(100)],
            "more": [f"value {at}" if at < 21 else None for at in range(100)],
            "half": [f"value {at // 2}" for at in range(100)],
            "most": [f"value {max(at - 49, 0)}" for at in range(100)],
            "empty": [None] * 100,
        }
    )

    assert choices(index) == ["brand", "few", "half", "empty"]
    assert facets(index, ["empty"], {})["empty"].counts == {}


def test_of_many_values_the_commonest_are_told_and_the_rest_is_counted():
    values = [f"{at:04}" for at in range(MOST_VALUES + 50) for _ in range(3 if at > 240 else 2)]
    index = indexed({"brand": values})

    told = facets(index, ["brand"], {})["brand"]

    assert len(told.counts) == MOST_VALUES and told.more == 50
    assert list(told.counts)[:10] == [f"{at:04}" for at in [*range(241, 250), 0]]
    kept = facets(index, ["brand"], {"brand": ("0239",)})["brand"]
    assert kept.counts["0239"] == 2 and kept.more == 49


def test_a_chosen_value_is_told_where_none_is_left():
    index = indexed({"gender": ["Men", "Men", "Women"], "season": ["Summer", "Summer", "Winter"]})

    told = facets(index, ["gender", "season"], {"gender": ("Women",), "season": ("Summer",)})

    assert told["gender"].counts == {"Men": 2, "Women": 0}
    assert told["season"].counts == {"Winter": 1, "Summer": 0}


def test_a_product_with_several_values_counts_once_for_each():
    index = indexed({"tags": [["new", "sale"], ["sale"], None], "size": ["S", "M", "S"]})

    assert facets(index, ["tags"], {"size": ("S",)})["tags"].counts == {"new": 1, "sale": 1}
    assert facets(index, ["size"], {"tags": ("new", "sale")})["size"].counts == {"M": 1, "S": 1}
