"""The step on a drawn catalog: flipped labels first, a page with pictures, features kept."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from tfx.types import artifact_utils, standard_artifacts

from components.catalog_example_gen.artifacts import Conflicts, Corrections
from components.catalog_example_gen.catalog import ingest_catalog
from components.label_review import executor, frozen, page
from components.label_review.artifacts import LabelReview
from components.predictions.artifacts import Predictions
from pipeline import local_runner
from pipeline.beam_runner import LOCAL
from pipeline.config import Catalog, Model, Split
from pipeline.config import LabelReview as Options
from pipeline.demo_catalog import draw_demo_catalog
from pipeline.workspace import Workspace
from schema import features

FLIPPED = {5: ("Bags", "Handbag"), 50: ("Footwear", "Sneaker"), 120: ("Topwear", "Hoodie")}


class Step:
    """A drawn catalog of which three labels are wrong, and the step on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        drawn = draw_demo_catalog(folder / "catalog", products=320, seed=3, faults=False).folder
        with open(drawn / "labels.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.true = {}
        for place, (category, subcategory) in FLIPPED.items():
            row = rows[place]
            if row["category"] == category:
                category, subcategory = "Bottomwear", "Shorts"
            self.true[row["id"]] = row["category"]
            row["category"], row["subcategory"] = category, subcategory
        self.kept = rows[50]["id"]
        self.catalog = drawn
        with open(drawn / "labels.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)

    def run(self, name: str, corrections: str | None = None) -> LabelReview:
        """Ingests the catalog and reviews it."""
        out = self.folder / name
        catalog = Catalog(
            folder=str(self.catalog),
            category="category",
            subcategory="subcategory",
            attributes=["pattern"],
            corrections=corrections,
        )
        folders = {of: str(out / of) for of in ("examples", "rejects", "conflicts", "corrections")}
        ingest_catalog(
            catalog.model_dump(),
            Split(eval=0.2, test=0.2).model_dump(),
            {},
            *(folders[of] for of in ("examples", "rejects", "conflicts")),
            lambda: beam.Pipeline(argv=LOCAL),
            corrections=folders["corrections"],
        )
        inputs: dict[str, Any] = {
            executor.EXAMPLES: standard_artifacts.Examples(),
            executor.CONFLICTS: Conflicts(),
            executor.CORRECTIONS: Corrections(),
            executor.PREDICTIONS: Predictions(),
        }
        for key, artifact in inputs.items():
            artifact.uri = str(out / key)
        inputs[executor.EXAMPLES].split_names = artifact_utils.encode_split_names(
            list(features.SPLITS)
        )
        review = LabelReview()
        review.uri = str(out / "review")
        executor.Executor().Do(
            {key: [artifact] for key, artifact in inputs.items()},
            {executor.REVIEW: [review]},
            {
                executor.OPTIONS: json.dumps(Options().model_dump(exclude={"enabled"})),
                executor.MODEL: json.dumps(Model(image_height=64, image_width=64).model_dump()),
                executor.EXTRA_LABELS: "[]",
                executor.GROUPS: '["pattern"]',
                executor.NAME: "demo",
                executor.FEATURES_DIR: str(self.folder / "features"),
            },
        )
        return review


def rows_of(review: LabelReview) -> list[dict[str, str]]:
    with open(Path(review.uri, "label_review.csv"), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Step:
    return Step(tmp_path_factory.mktemp("step"))


@pytest.fixture(scope="module")
def first(step: Step) -> LabelReview:
    return step.run("first")


def test_flipped_labels_are_listed_first(step: Step, first: LabelReview) -> None:
    rows = rows_of(first)[:3]
    assert {row["id"]: row["suggested"] for row in rows} == step.true
    assert {row["level"] for row in rows} == {"category"}
    assert "labels to look at" in first.get_string_custom_property("summary")


def test_the_page_has_its_pictures_beside_it_and_is_put_beside_the_report(
    first: LabelReview, tmp_path: Path
) -> None:
    [pictures] = Path(first.uri, page.PAGE_FOLDER).glob(f"{page.FILES}*")
    assert (pictures / "0000.webp").stat().st_size > 1000
    workspace = Workspace(tmp_path)
    (workspace.report / f"{page.FILES}old").mkdir(parents=True)
    (workspace.report / "files-of-the-report").mkdir()
    local_runner.publish_review(Path(first.uri), workspace)
    assert sorted(file.name for file in workspace.report.iterdir()) == [
        *("files-of-the-report", pictures.name, page.PAGE_FILE)
    ]
    assert workspace.label_review.read_text("utf-8").startswith("id,level,given,suggested,score")


def test_after_a_persons_decisions_no_picture_is_looked_at_again(
    step: Step, first: LabelReview, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = {row["id"]: row for row in rows_of(first)}
    decisions = step.folder / "corrections.csv"
    with open(decisions, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "level", "given", "decision", "corrected"])
        for name, category in step.true.items():
            if name == step.kept:
                writer.writerow([name, "category", of[name]["given"], "keep", ""])
            else:
                writer.writerow([name, "category", of[name]["given"], "change", category])
    frozen._earlier.cache_clear()
    monkeypatch.setattr(frozen, "_computer", lambda network: pytest.fail("a picture was computed"))
    again = step.run("second", str(decisions))
    assert not {(row["id"], row["level"]) for row in rows_of(again)} & {
        (name, "category") for name in step.true
    }
    written = Path(again.uri, page.PAGE_FOLDER, page.PAGE_FILE).read_text("utf-8")
    assert f'["{step.kept}","category"' in written


def test_features_of_earlier_runs_are_given_up(step: Step, first: LabelReview) -> None:
    [network] = (step.folder / "features").iterdir()
    assert len(list(network.iterdir())) == 1
