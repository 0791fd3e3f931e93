"""Reads what was found, writes the verdict, and stops the run if it must."""

from __future__ import annotations

import json
import os
from typing import Any, TypeVar

from google.protobuf.message import Message
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx import types
from tfx.components.example_validator import executor as example_validator
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from components.catalog_example_gen.rejects import REJECTS_FILE, SUMMARY_FILE, top_reasons
from components.data_gate.findings import Finding, findings, stopping
from schema.errors import UserError

ANOMALIES = "anomalies"
STATISTICS = "statistics"
REJECTS = "rejects"
STOP_ON = "stop_on"
MAX_REJECTED = "max_rejected"
VERDICT = "verdict"
VERDICT_FILE = "verdict.json"

_Proto = TypeVar("_Proto", bound=Message)


class Executor(base_executor.BaseExecutor):
    """Judges all splits together."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes verdict.json.

        Raises:
            UserError: More rows were rejected than `max_rejected` allows, or something was found
                of the severity `stop_on` or above; lists all of it.
        """
        anomalies = artifact_utils.get_single_instance(input_dict[ANOMALIES])
        statistics = artifact_utils.get_single_instance(input_dict[STATISTICS])
        rejects = artifact_utils.get_single_instance(input_dict[REJECTS])
        verdict = artifact_utils.get_single_instance(output_dict[VERDICT])
        stop_on = exec_properties[STOP_ON]

        with fileio.open(os.path.join(rejects.uri, SUMMARY_FILE)) as file:
            ingested = json.load(file)
        _require_few_rejects(ingested, exec_properties[MAX_REJECTED], rejects.uri)

        found: list[Finding] = []
        for split in artifact_utils.decode_split_names(anomalies.split_names):
            found += findings(
                split,
                _read(
                    anomalies, split, example_validator.DEFAULT_FILE_NAME, anomalies_pb2.Anomalies
                ),
                _read(
                    statistics,
                    split,
                    statistics_gen.DEFAULT_FILE_NAME,
                    statistics_pb2.DatasetFeatureStatisticsList,
                ),
            )
        if reasons := stopping(found, stop_on):
            listed = "\n".join(f"  {one.split}: {one.sentence}." for one in reasons)
            raise UserError(
                f"The data are not what the schema says:\n{listed}\n"
                "Mend the catalog or widen the schema (`catalog.schema_file`), or let such data "
                f"pass with `checks.stop_on` (now {stop_on})."
            )

        content = {"stop_on": stop_on, "findings": [one._asdict() for one in found]}
        with fileio.open(os.path.join(verdict.uri, VERDICT_FILE), "w") as file:
            file.write(json.dumps(content, indent=2, ensure_ascii=False))
        verdict.set_string_custom_property("summary", _sentence(found, ingested))


def _require_few_rejects(ingested: dict[str, Any], max_rejected: float, rejects: str) -> None:
    rows, rejected = ingested["rows"], ingested["rejected"]
    if rejected > max_rejected * rows:
        raise UserError(
            f"{rejected:,} of {rows:,} rows ({rejected / rows:.1%}) were rejected, and "
            f"`checks.max_rejected` allows {max_rejected:.1%}: "
            f"{top_reasons(ingested['rejected_by_reason'])}. "
            f"Every rejected row is in {os.path.join(rejects, REJECTS_FILE)}."
        )


def _sentence(found: list[Finding], ingested: dict[str, Any]) -> str:
    rows = f"{ingested['accepted']:,} of {ingested['rows']:,} rows usable"
    if not found:
        return f"{rows}, all as the schema says"
    more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
    return f"{rows}; {found[0].split}: {found[0].sentence}{more}"


def _read(artifact: types.Artifact, split: str, name: str, kind: type[_Proto]) -> _Proto:
    path = os.path.join(artifact_utils.get_split_uri([artifact], split), name)
    with fileio.open(path, "rb") as file:
        return kind.FromString(file.read())
