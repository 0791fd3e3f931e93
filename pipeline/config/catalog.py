"""Where the catalog is and what its columns mean."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from components.catalog_example_gen.deepfashion import COLUMNS_OF_FORMAT, IMAGE_NAME
from pipeline.config.columns import column_name, group_name
from pipeline.config.section import Positive, Section
from schema import features

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2


class Catalog(Section):
    """Where the catalog is and what its columns mean."""

    folder: str = Field(
        description="Folder of the catalog, or its URL (`s3://...`, `gs://...`) on a file system "
        "that Beam knows; `~` and `${VARIABLE}` are expanded."
    )
    format: Literal["csv", "deepfashion_fine", "deepfashion_coarse", "deepfashion_inshop"] = Field(
        "csv",
        description="A CSV with a header, or the annotation files of a DeepFashion benchmark, with "
        "columns of their own: see the configs of these names.",
    )
    labels_csv: str = Field("labels.csv", description="The CSV file, relative to `folder`.")
    images: str = Field("images", description="The folder of pictures, relative to `folder`.")
    encoding: str = Field("utf-8-sig", description="Text encoding of the CSV.")
    delimiter: Literal[",", ";", "|", "tab"] = Field(
        ",", description="What separates the CSV's fields."
    )
    id: str = Field("id", description="Column that identifies a product.")
    picture: str | None = Field(
        None,
        description="Column with the picture's path below `images`; without it the picture is the "
        "file named `<id>.<suffix>` anywhere below `images`.",
    )
    picture_separator: str | None = Field(
        None,
        min_length=1,
        description="What separates several pictures in a cell of `picture`, e.g. `,`; all of them "
        "are learned from, and fall on one side of the split.",
    )
    product: str | None = Field(
        None,
        description="Column that names the product, where several rows are one (variants, or a row "
        "for each picture): the first of them with labels speaks for all; may be the `id` column.",
    )
    links: bool = Field(
        False,
        description="Whether links may lead out of `images`, to pictures or folders, as the caches "
        "of DVC, git-annex and Hugging Face have them.",
    )
    category: str = Field(
        description="Column of the first level; DeepFashion's is `category_type` by default."
    )
    subcategory: str = Field(
        description="Column of the second level; DeepFashion's is `category` by default."
    )
    attributes: list[str] = Field(
        default_factory=list,
        description="Attribute columns, each a group of labels; several in a cell are separated.",
    )
    separator: str = Field(
        "|",
        min_length=1,
        description="What separates several labels in an attribute cell; lists as JSON and Python "
        "write them are read in any case.",
    )
    flags: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Columns of 0 and 1 (or true and false, yes and no), each an attribute that a "
        "product has or has not, by the group that they make up, e.g. "
        "`{pattern: [striped, floral, dotted]}`.",
    )
    slices: list[str] = Field(
        default_factory=list, description="Columns by whose values every metric is also given."
    )
    extra_labels: list[str] = Field(
        default_factory=list,
        description="Slice columns that the model names as well, one value a product, e.g. gender.",
    )
    fields: list[str] = Field(
        default_factory=list,
        description="Further columns that every product carries along unchanged, for people: "
        "searches show them and filter by them; nothing is learned from them or judged by them.",
    )
    class_cap: float | None = Field(
        None,
        gt=0,
        description="Cut a category to so many times the mean category's size (4 in Ferreira et "
        "al.), drawn by a hash of the id; none by default.",
    )
    sample: Positive | None = Field(
        None,
        description="Use only so many products, in proportion by category, drawn by a hash of the "
        "id; all by default.",
    )
    crop: bool = Field(False, description="Cut DeepFashion's pictures to their bounding boxes.")
    stored_side: Positive = Field(
        512, description="Longest side in pixels of a stored picture; larger ones are shrunk."
    )
    corrections: str | None = Field(
        None,
        description="A CSV of decisions on labels, as the page of the label review saves it: what "
        "it says to change is changed as the catalog is read; see label_review.md.",
    )
    schema_file: str | None = Field(
        None, description="A TFMD schema of your own in place of `schema/catalog.pbtxt`."
    )

    @model_validator(mode="before")
    @classmethod
    def _formats_name_their_columns(cls, options: Any) -> Any:
        if isinstance(options, dict) and isinstance(options.get("format"), str):
            return {**COLUMNS_OF_FORMAT.get(options["format"], {}), **options}
        return options

    @model_validator(mode="after")
    def _format_has_what_is_asked(self) -> Catalog:
        if self.format != "csv" and (self.flags or self.delimiter != ","):
            raise ValueError(f"flags and delimiter are for a CSV; leave them out for {self.format}")
        if self.format == "csv":
            if self.crop:
                raise ValueError("crop needs a DeepFashion format: a CSV has no bounding boxes")
            if self.picture_separator and not self.picture:
                raise ValueError(
                    "picture_separator divides the cells of the column `picture`; name that too"
                )
        elif self.product or self.picture_separator:
            raise ValueError(
                f"product and picture_separator are for a CSV; leave them out for {self.format}"
            )
        elif (self.id, self.picture) != (IMAGE_NAME, IMAGE_NAME):
            raise ValueError(
                f"id and picture of {self.format} are `{IMAGE_NAME}`; leave them out of the config"
            )
        return self

    @model_validator(mode="after")
    def _fields_have_no_other_role(self) -> Catalog:
        single = (self.id, self.product, self.category, self.subcategory)
        flags = [column for columns in self.flags.values() for column in columns]
        if known := sorted({*self.fields} & {*single, *self.attributes, *flags, *self.slices}):
            raise ValueError(
                f"fields names {', '.join(known)}: what another option gives a meaning travels "
                "with every product anyway; leave it out of catalog.fields"
            )
        return self

    @property
    def several_pictures(self) -> bool:
        """Whether a product may have several pictures, and so several Examples."""
        return bool(self.product or self.picture_separator)

    @field_validator("folder", "schema_file", "corrections")
    @classmethod
    def _without_variables(cls, path: str | None) -> str | None:
        if unset := re.search(r"\$\{?(\w+)", path or ""):
            raise ValueError(f"the environment variable {unset[1]} is not set")
        return path

    def tfmd_schema(self) -> schema_pb2.Schema:
        """What the data of this catalog must look like.

        Raises:
            UserError: `schema_file` cannot be read.
        """
        # Here, because most of what reads a config needs no schema.
        from schema.catalog import catalog_schema

        return catalog_schema(self.slices, self.schema_file, several_pictures=self.several_pictures)

    @property
    def attribute_groups(self) -> list[str]:
        """The groups of attributes: the attribute columns, and those of `flags`."""
        return [*self.attributes, *self.flags]

    @field_validator("delimiter", mode="before")
    @classmethod
    def _tab_by_its_letter(cls, delimiter: Any) -> Any:
        return "tab" if delimiter in ("\t", "\\t") else delimiter

    @field_validator("id", "picture", "category", "subcategory", "product")
    @classmethod
    def _column_as_headings_are_read(cls, column: str | None) -> str | None:
        return column and column_name(column)

    @field_validator("attributes", "slices", "fields")
    @classmethod
    def _columns_each_once(cls, columns: list[str]) -> list[str]:
        names = [column_name(column) for column in columns]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(doubled)} stands there more than once; name it once")
        return names

    @field_validator("attributes")
    @classmethod
    def _groups_tell_from_values(cls, columns: list[str]) -> list[str]:
        return [group_name(column) for column in columns]

    @field_validator("flags")
    @classmethod
    def _flags_of_groups(
        cls, flags: dict[str, list[str]], validated: ValidationInfo
    ) -> dict[str, list[str]]:
        named = {
            group_name(column_name(group)): [column_name(column) for column in columns]
            for group, columns in flags.items()
        }
        others = validated.data.get("attributes", [])
        columns = [column for of in named.values() for column in of]
        if taken := sorted(set(others) & {*named, *columns}):
            raise ValueError(
                f"{', '.join(taken)} is among catalog.attributes too; name it in one of them"
            )
        if doubled := sorted({column for column in columns if columns.count(column) > 1}):
            raise ValueError(f"{', '.join(doubled)} stands there more than once; name it once")
        if empty := [group for group, of in named.items() if not of]:
            raise ValueError(f"{empty[0]} names no column; list those that say its labels")
        return named

    @field_validator("extra_labels")
    @classmethod
    def _slices_with_a_plain_name(cls, columns: list[str], validated: ValidationInfo) -> list[str]:
        if missing := [
            name for name in columns if name not in validated.data.get("slices", columns)
        ]:
            raise ValueError(f"{', '.join(missing)} must be among catalog.slices as well")
        odd = [name for name in columns if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)]
        if odd := odd or [name for name in columns if features.slice_feature(name) != name]:
            raise ValueError(
                f"{', '.join(odd)} cannot name an output of the model: give the column a name of "
                "letters, digits and `_` that is none of Seamline's own and does not end with "
                "`_label`"
            )
        outputs = [
            name for level in (*features.LEVELS, *columns) for name in features.outputs(level)
        ]
        if taken := sorted({name for name in outputs if outputs.count(name) > 1}):
            raise ValueError(
                f"the outputs {', '.join(taken)} would stand for two things: rename the column, or "
                "name it once"
            )
        return columns
