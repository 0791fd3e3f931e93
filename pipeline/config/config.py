"""One catalog's pipeline: its sections, and what holds between them."""

from __future__ import annotations

import difflib

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from components.evaluation.figures import levels
from pipeline.config.augmentation import Augmentation
from pipeline.config.beam import Beam
from pipeline.config.catalog import Catalog
from pipeline.config.checks import Checks
from pipeline.config.evaluation import Evaluation
from pipeline.config.kubeflow import Kubeflow
from pipeline.config.label_review import LabelReview
from pipeline.config.metadata import Metadata
from pipeline.config.model import Model
from pipeline.config.search import Search
from pipeline.config.section import Section
from pipeline.config.serving import Serving
from pipeline.config.split import Split
from pipeline.config.training import Training
from pipeline.config.tuning import TUNABLE, Range, Tuning
from schema import features, search_blocks


class Config(Section):
    """One catalog's pipeline."""

    name: str = Field("catalog", description="Name of the pipeline.")
    catalog: Catalog
    split: Split = Split()
    checks: Checks = Checks()
    beam: Beam = Beam()
    model: Model = Model()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    tuning: Tuning = Tuning()
    evaluation: Evaluation = Evaluation()
    label_review: LabelReview = LabelReview()
    search: Search = Search()
    serving: Serving = Serving()
    metadata: Metadata = Metadata()
    kubeflow: Kubeflow = Kubeflow()

    @field_validator("evaluation")
    @classmethod
    def _gates_on_what_there_is(
        cls, evaluation: Evaluation, validated: ValidationInfo
    ) -> Evaluation:
        catalog = validated.data.get("catalog")
        for cross in evaluation.crosses if catalog else ():
            if unknown := [column for column in cross if column not in catalog.slices]:
                raise ValueError(
                    f"crosses names {unknown[0]}; catalog.slices has "
                    f"{', '.join(catalog.slices) or 'none'}"
                )
            if len(set(cross)) < 2:
                raise ValueError("a cross is of two or more different slice columns")
        if not evaluation.gates or not catalog:
            return evaluation
        # Only here, for it stands on SciPy, and most commands ask for no gates.
        from components.judge.answers import PICTURES
        from components.judge.gates import metric_names

        known = metric_names(
            levels(catalog.extra_labels, bool(catalog.attribute_groups)), catalog.several_pictures
        )
        for gate in evaluation.gates:
            if gate.metric not in known:
                nearest = difflib.get_close_matches(gate.metric, known, n=1)
                hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}"
                raise ValueError(f"no metric that can have a gate is named {gate.metric} ({hint})")
            named = [gate.slices] if isinstance(gate.slices, str) else gate.slices
            for name in named:
                column = name.partition("=")[0]
                made = [features.ATTRIBUTES] if catalog.attribute_groups else []
                there = dict.fromkeys([*catalog.slices, *made, *PICTURES])
                if name not in ("overall", "all") and column not in there:
                    raise ValueError(
                        f"a gate on {gate.metric} names the slice {name}; there are "
                        f"{', '.join(there)}"
                    )
        return evaluation

    @field_validator("search")
    @classmethod
    def _searched_by_what_there_is(cls, search: Search, validated: ValidationInfo) -> Search:
        catalog = validated.data.get("catalog")
        if not catalog:
            return search
        blocks = [
            *search_blocks.OWN,
            *search_blocks.label_blocks([*catalog.extra_labels, *catalog.attribute_groups]),
        ]
        columns = [
            *(catalog.category, catalog.subcategory, *catalog.slices),
            *(*catalog.attribute_groups, *catalog.fields),
        ]
        for option, named, there in (
            ("weights", search.weights, blocks),
            ("alike", search.alike, columns),
        ):
            if unknown := [name for name in named if name not in there]:
                raise ValueError(f"{option} names {unknown[0]}; there are {', '.join(there)}")
        return search

    @field_validator("split")
    @classmethod
    def _not_given_twice(cls, split: Split, validated: ValidationInfo) -> Split:
        catalog = validated.data.get("catalog")
        if split.column and catalog and catalog.format != "csv":
            raise ValueError(
                f"column is for a CSV; the annotation files of {catalog.format} give the split "
                "themselves, so leave it out of the config"
            )
        return split

    @model_validator(mode="after")
    def _frozen_normalization_has_statistics(self) -> Config:
        training = self.training
        if training.frozen_normalization and not (self.model.weights or training.warm_start):
            raise ValueError(
                "training.frozen_normalization keeps the statistics of weights that were trained "
                "before; set model.weights, e.g. to imagenet, or turn it off"
            )
        return self

    @model_validator(mode="after")
    def _space_can_be_tried(self) -> Config:
        for name, values in self.tuning.space.items():
            section, _, option = name.partition(".")
            if section not in TUNABLE or option not in type(getattr(self, section)).model_fields:
                raise ValueError(
                    f"tuning.space names {name}, which is no option of {', '.join(TUNABLE)}"
                )
            for value in [values.min, values.max] if isinstance(values, Range) else values:
                try:
                    of_section = getattr(self, section)
                    type(of_section).model_validate({**of_section.model_dump(), option: value})
                except ValidationError as error:
                    problem = error.errors()[0]["msg"].removeprefix("Value error, ")
                    raise ValueError(
                        f"tuning.space cannot try {value!r} for {name}: {problem}"
                    ) from error
        return self
