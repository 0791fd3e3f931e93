"""Decides, before the cache is asked, whether the catalog is still the one of an earlier run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import base_driver
from tfx.orchestration import data_types_utils, metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.catalog_example_gen import executor, folder
from components.catalog_example_gen.sources import source_of

INPUT_FINGERPRINT = "input_fingerprint"


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Puts the fingerprint of the labels and the pictures among the execution's properties.

    TFX knows a component's inputs by their artifacts, and a catalog is none. But it makes the cache
    key of all execution properties as they are after the driver has run. The first base class is
    what a component's class must name, the second what the launcher calls.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Fingerprints the catalog that the options name."""
        catalog = json.loads(execution_info.exec_properties[executor.CATALOG])
        split = json.loads(execution_info.exec_properties[executor.SPLIT])
        output = driver_output_pb2.DriverOutput()
        data_types_utils.set_metadata_value(
            output.exec_properties[INPUT_FINGERPRINT],
            folder.fingerprint(
                [*source_of(catalog, split).files, *_corrections(catalog)],
                os.path.join(catalog["folder"], catalog["images"]),
                catalog["links"],
            ),
        )
        return output


def _corrections(catalog: Mapping[str, Any]) -> list[str]:
    return [catalog["corrections"]] if catalog.get("corrections") else []
