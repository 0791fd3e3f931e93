"""The TFX component around the push."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.atomic_pusher.executor import (
    EVALUATION_KEY,
    JUDGEMENT_KEY,
    KEEP_VERSIONS_KEY,
    MODEL_CARD_KEY,
    SERVING_STATE_KEY,
    SIMILARITY_INDEX_KEY,
    AtomicPusherExecutor,
)
from components.judge.artifacts import Judgement
from components.ledger import recording
from components.model_card.artifacts import ModelCard
from components.similarity_index.artifacts import SimilarityIndex


class AtomicPusherSpec(types.ComponentSpec):
    """What goes into the push and what comes out of it: Pusher's, and ours."""

    PARAMETERS = {
        standard_component_specs.PUSH_DESTINATION_KEY: ExecutionParameter(
            type=pusher_pb2.PushDestination
        ),
        KEEP_VERSIONS_KEY: ExecutionParameter(type=int),
        SERVING_STATE_KEY: ExecutionParameter(type=str),
        recording.LEDGER: ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.MODEL_BLESSING_KEY: ChannelParameter(
            type=standard_artifacts.ModelBlessing
        ),
        standard_component_specs.INFRA_BLESSING_KEY: ChannelParameter(
            type=standard_artifacts.InfraBlessing
        ),
        EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation, optional=True),
        JUDGEMENT_KEY: ChannelParameter(type=Judgement, optional=True),
        MODEL_CARD_KEY: ChannelParameter(type=ModelCard, optional=True),
        SIMILARITY_INDEX_KEY: ChannelParameter(type=SimilarityIndex, optional=True),
    }
    OUTPUTS = {
        standard_component_specs.PUSHED_MODEL_KEY: ChannelParameter(
            type=standard_artifacts.PushedModel
        )
    }


class AtomicPusher(base_component.BaseComponent):
    """Makes a blessed model the newest version of a serving folder, and removes the oldest.

    Args:
        model: the candidate.
        model_blessing: the Judge's verdict.
        infra_blessing: the canary's.
        evaluation: the Evaluator's figures, of which the version keeps the most telling.
        judgement: the Judge's, of which the version keeps from which scores on nobody must look.
        model_card: what is told of the model, which the version keeps whole.
        similarity_index: the catalog's vectors by the model, which the version keeps whole.
        base_directory: the serving folder; or the URL of a folder in an object store, where no
            version is ever removed; see `object_store.push`.
        keep_versions: how many of the newest versions stay; see `versions.push`.
        ledger: path or URL of the ledger, which learns of what goes live.
        serving_state: what the serving folder holds of the model before the step. It changes
            nothing but the cache's key: a result is taken from an earlier run only where the
            folder still is as that run left it. Whoever runs the pipeline sets it.
    """

    SPEC_CLASS = AtomicPusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(AtomicPusherExecutor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        base_directory: str,
        keep_versions: int,
        ledger: str,
        evaluation: types.BaseChannel | None = None,
        judgement: types.BaseChannel | None = None,
        model_card: types.BaseChannel | None = None,
        similarity_index: types.BaseChannel | None = None,
        serving_state: str = "",
    ):
        super().__init__(
            AtomicPusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                evaluation=evaluation,
                judgement=judgement,
                model_card=model_card,
                similarity_index=similarity_index,
                push_destination=pusher_pb2.PushDestination(
                    filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=base_directory)
                ),
                keep_versions=keep_versions,
                serving_state=serving_state,
                ledger=ledger,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
