"""Names that no picture has: what would fit, what sets it apart, and whether it was meant."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from components.catalog_example_gen.near_misses import (
    Difference,
    Names,
    fitting,
    in_words,
    is_certain,
    loose_key,
    sentence,
    taken_sentence,
)

BY_ID = Names(by_path=False, images="images")
BY_PATH = Names(by_path=True, images="data/images")
URL = "https://cdn.example.com/s/1/1000.jpg?v=17#top"

# What a row says, how rows name pictures, the picture, and what sets them apart.
TABLE = [
    ("1000.0", BY_ID, "1000.jpg", [Difference.DECIMAL]),
    ("1000", BY_ID, "1000.0.jpg", [Difference.DECIMAL]),
    ("1000", BY_ID, "a/001000.jpg", [Difference.LEADING_ZEROS]),
    ("1000.00", BY_ID, "001000.png", [Difference.DECIMAL, Difference.LEADING_ZEROS]),
    ("1000.jpg", BY_ID, "a/1000.jpg", [Difference.FILE_NAME_AS_ID]),
    ("a/1000.jpg", BY_ID, "a/1000.jpg", [Difference.FILE_NAME_AS_ID]),
    ("1000.jpg", BY_ID, "1000.png", [Difference.FILE_NAME_AS_ID, Difference.OTHER_SUFFIX]),
    ("SKU1", BY_ID, "sku1.JPG", [Difference.CASE]),
    ("1000.JPG", BY_PATH, "1000.jpg", [Difference.CASE]),
    ("Tops/1.jpg", BY_PATH, "tops/1.jpg", [Difference.CASE]),
    ("images/1.jpg", BY_PATH, "1.jpg", [Difference.FOLDER_NAMED_TWICE]),
    ("data/images/a/1.jpg", BY_PATH, "a/1.jpg", [Difference.FOLDER_NAMED_TWICE]),
    ("pictures/a/1.jpg", BY_PATH, "a/1.jpg", [Difference.ABSOLUTE]),
    ("/home/me/shop/a/1.jpg", BY_PATH, "a/1.jpg", [Difference.ABSOLUTE]),
    (r"C:\shop\1.jpg", BY_PATH, "1.jpg", [Difference.BACKSLASHES, Difference.ABSOLUTE]),
    (r"a\1.jpg", BY_PATH, "a/1.jpg", [Difference.BACKSLASHES]),
    (
        r"images\A\1.jpg",
        BY_PATH,
        "A/1.jpg",
        [Difference.BACKSLASHES, Difference.FOLDER_NAMED_TWICE],
    ),
    ("1", BY_PATH, "1.jpg", [Difference.NO_SUFFIX]),
    ("1.png", BY_PATH, "1.jpg", [Difference.OTHER_SUFFIX]),
    ("1.jpg", BY_PATH, "a/1.jpg", [Difference.OTHER_FOLDER]),
    ("b/1.jpg", BY_PATH, "a/1.jpg", [Difference.OTHER_FOLDER]),
    ("1000.jpg, 1000-back.jpg", BY_PATH, "1000.jpg", [Difference.SEVERAL]),
    ("a/1.jpg;b/1.jpg", BY_PATH, "a/1.jpg", [Difference.SEVERAL]),
    ('["1000.jpg", "2.jpg"]', BY_PATH, "1000.jpg", [Difference.SEVERAL]),
    (f"{URL}, {URL}", BY_PATH, "1000.jpg", [Difference.SEVERAL, Difference.URL]),
    ("['1000.jpg']", BY_PATH, "1000.jpg", [Difference.MARKS]),
    (URL, BY_PATH, "a/1000.jpg", [Difference.URL]),
    ("https://x.y/gr%C3%BCn.jpg", BY_PATH, "grün.jpg", [Difference.URL]),
]


@pytest.mark.parametrize(("name", "names", "path", "expected"), TABLE)
def test_what_sets_a_name_apart_from_a_picture(name, names, path, expected):
    assert fitting(name, ["1001.jpg", path, "x/1001.png"], names) == (
        tuple(sorted(expected)),
        [path],
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [(URL, [Difference.URL]), ("/x/2.jpg", [Difference.ABSOLUTE]), ("2.jpg", []), ("a, b", [])],
)
def test_a_name_like_no_pictures_may_be_odd_in_itself(name, expected):
    assert fitting(name, ["1.jpg"], BY_PATH) == (tuple(expected), [])


def test_the_picture_that_differs_least_is_named_and_of_equals_the_preferred_one():
    paths = ["b/SKU1.png", "a/sku1.jpg", "c/sku1.jpg"]
    assert fitting("sku1.jpg", paths, BY_ID) == (
        (Difference.FILE_NAME_AS_ID,),
        ["a/sku1.jpg", "c/sku1.jpg"],
    )
    assert fitting("SKU1", paths[1:], BY_ID)[1] == ["a/sku1.jpg", "c/sku1.jpg"]


@pytest.mark.parametrize(("name", "names", "path", "expected"), TABLE)
def test_it_is_certain_where_one_picture_fits_and_nothing_is_left_to_doubt(
    name, names, path, expected
):
    harmless = {
        *(Difference.MARKS, Difference.BACKSLASHES, Difference.FOLDER_NAMED_TWICE),
        *(Difference.FILE_NAME_AS_ID, Difference.CASE),
    }
    found, fit = fitting(name, [path], names)
    assert is_certain(found, fit) == (set(expected) <= harmless)
    assert not is_certain(found, [*fit, "other.jpg"])
    assert not is_certain((), fit)


LETTERS = st.text(st.sampled_from("abcdeXYZ0123456789-_ éßİ大"), min_size=1, max_size=6).filter(
    lambda text: text.strip() == text and loose_key(text) not in (b"", b"0")
)
CHANGES = {
    Difference.DECIMAL: lambda path: f"{path[:-4]}.0",
    Difference.LEADING_ZEROS: lambda path: path[:-4].lstrip("0"),
    Difference.FILE_NAME_AS_ID: lambda path: path,
    Difference.CASE: lambda path: path[:-4].swapcase(),
}


@given(st.sets(LETTERS, min_size=1, max_size=8), st.sampled_from(sorted(CHANGES)), st.data())
def test_any_id_finds_its_picture_again_after_a_trifle(stems, change, data):
    if change in (Difference.DECIMAL, Difference.LEADING_ZEROS):
        stems = {str(place) for place, _ in enumerate(stems, start=7)}
    files = [f"00{stem}.jpg" for stem in sorted(stems)]
    assume(len({loose_key(file) for file in files}) == len(files))
    file = data.draw(st.sampled_from(files))
    name = CHANGES[change](file)
    if change == Difference.DECIMAL:
        name = f"{file[:-4]}.0"
    assume(unicodedata.normalize("NFC", name) != unicodedata.normalize("NFC", file[:-4]))
    assume(name.casefold() == file[:-4].casefold() or change != Difference.CASE)
    assert fitting(name, files, BY_ID) == ((change,), [file])


@given(st.lists(LETTERS, min_size=2, max_size=4), st.sampled_from(["images", "data/images"]))
def test_any_path_finds_its_picture_with_backslashes_below_its_folder(parts, prefix):
    path = "/".join(parts) + ".webp"
    found, fit = fitting(f"{prefix}/{path}".replace("/", "\\"), [path], BY_PATH)
    assert fit == [path]
    assert found == (Difference.BACKSLASHES, Difference.FOLDER_NAMED_TWICE)
    assert is_certain(found, fit)


def test_sentences_name_both_and_say_what_to_do():
    found, (path,) = fitting("1000.0", ["1000.jpg"], BY_ID)
    assert sentence(36, "1000.0", path, found) == (
        "36 rows name pictures like `1000.0` where there is `1000.jpg`: the id is written as a "
        "decimal number. Write the column as whole numbers or text."
    )
    assert sentence(1, URL, None, (Difference.URL,)).startswith(
        f"1 row names pictures like `{URL}`: "
    )
    assert taken_sentence(2, r"a\1.jpg", "a/1.jpg", (Difference.BACKSLASHES,)) == (
        r"2 rows name pictures like `a\1.jpg`, for which `a/1.jpg` was taken: the path has "
        "backslashes."
    )
    assert in_words((Difference.DECIMAL, Difference.LEADING_ZEROS)) == (
        "the id is written as a decimal number, and the names differ in leading zeros"
    )
