"""The benchmark's protocols: what they ask, of whom, and what counts; on small catalogs by hand."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score

from benchmarks import search_quality
from benchmarks.search_quality import InShop, Looks, Shop, expanded, honest, left_out_of, of_blocks
from components.similarity_index.quality import ALL_ALIKE
from serving.search import ExactIndex, Expansion, Space
from serving.search.recipe import Answers

PARTITION = """\
9
image_name item_id evaluation_status
img/WOMEN/Dresses/id_00000001/01_1_front.jpg id_00000001 train
img/WOMEN/Dresses/id_00000002/02_1_front.jpg id_00000002 query
img/WOMEN/Dresses/id_00000002/02_2_side.jpg id_00000002 gallery
img/WOMEN/Dresses/id_00000002/02_3_back.jpg id_00000002 gallery
img/MEN/Denim/id_00000003/01_1_front.jpg id_00000003 query
img/MEN/Denim/id_00000003/01_3_back.jpg id_00000003 gallery
img/MEN/Denim/id_00000004/01_1_front.jpg id_00000004 gallery
img/MEN/Denim/id_00000005/01_1_front.jpg id_00000005 query
img/MEN/Denim/id_00000004/01_2_side.jpg id_00000004 gallery
"""


@pytest.fixture
def in_shop(tmp_path):
    """The official files, with pictures of 50 x 40 of which the box is all but a frame."""
    paths = [line.split()[0] for line in PARTITION.splitlines()[2:]]
    boxes = [f"{path} {1 + number % 3} 1 5 4 45 34" for number, path in enumerate(paths)]
    headings = "image_name clothes_type pose_type x_1 y_1 x_2 y_2"
    for name, text in {
        "Eval/list_eval_partition.txt": PARTITION,
        "Anno/list_bbox_inshop.txt": "\n".join([str(len(boxes)), headings, *boxes, ""]),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for path in paths:
        file = tmp_path / "Img" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (50, 40), "white")
        picture.paste((200, 30, 30), (5, 4, 45, 34))
        picture.save(file, quality=95)
    return tmp_path


def test_in_shop_asks_the_queries_for_the_gallerys_pictures_of_their_item(in_shop):
    given = InShop.read(in_shop)
    assert given.is_query.tolist() == [True, False, False, True, False, False, True, False]
    assert given.items[given.is_query].tolist() == [f"id_0000000{item}" for item in (2, 3, 5)]
    assert given.items[~given.is_query].tolist() == [f"id_0000000{of}" for of in (2, 2, 3, 4, 4)]
    assert given.categories.tolist() == ["Dresses"] * 3 + ["Denim"] * 5


def test_in_shop_pictures_are_cut_to_their_boxes(in_shop):
    for encoded in InShop.read(in_shop).encoded():
        picture = Image.open(io.BytesIO(encoded))
        assert picture.size == (40, 30)
        # Nothing of the white frame is left.
        assert np.asarray(picture)[..., 1].max() < 128


def test_in_shop_recall_by_hand(in_shop):
    scores = np.array([[0.9, 0.1, 0.5, 0.2, 0.3], [0.9, 0.8, 0.7, 0.6, 0.5], [1, 2, 3, 4, 5]])
    told = InShop.read(in_shop).judge(lambda places: scores[places])
    assert told.gallery == 5
    # The third query's item has nobody in the gallery.
    first = told.micro["recall_at_1"]
    assert (first.value, first.queries, first.lone) == (0.5, 2, 1)
    assert {told.micro[f"recall_at_{k}"].value for k in (10, 20, 30, 40)} == {1}
    assert told.micro["mean_average_precision"].value == pytest.approx(
        ((1 + 2 / 5) / 2 + 1 / 3) / 2
    )
    # Dresses have one query that is found first, Denim one that is not.
    assert told.macro["recall_at_1"].value == 0.5


def shop(rng, count=80):
    """A shop of 4 types, of which one is not of S2's classes, and vectors that tell them apart."""
    kinds = np.array(["Tshirts", "Jeans", "Heels", "Ties"], object)[rng.integers(0, 4, count)]
    gender = np.array(["Men", "Women"], object)[rng.integers(0, 2, count)]
    color = np.array(["Red", "Blue"], object)[rng.integers(0, 2, count)]
    vectors = np.stack([np.array([len(kind), len(kind) % 3, 1.0]) for kind in kinds])
    vectors += rng.normal(0, 1.0, vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Shop(
        ids=[str(place) for place in range(count)],
        split=np.array(["train", "eval", "test"])[np.arange(count) % 3],
        groups=np.arange(count) // 2,
        labels={"articleType": kinds, "gender": gender, "baseColour": color},
        looks=Looks(Answers({}, vectors), vectors, vectors, vectors),
        recipe=None,
        model="",
        size=(1, 1),
    )


def search(searched, queries, left_out):
    of = queries.answers.embedding
    return {"way": lambda places: of[places] @ searched.looks.answers.embedding.T}


def test_s2_counts_the_query_in_map_and_leaves_it_out_of_the_first_15():
    of = shop(np.random.default_rng(0))
    told = search_quality.s2(of, "test", 600, search)["way"]
    kept = np.flatnonzero(of.labels["articleType"] != "Ties")
    queries = kept[of.split[kept] == "test"]
    vectors, kind = of.looks.answers.embedding, of.labels["articleType"]
    precisions, hits, three = [], [], []
    for query in queries:
        scores = vectors[kept] @ vectors[query]
        precisions.append(average_precision_score(kind[kept] == kind[query], scores))
        first = kept[np.argsort(-scores)[1:16]]
        assert query not in first
        hits.append((kind[first] == kind[query]).mean())
        three.append(np.mean([all(row[a] == row[query] for row in of.alike) for a in first]))
    assert (told.queries, told.gallery) == (len(queries), len(kept))
    assert told.micro["mean_average_precision"].value == pytest.approx(np.mean(precisions))
    assert told.micro["precision_at_15"].value == pytest.approx(np.mean(hits))
    assert told.micro[f"{ALL_ALIKE}precision_at_15"].value == pytest.approx(np.mean(three))


@pytest.mark.parametrize("part", [False, True])
def test_honest_asks_all_of_the_part_and_leaves_their_groups_out(part):
    of = shop(np.random.default_rng(1))
    told = honest(of, "test", search, part=part)["way"]
    vectors, kind = of.looks.answers.embedding, of.labels["articleType"]
    queries = np.flatnonzero(of.split == "test")
    expected = []
    for query in queries:
        seen = of.groups != of.groups[query]
        if part:
            seen &= of.split == "test"
        relevant = kind[seen] == kind[query]
        expected.append(average_precision_score(relevant, vectors[seen] @ vectors[query]))
    assert told.queries == len(queries)
    assert told.micro["mean_average_precision"].value == pytest.approx(np.mean(expected))
    assert sorted(told.slices["gender"]) == ["Men", "Women"]


def test_an_expanded_query_finds_what_the_index_finds():
    rng = np.random.default_rng(2)
    space, weights = Space({"kind": 4, "colour": 6}), {"kind": 1.8, "colour": 0.4}
    vectors = rng.random((50, 10)).astype(np.float32)
    queries = rng.random((5, 10)).astype(np.float32)
    index = ExactIndex(space)
    index.upsert([str(place) for place in range(50)], vectors)
    for expansion in (None, Expansion(5, 3.0), Expansion(3, 0.0)):
        similar = of_blocks(space, queries, vectors, weights)
        if expansion:
            none = search_quality.nobody(50)
            similar = expanded(space, queries, vectors, weights, expansion, none)
        answers = index.search(queries, 50, weights=weights, expansion=expansion)
        for scores, answer in zip(similar(np.arange(5)), answers, strict=True):
            assert {hit.id: hit.score for hit in answer.hits} == pytest.approx(
                {str(place): score for place, score in enumerate(scores.tolist())}, abs=1e-5
            )


def test_a_query_does_not_move_towards_its_own_doubles():
    space = Space({"all": 2})
    gallery = np.array([[1, 0], [0.8, 0.6], [0, 1.0]])
    left_out = left_out_of(np.array(["a"]), np.array(["a", "b", "c"]))
    similar = expanded(space, gallery[:1], gallery, {}, Expansion(1, 1.0), left_out)
    moved = np.array([1, 0]) + 0.8 * np.array([0.8, 0.6])
    assert similar(np.array([0]))[0] == pytest.approx(gallery @ (moved / np.linalg.norm(moved)))


def test_s4s_way_is_its_two_distances():
    rng = np.random.default_rng(3)
    deep, colors = rng.random((8, 5)), rng.random((8, 3))
    of = Looks(Answers({}, deep), deep, deep, colors)
    places = np.array([2, 5])
    expected = -cdist(deep[places], deep) - 0.1 * cdist(colors[places], colors)
    np.testing.assert_allclose(search_quality._s4(of, of)(places), expected, atol=1e-6)
