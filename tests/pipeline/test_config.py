"""The config: defaults, overrides, paths, and what a mistake is told."""

from pathlib import Path

import pytest

from pipeline.config import load_config
from schema.errors import UserError

CONFIGS = Path(__file__).parents[2] / "pipeline" / "configs"
CATALOG = "catalog: {folder: shop, category: kind, subcategory: type}\n"


@pytest.fixture
def write_config(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "shop.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_five_lines_are_a_config(write_config):
    config = load_config(write_config(CATALOG))
    assert config.catalog.id == "id"
    assert config.training.epochs == 25
    assert config.evaluation.attribute_threshold == 0.75


def test_overrides_win_over_the_file_and_the_last_one_over_the_first(write_config):
    config = load_config(
        write_config(CATALOG + "training: {epochs: 3}\n"),
        ["training.epochs=4", "training.epochs=5", "catalog.slices=[gender, brand]"],
    )
    assert config.training.epochs == 5
    assert config.catalog.slices == ["gender", "brand"]


@pytest.mark.parametrize("sign", list("|,;:/&+#"))
def test_an_override_may_be_a_sign_that_yaml_has_another_use_for(write_config, sign):
    assert (
        load_config(write_config(CATALOG), [f"catalog.separator={sign}"]).catalog.separator == sign
    )


def test_paths_in_the_file_start_at_the_file_and_overrides_at_the_current_directory(
    write_config, tmp_path, monkeypatch
):
    path = write_config(CATALOG)
    here = tmp_path / "elsewhere"
    here.mkdir()
    monkeypatch.chdir(here)
    assert load_config(path).catalog.folder == str(tmp_path / "shop")
    assert load_config(path, ["catalog.folder=shop"]).catalog.folder == str(here / "shop")


SEARCHED = CATALOG.replace(
    "}", ", slices: [gender], extra_labels: [gender], attributes: [colour, cut], fields: [price]}"
)


def test_a_search_is_weighed_by_blocks_and_judged_by_columns(write_config):
    text = SEARCHED + "search: {weights: {colour: 2, colour label: 1, gender: 0, cut: .5}, "
    search = load_config(write_config(text + "alike: [type, gender, price]}\n")).search
    assert search.weights == {"colour": 2, "colour label": 1, "gender": 0, "cut": 0.5}
    assert not search.enabled


@pytest.mark.parametrize(("search", "said"), [
    ("weights: {price: 1}", "weights names price; there are kind, features, colour, gender, "
     "colour label, cut"),
    ("weights: {cut: -1}", "the weight of cut is -1.0; it must be a number of at least 0"),
    ("weights: {cut: .inf}", "the weight of cut is inf"),
    ("alike: [type, size]", "alike names size; there are kind, type, gender, colour, cut, price"),
    ("features_power: 2", "features_power"),
    ("least_recall: 0", "least_recall"),
])  # fmt: skip
def test_a_search_by_what_there_is_not_is_refused(write_config, search, said):
    with pytest.raises(UserError, match=said):
        load_config(write_config(SEARCHED + f"search: {{{search}}}\n"))


def test_an_extra_label_has_metrics_of_its_own_to_bound(write_config):
    text = CATALOG.replace("}", ", slices: [gender], extra_labels: [gender]}")
    text += """
evaluation:
  gates:
    - {metric: gender/accuracy, at_least: 0.9}
    - {metric: gender/calibration_error, at_most: 0.1, slices: gender}
    - {metric: subcategory/tree_distance, at_most: 3.5, slices: [gender=Men, gender]}
"""
    first, second, third = load_config(write_config(text)).evaluation.gates
    assert (first.at_least, first.options()["blocks"]) == (0.9, "by_figure")
    assert (second.at_most, second.options()["blocks"]) == (0.1, "when_surely_beyond")
    assert third.slices == ["gender=Men", "gender"]


@pytest.mark.parametrize("option", ["product: sku", "picture: file, picture_separator: ','"])
def test_products_of_several_pictures_have_metrics_of_their_own_to_bound(write_config, option):
    text = CATALOG.replace("}", f", {option}}}")
    text += "evaluation: {gates: [{metric: category/product_accuracy, at_least: 0.9}]}\n"
    config = load_config(write_config(text))
    assert config.catalog.several_pictures
    assert config.evaluation.gates[0].metric == "category/product_accuracy"
    assert not load_config(write_config(CATALOG)).catalog.several_pictures


def test_columns_are_named_as_headings_are_read(write_config):
    text = CATALOG.replace(
        "}",
        ', slices: ["Gro\\u0308\\u00dfe\\u200b ", image], flags: {a: ["b "]}, '
        'fields: [" c\\ufeff"]}',
    )
    catalog = load_config(write_config(text)).catalog
    assert catalog.slices == ["Gr\u00f6\u00dfe", "image"]
    assert catalog.flags == {"a": ["b"]}
    assert catalog.attribute_groups == ["a"]
    assert catalog.fields == ["c"]


@pytest.mark.parametrize("written", ["tab", '"\\t"', "'\\t'"])
def test_a_tab_may_be_written_as_it_is(write_config, written):
    text = CATALOG.replace("}", f", delimiter: {written}}}")
    assert load_config(write_config(text)).catalog.delimiter == "tab"


def test_variables_in_paths_are_expanded(write_config, monkeypatch):
    monkeypatch.setenv("SHOP_FOLDER", "/data/shop")
    path = write_config(CATALOG.replace("shop", "'${SHOP_FOLDER}/a'"))
    assert load_config(path).catalog.folder == "/data/shop/a"


def test_a_url_stays_as_it_is_but_for_its_variables(write_config, monkeypatch):
    monkeypatch.setenv("BUCKET", "shop-data")
    path = write_config(CATALOG.replace("shop", "'gs://${BUCKET}/shop'"))
    assert load_config(path).catalog.folder == "gs://shop-data/shop"
    assert load_config(path, ["catalog.folder=s3://a/b"]).catalog.folder == "s3://a/b"


def test_a_deepfashion_format_knows_its_columns_and_lets_them_be_chosen(write_config):
    text = "catalog: {folder: shop, format: deepfashion_fine, attributes: [fabric, fit]}\n"
    catalog = load_config(write_config(text)).catalog
    assert (catalog.category, catalog.subcategory) == ("category_type", "category")
    assert (catalog.images, catalog.attributes) == ("Img", ["fabric", "fit"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            CATALOG + "training: {epoch: 3}\n",
            "training.epoch is not an option (did you mean epochs?)",
        ),
        ("catalog: {folder: shop, category: kind}\n", "catalog.subcategory is missing"),
        (
            CATALOG + "training: {epochs: many}\n",
            "training.epochs: input should be a valid integer",
        ),
        (CATALOG + "split: {eval: 0.5, test: 0.5}\n", "leave a train part"),
        (
            CATALOG + "evaluation: {gates: [{metric: category/acuracy, at_least: 0.9}]}\n",
            "is named category/acuracy (did you mean category/accuracy?)",
        ),
        (
            CATALOG.replace("}", ", slices: [gender], extra_labels: [gender]}")
            + "evaluation: {gates: [{metric: gender/acuracy, at_most_worse: 0.1}]}\n",
            "is named gender/acuracy (did you mean gender/accuracy?)",
        ),
        (
            CATALOG + "evaluation: {gates: [{metric: zzz, at_least: 0.9}]}\n",
            "no metric that can have a gate is named zzz (there are category/accuracy, category/",
        ),
        (
            CATALOG + "evaluation: {gates: [{metric: gender/accuracy, at_least: 0.9}]}\n",
            "is named gender/accuracy",
        ),
        (
            CATALOG + "evaluation: {gates: [{metric: category/accuracy}]}\n",
            "evaluation.gates.0: a gate has exactly one of at_least, at_most and at_most_worse",
        ),
        (
            CATALOG + "evaluation: {gates: [{metric: category/accuracy, at_leat: 1}]}\n",
            "evaluation.gates.0.at_leat is not an option (did you mean at_least?)",
        ),
        (
            CATALOG
            + "evaluation: {gates: [{metric: category/accuracy, at_least: 1, slices: age=3}]}\n",
            "a gate on category/accuracy names the slice age=3; there are image_brightness, ",
        ),
        (
            CATALOG
            + "evaluation: {gates: [{metric: category/accuracy, at_least: 1, slices: [all]}]}\n",
            "evaluation.gates.0.slices: write overall, all, a column, column=value, or a list",
        ),
        (
            CATALOG + "evaluation: {thresholds: {category/accuracy: 0.9}}\n",
            "evaluation: thresholds is written as gates now: "
            "`gates: [{metric: category/accuracy, at_least: 0.9}]`, a line for each",
        ),
        (
            CATALOG + "evaluation: {max_regression: {category/accuracy: 0.02}}\n",
            "`gates: [{metric: category/accuracy, at_most_worse: 0.02}]`",
        ),
        (
            CATALOG.replace("}", ", slices: [attribute], extra_labels: [attribute]}"),
            "the outputs attribute_scores would stand for two things",
        ),
        (
            CATALOG + "training: {frozen_normalization: true}\n",
            "has a mistake: training.frozen_normalization keeps the statistics of weights",
        ),
        (
            CATALOG + "augmentation: {strength: 6}\n",
            "augmentation: contrast times strength must be below 1",
        ),
        (
            CATALOG + "tuning: {space: {augmentation.strength: {min: 0, max: 12}}}\n",
            "has a mistake: tuning.space cannot try 12 for augmentation.strength: contrast times "
            "strength must be below 1.",
        ),
        (CATALOG.replace("}", ", crop: true}"), "crop needs a DeepFashion format"),
        (
            CATALOG.replace("}", ", picture_separator: ';'}"),
            "picture_separator divides the cells of the column `picture`; name that too",
        ),
        (
            CATALOG.replace("}", ", format: deepfashion_fine, product: sku}"),
            "product and picture_separator are for a CSV; leave them out for deepfashion_fine",
        ),
        (
            CATALOG + "evaluation: {gates: [{metric: category/product_accuracy, at_least: 0.9}]}\n",
            "no metric that can have a gate is named category/product_accuracy",
        ),
        (
            "catalog: {folder: shop, format: deepfashion_fine, id: item}\n",
            "id and picture of deepfashion_fine are `image_name`",
        ),
        (
            "catalog: {folder: shop, format: deepfashion_fine}\nsplit: {column: part}\n",
            "split: column is for a CSV; the annotation files of deepfashion_fine give the split",
        ),
        (CATALOG.replace("}", ", format: deepfashion}"), "catalog.format: input should be 'csv'"),
        (
            CATALOG.replace("}", ", slices: [image], extra_labels: [image]}"),
            "image cannot name an output of the model",
        ),
        (
            CATALOG.replace("}", ", slices: [care_label], extra_labels: [care_label]}"),
            "care_label cannot name an output of the model",
        ),
        (CATALOG.replace("}", ", slices: [a, b, a]}"), "a stands there more than once"),
        (CATALOG.replace("}", ", attributes: [a=b]}"), "a=b cannot name a group of attributes"),
        (CATALOG.replace("}", ", flags: {a=b: [c]}}"), "a=b cannot name a group of attributes"),
        (CATALOG.replace("}", ", flags: {a: []}}"), "a names no column"),
        (CATALOG.replace("}", ", flags: {a: [b], c: [b]}}"), "b stands there more than once"),
        (
            CATALOG.replace("}", ", attributes: [a], flags: {b: [a]}}"),
            "a is among catalog.attributes too",
        ),
        (CATALOG.replace("}", ", fields: [b, a, b]}"), "b stands there more than once"),
        (
            CATALOG.replace("}", ", slices: [a], flags: {f: [b]}, fields: [a, b, id, kind, c]}"),
            "fields names a, b, id, kind: what another option gives a meaning travels with",
        ),
        (
            "catalog: {folder: shop, format: deepfashion_fine, fields: [fabric]}\n",
            "leave it out of catalog.fields",
        ),
        (CATALOG.replace("}", ', id: "a\\eb"}'), "cannot name a column: it has control characters"),
        (CATALOG.replace("}", ", delimiter: ':'}"), "catalog.delimiter: input should be ','"),
        (
            "catalog: {folder: shop, format: deepfashion_fine, flags: {a: [b]}}\n",
            "flags and delimiter are for a CSV",
        ),
        (CATALOG.replace("shop", "$NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE is not set"),
        ("catalog: [\n", "is not valid YAML"),
        ("just words\n", "is not a config"),
    ],
)
def test_a_mistake_is_named(write_config, text, expected):
    with pytest.raises(UserError) as error:
        load_config(write_config(text))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.yaml cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("override", ["epochs", "=3", "catalog.folder.deeper=1", "catalog.id=[a"])
def test_an_override_that_cannot_be_applied_is_shown(write_config, override):
    with pytest.raises(UserError, match="--set"):
        load_config(write_config(CATALOG), [override])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path):
    load_config(path)


def test_the_two_configs_of_the_real_catalog_learn_alike_but_for_the_heads():
    """None builds on the other, so this holds them together."""
    products, articles = (
        load_config(CONFIGS / f"fashion_{name}.yaml").model_dump()
        for name in ("products", "articles")
    )
    for section in ("split", "checks", "augmentation", "training", "tuning"):
        assert products[section] == articles[section], section
    heads = {"heads": ("message_passing", "plain")}
    assert heads == {
        option: (value, articles["model"][option])
        for option, value in products["model"].items()
        if value != articles["model"][option]
    }
