"""The picture that is asked about is the one that was learned from."""

import os
import unicodedata

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from components.catalog_example_gen.catalog import ingest_catalog
from components.catalog_example_gen.rejects import IN_WORDS, Reason
from pipeline.catalog_table import CatalogTable
from pipeline.config import Catalog, Split
from pipeline.product_pictures import NoPicture, ProductPictures
from schema.errors import UserError


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


DECOMPOSED = unicodedata.normalize("NFD", "é")

FILES = {
    "below": [
        *("1.jpg", "deep/er/2.jpg", "3.png", "3.jpg", "a/4.jpeg", "b/4.jpeg", "5.JPG", "6.txt"),
        *("x/7.webp", "a/7.bmp", f"{DECOMPOSED}.jpg", "8.x.jpg", "9", "a/9.jpg"),
        *("sku70.JPG", "near/71.jpg", "near/72.jpg", "Tops/73.jpg"),
        *(f"{n}/front.jpg" for n in range(200, 300)),
        *(f"{n}.jpg" for n in range(20, 60)),
    ],
    "out": ["10.jpg", "11.jpg"],
}
IDS = ["1", "2", "3", "4", "5", "6", "7", "é", "8", "8.x", "9", "10", "11", "12", "../10", "a/1"]
IDS += ["SKU70", "71.jpg", "072", "73.0"]
PATHS = [
    *("1.jpg", "deep/er/2.jpg", "./3.png", "a/../a/4.jpeg", "6.txt", f"{DECOMPOSED}.jpg", "é.jpg"),
    *("SKU70.jpg", "near\\71.jpg", "below/near/72.jpg", "tops/73.jpg", "72.jpg", "x/near/72.jpg"),
    *("below\\200\\front.jpg", "201\\Front.jpg", "999\\front.jpg"),
    *("10.jpg", "linked/11.jpg", "/etc/hosts", "../out/10.jpg", "none.jpg", "9", "a"),
]


@pytest.fixture
def shop(tmp_path):
    """Pictures of every kind of name, links that lead out, and a file that is none."""
    for seed, (folder, name) in enumerate((f, n) for f, names in FILES.items() for n in names):
        draw(tmp_path / folder / name, seed)
    os.symlink(tmp_path / "out" / "10.jpg", tmp_path / "below" / "10.jpg")
    os.symlink(tmp_path / "out", tmp_path / "below" / "linked")
    os.symlink(tmp_path / "below" / "1.jpg", tmp_path / "below" / "12.jpg")
    return tmp_path


@pytest.mark.parametrize(("column", "names"), [(None, IDS), ("file", PATHS)])
def test_it_is_the_file_that_the_ingest_takes_and_refused_for_the_same_reason(shop, column, names):
    names = [*names, *(f"{n}.jpg" if column else str(n) for n in range(20, 60))]
    rows = [f"{i},{name if column else ''},{'ab'[i % 2]},x" for i, name in enumerate(names)]
    if not column:
        rows = [f"{name},,{'ab'[i % 2]},x" for i, name in enumerate(names)]
    (shop / "labels.csv").write_text("\n".join(["id,file,category,subcategory", *rows]))
    catalog = Catalog(
        folder=str(shop), images="below", category="category", subcategory="subcategory",
        picture=column,
    )  # fmt: skip
    rejects = shop / "rejects"
    ingest_catalog(
        catalog.model_dump(),
        Split(eval=0.2, test=0.2, near_duplicate_bits=0).model_dump(),
        {},
        *(str(shop / "examples"), str(rejects), str(shop / "conflicts")),
        lambda: beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])),
    )
    import tensorflow as tf

    learned = {}
    for file in (shop / "examples").glob("Split-*/*.gz"):
        for record in tf.data.TFRecordDataset(str(file), "GZIP").as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            learned[feature["id"].bytes_list.value[0].decode()] = feature["image"].bytes_list.value[
                0
            ]
    rejected = {}
    for line in (rejects / "rejects.csv").read_text().splitlines()[1:]:
        _, product, _, reason, _ = line.split(",", 4)
        rejected[product] = IN_WORDS[Reason(reason)]

    table = CatalogTable.from_options(catalog)
    pictures = ProductPictures(table.images, by_path=column is not None)
    assert len(learned) + len(rejected) == len(names) and len(rejected) > 4
    for i, name in enumerate(names):
        product = str(i) if column else name
        if product in learned:
            # Small upright JPEGs are learned from byte for byte.
            assert (table.images / pictures.find(name)).read_bytes() == learned[product], name
        else:
            with pytest.raises(NoPicture, match=f"^{rejected[product]}: "):
                pictures.find(name)


def test_an_empty_cell_names_no_picture(shop):
    with pytest.raises(NoPicture, match="no picture: the cell is empty"):
        ProductPictures(shop / "below", by_path=False).find("")


def test_an_empty_folder_has_none(tmp_path):
    with pytest.raises(NoPicture, match=r"no file 1\.jpg or another suffix"):
        ProductPictures(tmp_path, by_path=False).find("1")


@pytest.mark.parametrize(
    ("folder", "said"),
    [("none", "is not there"), ("file", "is a file"), ("gs://b/images", "is a URL")],
)
def test_a_folder_that_cannot_be_read_is_named(tmp_path, folder, said):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=said):
        ProductPictures(folder if "://" in folder else tmp_path / folder, by_path=True)
