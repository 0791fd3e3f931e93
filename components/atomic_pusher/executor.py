"""Pusher's executor, with a push that cannot be seen half done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.components.util import model_utils
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components import storage
from components.atomic_pusher import object_store, versions
from components.atomic_pusher.records import Origin
from components.evaluation.results import read_evaluation
from components.judge import judgement
from components.similarity_index.artifacts import INDEX_FOLDER
from schema import features

EVALUATION_KEY = "evaluation"
JUDGEMENT_KEY = "judgement"
MODEL_CARD_KEY = "model_card"
SIMILARITY_INDEX_KEY = "similarity_index"
KEEP_VERSIONS_KEY = "keep_versions"
SERVING_STATE_KEY = "serving_state"


class AtomicPusherExecutor(executor.Executor):
    """Pushes a blessed model: to a folder of this machine by `versions.push`, or to a bucket's.

    The output artifact gets Pusher's own properties and `summary`, a sentence for the console.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if every blessing there is says so and nobody has rolled it back.

        Raises:
            UserError: the disk is full or the serving folder cannot be written or reached.
        """
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        serving_root = destination.filesystem.base_directory
        pushed_model = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            pushed_model.set_string_custom_property("summary", _why_not(input_dict))
            return
        push = self._push_to_bucket if storage.is_url(serving_root) else self._push_to_folder
        origin = Origin(
            model=input_dict[standard_component_specs.MODEL_KEY][0].uri,
            run=(self._context and self._context.pipeline_run_id) or "",
            metrics=_telling_metrics(input_dict),
            automatic=_automatic(input_dict),
            serving_state=exec_properties.get(SERVING_STATE_KEY, ""),
        )
        keep = exec_properties.get(KEEP_VERSIONS_KEY)
        outcome = push(input_dict, pushed_model, serving_root, origin, keep)
        pushed_model.set_string_custom_property("summary", outcome.summary)
        if outcome.state == "rolled back":
            self._MarkNotPushed(pushed_model)
        else:
            self._MarkPushed(
                pushed_model,
                pushed_destination=str(outcome.version.folder),
                pushed_version=str(outcome.version.number),
            )

    def _push_to_folder(
        self,
        input_dict: dict[str, list[types.Artifact]],
        pushed_model: types.Artifact,
        serving_root: str,
        origin: Origin,
        keep: int | None,
    ) -> versions.Outcome:
        model, archive = Path(self.GetModelPath(input_dict)), Path(pushed_model.uri)
        outcome = versions.expected_outcome(model, Path(serving_root))
        if outcome.state == "rolled back":
            return outcome
        # The archived copy comes first: if it fails, nothing has gone live.
        with versions.naming_disk_errors(model, archive):
            shutil.copytree(model, archive, dirs_exist_ok=True)
        index = _index(input_dict)
        return versions.push(
            model,
            Path(serving_root),
            origin,
            keep=keep,
            papers=[Path(paper) for paper in _papers(input_dict)],
            companion=Path(index) if index else None,
        )

    def _push_to_bucket(
        self,
        input_dict: dict[str, list[types.Artifact]],
        pushed_model: types.Artifact,
        serving_root: str,
        origin: Origin,
        keep: int | None,
    ) -> object_store.Outcome:
        del keep  # Nothing is removed there.
        model, index = self.GetModelPath(input_dict), _index(input_dict)
        storage.check_writable(serving_root)
        outcome = object_store.expected_outcome(model, serving_root, index)
        if outcome.state == "rolled back":
            return outcome
        for name in storage.files(model):
            storage.copy(f"{model}/{name}", f"{pushed_model.uri}/{name}")
        return object_store.push(model, serving_root, origin, _papers(input_dict), index)


def _papers(input_dict: dict[str, list[types.Artifact]]) -> list[str]:
    """The files of the model's card."""
    folders = [card.uri for card in input_dict.get(MODEL_CARD_KEY) or []]
    return [
        os.path.join(folder, name) for folder in folders for name in sorted(fileio.listdir(folder))
    ]


def _index(input_dict: dict[str, list[types.Artifact]]) -> str | None:
    """The folder of the catalog's index."""
    found = input_dict.get(SIMILARITY_INDEX_KEY)
    return os.path.join(found[0].uri, INDEX_FOLDER) if found else None


def _telling_metrics(input_dict: dict[str, list[types.Artifact]]) -> dict[str, float]:
    if not input_dict.get(EVALUATION_KEY):
        return {}
    metrics = read_evaluation(input_dict[EVALUATION_KEY][0].uri).metrics
    overall_f1 = f"{features.ATTRIBUTES}/overall_f1"
    return {
        name: value
        for name, value in metrics.items()
        if name.endswith("/accuracy") or name == overall_f1
    }


def _automatic(input_dict: dict[str, list[types.Artifact]]) -> dict[str, Any]:
    """The scores from which on answers need no person, without those that cannot be had."""
    if not input_dict.get(JUDGEMENT_KEY):
        return {}
    told = judgement.read(input_dict[JUDGEMENT_KEY][0].uri).automatic
    if not told:
        return {}
    chosen = {
        kind: {
            name: of["threshold"] for name, of in told[kind].items() if of["threshold"] is not None
        }
        for kind in ("levels", "attributes")
    }
    return {"wanted": told["wanted"], **chosen}


def _why_not(input_dict: dict[str, list[types.Artifact]]) -> str:
    blessing = input_dict.get(standard_component_specs.MODEL_BLESSING_KEY)
    judge_objects = blessing and not model_utils.is_model_blessed(blessing[0])
    who = "Judge" if judge_objects else "canary"
    return f"not pushed: the {who} did not bless the model"
