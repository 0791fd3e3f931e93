"""Which model the candidate has to compare itself with."""

from collections.abc import Iterable, Iterator

from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from components.judge.artifacts import JUDGED_MODEL_ID, Judgement


class LatestOtherBlessedModel(resolver.ResolverStrategy):
    """The model that was blessed last and is not the candidate itself.

    TFX's own strategy takes the latest blessed model, which after a blessed run is the candidate:
    a second run with nothing changed would see a new baseline and judge everything again.

    Inputs: `model`, `model_blessing` and `judgement` with all artifacts of the pipeline, and
    `candidate` with the model of this run. Outputs the same keys with at most one model, its
    blessing and its first judgement: of several, which differ by the gates alone, always the same,
    so that nothing is computed anew where only the baseline was judged again.
    """

    def resolve_artifacts(
        self, store: object, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """Returns the baseline, or empty lists where no other model was ever blessed."""
        candidates = {model.id for model in input_dict["candidate"]}
        found: dict[str, list[types.Artifact]] = {
            **{"model": [], "model_blessing": [], "judgement": []},
            "candidate": input_dict["candidate"],
        }
        for model, blessing in latest_blessed(input_dict["model"], input_dict["model_blessing"]):
            if model.id not in candidates:
                judged = [
                    of
                    for of in input_dict["judgement"]
                    if of.get_int_custom_property(JUDGED_MODEL_ID) == model.id
                ]
                found |= {"model": [model], "model_blessing": [blessing]}
                found["judgement"] = sorted(judged, key=lambda artifact: artifact.id)[:1]
                break
        return found


def latest_blessed(
    models: Iterable[types.Artifact], blessings: Iterable[types.Artifact]
) -> Iterator[tuple[types.Artifact, types.Artifact]]:
    """The models that were blessed, each with its blessing, the one blessed last first."""
    by_id = {model.id: model for model in models}
    for blessing in sorted(blessings, key=lambda artifact: -artifact.id):
        judged = blessing.get_int_custom_property("current_model_id")
        if blessing.get_int_custom_property("blessed") == 1 and judged in by_id:
            yield by_id[judged], blessing


def baseline_resolver(candidate: types.BaseChannel) -> resolver.Resolver:
    """The pipeline node that finds the baseline of `candidate`, a channel of Model artifacts."""
    return resolver.Resolver(
        strategy_class=LatestOtherBlessedModel,
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        judgement=types.Channel(type=Judgement),
        candidate=candidate,
    ).with_id("Resolver")
