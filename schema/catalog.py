"""The TFMD schema of one catalog: the base file, its slice columns, and the labels it closes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from schema import features
from schema.errors import UserError
from schema.labels import normalized

BASE_FILE = Path(__file__).with_name("catalog.pbtxt")
"""What every Example of every catalog must have."""


def catalog_schema(
    slice_columns: Iterable[str],
    base_file: str | Path | None = None,
    *,
    several_pictures: bool = False,
) -> schema_pb2.Schema:
    """The schema that a catalog's Examples are checked against.

    Args:
        slice_columns: Each becomes a required bytes feature of one value, named by
            `features.slice_feature`, unless the file already says something about it.
        base_file: A TFMD schema in text format; `BASE_FILE` by default.
        several_pictures: Whether Examples name the product that they show, because others may show
            it too. The statistics leave that name out, so that no presence is demanded.

    Raises:
        UserError: The file cannot be read, is no schema, or lacks one of the label features.
    """
    path = Path(base_file) if base_file else BASE_FILE
    schema = read_schema(path)
    own = [of.string_domain for of in schema.feature if of.HasField("string_domain")]
    for domain in (*schema.string_domain, *own):
        # As the ingest writes what is compared with them.
        domain.value[:] = list(dict.fromkeys(map(normalized, domain.value)))
    declared = {feature.name for feature in schema.feature}
    if missing := [level for level in features.LEVELS if level not in declared]:
        raise UserError(
            f"{path} says nothing about the feature {', '.join(missing)}. "
            f"Start from a copy of {BASE_FILE}, which has every feature that Examples need."
        )
    if several_pictures and features.PRODUCT not in declared:
        feature = schema.feature.add(name=features.PRODUCT, type=schema_pb2.BYTES)
        feature.value_count.min = feature.value_count.max = 1
    for name in map(features.slice_feature, slice_columns):
        if name not in declared:
            feature = schema.feature.add(name=name, type=schema_pb2.BYTES)
            feature.presence.min_fraction = 1.0
            feature.presence.min_count = 1
            feature.shape.dim.add(size=1)
    return schema


def read_schema(path: str | Path) -> schema_pb2.Schema:
    """Reads a TFMD schema in text format.

    Raises:
        UserError: The file cannot be read or is no schema.
    """
    try:
        return text_format.Parse(Path(path).read_text(encoding="utf-8"), schema_pb2.Schema())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The schema file {path} cannot be read: {error}. "
            "Check its name, in the config `catalog.schema_file`."
        ) from error
    except text_format.ParseError as error:
        raise UserError(
            f"{path} is not a TFMD schema in text format: {error}. "
            f"Start from a copy of {BASE_FILE}."
        ) from error


def label_domains(schema: schema_pb2.Schema) -> dict[str, list[str]]:
    """The allowed labels of each level that the schema closes; open levels are left out.

    A level is closed by a `string_domain` inside its feature, or by the name of one of the
    schema's own. Attribute labels read `group=value`, as `features.attribute_label` writes them.

    Raises:
        UserError: A feature names a domain that the schema does not have.
    """
    shared = {domain.name: domain for domain in schema.string_domain}
    closed: dict[str, list[str]] = {}
    for feature in schema.feature:
        if feature.name not in features.LEVELS:
            continue
        if feature.HasField("string_domain"):
            closed[feature.name] = list(feature.string_domain.value)
        elif feature.HasField("domain"):
            if feature.domain not in shared:
                raise UserError(
                    f"The schema's feature `{feature.name}` names the domain `{feature.domain}`, "
                    f"but the schema has {', '.join(sorted(shared)) or 'no string_domain'}. "
                    "Add the string_domain or correct the name."
                )
            closed[feature.name] = list(shared[feature.domain].value)
    return closed


def write_schema(schema: schema_pb2.Schema, path: str | Path, comments: Iterable[str] = ()) -> None:
    """Writes the schema in text format, as `read_schema` reads it; folders are made.

    Args:
        schema: What to write.
        path: The file.
        comments: Lines for people, above the schema.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A label may hold a line break, and what follows it would be read as part of the schema.
    lines = [f"# {' '.join(comment.split())}\n" for comment in comments]
    path.write_text("".join(lines) + schema_text(schema), encoding="utf-8")


def schema_text(schema: schema_pb2.Schema) -> str:
    """The schema in text format; the same schema is the same text."""
    return text_format.MessageToString(schema, as_utf8=True)
