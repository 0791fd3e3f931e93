"""Writes a card of artifacts."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.model_card import gather
from components.model_card.bom import bom
from components.model_card.files import BOM_FILE, CARD_FILE
from components.model_card.markdown import card


class Executor(base_executor.BaseExecutor):
    """Executor of `ModelCard`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `CARD_FILE` and `BOM_FILE`, and sets the property `summary`."""
        told = gather.contents(
            input_dict,
            name=exec_properties["name"],
            attribute_threshold=exec_properties["attribute_threshold"],
            license_=exec_properties.get("license") or "",
            contact=exec_properties.get("contact") or "",
        )
        made = artifact_utils.get_single_instance(output_dict["model_card"])
        written = {
            CARD_FILE: card(told),
            BOM_FILE: json.dumps(bom(told), ensure_ascii=False, indent=1) + "\n",
        }
        for name, text in written.items():
            io_utils.write_string_file(os.path.join(made.uri, name), text)
        made.set_string_custom_property(
            "summary",
            f"{CARD_FILE}, and {BOM_FILE} with {len(told.packages):,} packages",
        )
