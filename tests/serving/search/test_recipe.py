"""What vectors are made of, and what heat maps add up to."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from schema import features
from serving.search import BadSearch, DamagedIndex
from serving.search.blocks import Whitening, color_block
from serving.search.recipe import Answers, Recipe

LABELS = {
    "category": ["Bags", "Shoes"],
    "subcategory": [f"s{at}" for at in range(12)],
    "attributes": ["colour=red", "season=Summer", "colour=blue", "season=Winter"],
    "gender": ["Men", "Women"],
}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def whitening(rng):
    return Whitening.fit(_unit(rng.standard_normal((200, 10))), 6, 0.5)


@pytest.fixture
def recipe(whitening):
    return Recipe(LABELS, whitening)


def _unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _answers(rng, count=3):
    scores = {level: rng.dirichlet(np.ones(len(of)), count) for level, of in LABELS.items()}
    return Answers(scores, _unit(rng.standard_normal((count, 10))))


def _picture(red):
    return Image.new("RGB", (20, 30), (red, 40, 90))


def test_blocks_follow_the_models_levels_and_none_is_called_like_another(recipe):
    assert dict(recipe.space.sizes) == {
        "kind": 12,
        "gender": 2,
        # The group of this name is not the block of colors.
        "colour label": 2,
        "season": 2,
        "features": 6,
        "colour": 6 * 9 * 9,
    }
    assert recipe.space.weights["kind"] == 1.8
    assert recipe.space.weights["gender"] == 0.7
    assert recipe.space.weights["season"] == 0


def test_a_model_that_knows_no_labels_is_compared_by_its_features_and_colors(whitening, rng):
    recipe = Recipe({}, whitening)
    assert list(recipe.space.sizes) == ["features", "colour"]
    vectors = recipe.vectors(Answers({}, _unit(rng.standard_normal((1, 10)))), [_picture(200)])
    assert vectors.shape == (1, 6 + 486)


def test_a_group_called_like_an_extra_label_has_a_block_of_its_own(whitening):
    labels = {"subcategory": ["a"], "attributes": ["gender=Men"], "gender": ["Men"]}
    assert list(Recipe(labels, whitening).space.sizes)[:3] == ["kind", "gender", "gender label"]


def test_vectors_are_roots_of_the_likeliest_ten_features_and_colors(recipe, whitening, rng):
    answers = _answers(rng)
    pictures = [_picture(10), _picture(120), _picture(250)]
    vectors = recipe.vectors(answers, pictures)
    starts = np.cumsum([0, *recipe.space.sizes.values()])
    blocks = {
        name: vectors[:, start:end]
        for name, start, end in zip(recipe.space.sizes, starts, starts[1:], strict=False)
    }

    for row, scores in enumerate(answers.scores["subcategory"]):
        kept = np.where(scores >= np.sort(scores)[-10], scores, 0)
        expected = np.sqrt(kept) / np.linalg.norm(np.sqrt(kept))
        np.testing.assert_allclose(blocks["kind"][row], expected, rtol=1e-5)
    season = np.sqrt(answers.scores["attributes"][:, [1, 3]])
    np.testing.assert_allclose(blocks["season"], _unit(season), rtol=1e-5)
    np.testing.assert_allclose(blocks["features"], whitening(answers.embedding), rtol=1e-4)
    np.testing.assert_allclose(blocks["colour"][1], color_block(pictures[1]), rtol=1e-5)
    for block in blocks.values():
        np.testing.assert_allclose(np.linalg.norm(block, axis=1), 1, rtol=1e-5)


def test_maps_of_a_picture_near_the_mean_add_up_too(recipe, whitening, rng):
    regions = whitening.mean / 6 + 1e-3 * rng.standard_normal((2, 3, 10))
    embedding = regions.sum((0, 1))
    assert np.linalg.norm((embedding - whitening.mean) @ whitening.matrix) < 0.1
    other = whitening(_unit(rng.standard_normal((1, 10))))[0]

    found = recipe.feature_maps(regions, other)

    assert found.sum() == pytest.approx(float(whitening(embedding[None])[0] @ other), abs=1e-4)


def test_of_equally_likely_labels_the_first_ten_count(whitening):
    recipe = Recipe({"subcategory": LABELS["subcategory"]}, whitening)
    scores = np.full((1, 12), 0.05)
    scores[0, 11] = 0.45
    answers = Answers({"subcategory": scores}, np.ones((1, 10)))

    kind = recipe.space.part(recipe.vectors(answers, [_picture(9)]), "kind")[0]

    assert np.flatnonzero(kind).tolist() == [*range(9), 11]
    assert kind[11] / kind[0] == pytest.approx(3)


def test_a_picture_like_the_mean_of_all_has_maps_that_add_up_to_nothing(recipe, whitening):
    regions = np.zeros((2, 2, 10))
    regions[0, 1] = whitening.mean

    found = recipe.feature_maps(regions, np.ones(6) / 6**0.5)

    assert found.sum() == pytest.approx(0, abs=1e-6) and np.abs(found).max() > 0


def test_its_mark_is_of_all_that_makes_vectors_and_of_nothing_else(recipe, whitening, tmp_path):
    recipe.save(tmp_path)
    assert Recipe.open(tmp_path).mark == Recipe(LABELS, whitening).mark == recipe.mark
    assert Recipe(LABELS, whitening, {"season": 0.0}).mark == recipe.mark
    mean, matrix = whitening.mean, whitening.matrix
    others = [
        Recipe({**LABELS, "gender": ["Women", "Men"]}, whitening),
        Recipe(LABELS, whitening, {"season": 0.1}),
        Recipe(LABELS, Whitening(np.nextafter(mean, np.float32(9)), matrix)),
        Recipe(LABELS, Whitening(mean, np.nextafter(matrix, np.float32(9)))),
        Recipe(LABELS, Whitening(mean, np.ascontiguousarray(matrix[:, ::-1]))),
        Recipe(LABELS, Whitening(mean, matrix.astype(np.float64))),
    ]
    assert len({recipe.mark, *(other.mark for other in others)}) == 1 + len(others)
    # Where in memory it lies does not matter.
    assert Recipe(LABELS, Whitening(mean, np.asfortranarray(matrix))).mark == recipe.mark


def test_maps_add_up_to_what_the_features_add_to_a_score(recipe, whitening, rng):
    regions = rng.standard_normal((5, 4, 10))
    regions /= np.linalg.norm(regions.sum((0, 1)))
    embedding = regions.sum((0, 1))
    other = whitening(_unit(rng.standard_normal((1, 10))))[0]

    found = recipe.feature_maps(regions, other)

    assert found.shape == (5, 4)
    assert found.sum() == pytest.approx(float(whitening(embedding[None])[0] @ other), abs=1e-6)
    # Without its place, a picture's embedding is without what that place adds.
    shown = (regions[2, 3] - whitening.mean / 20) @ whitening.matrix @ other
    length = np.linalg.norm((embedding - whitening.mean) @ whitening.matrix)
    assert found[2, 3] == pytest.approx(shown / length, abs=1e-6)


def test_it_is_the_same_when_it_is_read_back(recipe, rng, tmp_path):
    recipe.save(tmp_path)
    again = Recipe.open(tmp_path)
    answers = _answers(rng)
    pictures = [_picture(10)] * 3
    np.testing.assert_array_equal(again.vectors(answers, pictures),
                                  recipe.vectors(answers, pictures))  # fmt: skip
    assert again.space.weights == recipe.space.weights
    assert again.labels == LABELS


def test_weights_can_be_given_and_only_to_blocks_that_there_are(whitening, tmp_path):
    recipe = Recipe(LABELS, whitening, {"season": 0.4, "kind": 0})
    assert recipe.space.weights["season"] == 0.4
    assert recipe.space.weights["kind"] == 0
    recipe.save(tmp_path)
    assert Recipe.open(tmp_path).space.weights == recipe.space.weights
    with pytest.raises(BadSearch, match='no block "sleeves" to weigh; there are: kind, gender'):
        Recipe(LABELS, whitening, {"sleeves": 1})


@pytest.mark.parametrize("damage", [
    lambda path: (path / "recipe.json").unlink(),
    lambda path: (path / "recipe.json").write_text("{"),
    lambda path: (path / "recipe.json").write_text("[1]"),
    lambda path: (path / "recipe.json").write_text(json.dumps({"labels": {}, "weights": {"x": 1}})),
    lambda path: (path / "whitening.npz").write_bytes(b"PK"),
    lambda path: (path / "whitening.npz").write_bytes((path / "whitening.npz").read_bytes()[:-90]),
    lambda path: (path / "whitening.npz").unlink(),
])  # fmt: skip
def test_what_is_damaged_is_told_in_a_sentence(recipe, tmp_path, damage):
    recipe.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(DamagedIndex, match="build the index anew"):
        Recipe.open(tmp_path)


def test_outputs_of_the_served_model_are_answers(rng):
    outputs = {
        "subcategory": np.array([b"s1"]),
        "subcategory_score": np.float32([0.9]),
        "subcategory_labels": np.array([[b"s0", b"s1"]]),
        "subcategory_scores": np.float32([[0.1, 0.9]]),
        "subcategory_threshold": np.float32([0.7]),
        "attributes": np.array([["ü=a".encode()]]),
        "attribute_scores": np.float32([[0.5]]),
        "attributes_threshold": np.float32([0.7]),
        features.EMBEDDING: np.float32([[0.6, 0.8]]),
    }
    answers, labels = Answers.of_outputs(outputs)
    assert labels == {"subcategory": ["s0", "s1"], "attributes": ["ü=a"]}
    assert answers.scores["subcategory"].tolist() == [[np.float32(0.1), np.float32(0.9)]]
    assert answers.scores["attributes"].tolist() == [[0.5]]
    assert answers.embedding.shape == (1, 2)


def test_a_model_of_other_labels_is_refused(recipe):
    recipe.check(LABELS)
    recipe.check(LABELS | {"more": ["x"]})
    for other in (
        {**LABELS, "gender": ["Women", "Men"]},
        {level: of for level, of in LABELS.items() if level != "gender"},
    ):
        with pytest.raises(DamagedIndex, match="other labels of gender"):
            recipe.check(other)
