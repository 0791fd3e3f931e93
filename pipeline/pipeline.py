"""The DAG: which step reads what from which, on one screen."""

import hashlib
from functools import partial

import tensorflow_data_validation as tfdv
from ml_metadata.proto import metadata_store_pb2
from tfx import components as tfx
from tfx import types
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common import importer
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2, transform_pb2
from tfx.types import standard_artifacts

from components.atomic_pusher.component import AtomicPusher
from components.catalog_example_gen import sources
from components.catalog_example_gen.component import CatalogExampleGen
from components.data_gate.component import DataGate
from components.evaluation.component import Evaluator
from components.evaluation.eval_config import eval_config
from components.judge.artifacts import Judgement
from components.judge.component import Judge
from components.label_review.component import LabelReview
from components.ledger.ledger import Entry, Ledger
from components.model_canary.component import ModelCanary
from components.model_card.component import ModelCard
from components.predictions.component import Predictions
from components.report.component import Report
from components.schema_import.component import ImportSchemaGen
from components.similarity_index.component import SimilarityIndex
from pipeline import beam_runner
from pipeline.config import Config
from pipeline.source_fingerprint import source_fingerprint
from pipeline.workspace import Places
from schema import features
from schema.catalog import label_domains, schema_text


def create_pipeline(
    config: Config,
    places: Places,
    metadata_connection: metadata_store_pb2.ConnectionConfig | None = None,
    *,
    look_up: bool = True,
    input_fingerprint: str | None = None,
) -> Pipeline:
    """Wires the steps that `config` asks for.

    What the run is compared with, and starts from, is looked up in the ledger here.

    Args:
        config: The catalog's options.
        places: Where the steps read and write.
        metadata_connection: Where TFX's local runner notes what was done; other runners have their
            own.
        look_up: Whether earlier runs count.
        input_fingerprint: Of the labels and the pictures, where this machine does not see them.

    Raises:
        UserError: the catalog's folders cannot be listed; the ledger is damaged.
    """
    ledger = Ledger(str(places.ledger)) if look_up else None
    schema = config.catalog.tfmd_schema()
    trainer_options = {
        section: getattr(config, section).model_dump()
        for section in ("model", "augmentation", "training")
    } | {"resume_dir": str(places.training), "code": source_fingerprint("trainer")}

    catalog = config.catalog.model_dump(exclude={"schema_file"})
    split = config.split.model_dump()
    example_gen = CatalogExampleGen(
        catalog=catalog,
        split=split,
        domains=label_domains(schema),
        input_fingerprint=input_fingerprint or sources.fingerprint(catalog, split),
        code=source_fingerprint(
            "components.catalog_example_gen",
            "components.storage",
            *(
                "schema.features",
                "schema.labels",
                "schema.picture_figures",
                "schema.pictures",
                "schema.records",
                "schema.workbook",
            ),
        ),
    ).with_beam_pipeline_args(beam_runner.reading_arguments(config.beam))
    examples = example_gen.outputs["examples"]

    statistics_gen = tfx.StatisticsGen(
        examples=examples, stats_options=statistics_options(config.catalog.slices)
    )
    schema_gen = ImportSchemaGen(schema_text(schema))
    example_validator = tfx.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    inputs = fingerprint_of(example_gen)
    passed = ledger.passed_before(inputs) if ledger else None
    previous = _imported(
        "PreviousStatistics",
        standard_artifacts.ExampleStatistics,
        passed,
        "statistics",
    )
    data_gate = DataGate(
        anomalies=example_validator.outputs["anomalies"],
        statistics=statistics_gen.outputs["statistics"],
        rejects=example_gen.outputs["rejects"],
        stop_on=config.checks.stop_on,
        max_rejected=config.checks.max_rejected,
        max_ambiguous=config.checks.max_ambiguous,
        drift=config.checks.drift,
        skew=config.checks.skew,
        previous_statistics=_result_of(previous),
        ledger=str(places.ledger),
        inputs=inputs,
        code=source_fingerprint("components.data_gate"),
    )
    transform = tfx.Transform(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="trainer.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=[features.TRAIN]),
        materialize=False,
        disable_statistics=True,
        custom_config={
            "extra_labels": config.catalog.extra_labels,
            "code": source_fingerprint("trainer.preprocessing"),
        },
    )
    transform.add_upstream_node(data_gate)

    learn_from = {
        "examples": examples,
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema_gen.outputs["schema"],
        "train_args": trainer_pb2.TrainArgs(splits=[features.TRAIN]),
        "eval_args": trainer_pb2.EvalArgs(splits=[features.EVAL]),
    }
    tuner = tfx.Tuner(
        tuner_fn="trainer.tuning.tuner_fn",
        custom_config=trainer_options | {"tuning": config.tuning.model_dump()},
        **learn_from,
    )
    base = ledger.base_for(inputs) if ledger and config.training.warm_start else None
    base_model = _imported("BaseModel", standard_artifacts.Model, base, "model")
    trainer = tfx.Trainer(
        run_fn="trainer.training.run_fn",
        custom_config=trainer_options
        | {
            "thresholds": {
                features.ATTRIBUTES: config.evaluation.attribute_threshold,
                **dict.fromkeys(
                    (features.CATEGORY, features.SUBCATEGORY, *config.catalog.extra_labels),
                    config.evaluation.label_threshold,
                ),
            }
        },
        hyperparameters=(tuner.outputs["best_hyperparameters"] if config.tuning.enabled else None),
        base_model=_result_of(base_model),
        **learn_from,
    )

    training = fingerprint_of(
        example_gen,
        schema_gen,
        transform,
        trainer,
        *([tuner] if config.tuning.enabled else []),
        *([base_model] if base_model else []),
    )
    baseline = ledger.baseline_for(training) if ledger else None
    baseline_model = _imported("BaselineModel", standard_artifacts.Model, baseline, "model")
    baseline_judgement = _imported("BaselineJudgement", Judgement, baseline, "judgement")
    judged_parts = [features.EVAL, features.TEST]
    ask = partial(
        Predictions,
        examples,
        slices=config.catalog.slices,
        several_pictures=config.catalog.several_pictures,
        resume_dir=str(places.answers),
        code=source_fingerprint("components.predictions"),
    )
    predictions = ask(trainer.outputs["model"], splits=judged_parts)
    asked_baseline = (
        ask(_result_of(baseline_model), splits=judged_parts).with_id("BaselinePredictions")
        if baseline_model
        else None
    )
    baseline_predictions = asked_baseline and asked_baseline.outputs["predictions"]
    evaluator = Evaluator(
        predictions.outputs["predictions"],
        baseline_predictions,
        slices=config.catalog.slices,
        code=source_fingerprint("components.evaluation"),
        eval_config=eval_config(
            slices=config.catalog.slices,
            crosses=config.evaluation.crosses,
            attribute_threshold=config.evaluation.attribute_threshold,
            attributes=bool(config.catalog.attribute_groups),
            extra_labels=config.catalog.extra_labels,
            joint_decoding=config.model.joint_decoding,
            calibrated=config.training.calibrate,
            several_pictures=config.catalog.several_pictures,
        ),
    )
    judge = Judge(
        trainer.outputs["model"],
        predictions.outputs["predictions"],
        baseline_model=_result_of(baseline_model),
        baseline_predictions=baseline_predictions,
        baseline_judgement=_result_of(baseline_judgement),
        gates=[gate.options() for gate in config.evaluation.gates],
        guards=config.evaluation.guards,
        automatic=config.evaluation.automatic,
        slices=config.catalog.slices,
        attribute_threshold=config.evaluation.attribute_threshold,
        attributes=bool(config.catalog.attribute_groups),
        several_pictures=config.catalog.several_pictures,
        ledger=str(places.ledger),
        inputs=inputs,
        training=training,
        code=source_fingerprint("components.judge"),
    )
    train_predictions = ask(trainer.outputs["model"], splits=[features.TRAIN]).with_id(
        "TrainPredictions"
    )
    answer_train = config.evaluation.answer_train or config.search.enabled
    if answer_train:
        train_predictions.add_upstream_node(judge)
    canary = ModelCanary(
        model=trainer.outputs["model"],
        examples=examples,
        model_name=config.serving.model_name,
        questions=config.serving.canary_questions,
        latency_ms=config.serving.canary_latency_ms,
        server={
            "binary": config.serving.canary_binary,
            "address": config.serving.canary_address,
            "folder": config.serving.canary_folder,
        },
        code=source_fingerprint("components.model_canary", "serving.client"),
    )
    model_card = ModelCard(
        examples=examples,
        rejects=example_gen.outputs["rejects"],
        conflicts=example_gen.outputs["conflicts"],
        verdict=data_gate.outputs["verdict"],
        transform_graph=transform.outputs["transform_graph"],
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        evaluation=evaluator.outputs["evaluation"],
        judgement=judge.outputs["judgement"],
        infra_blessing=canary.outputs["blessing"],
        name=config.name,
        attribute_threshold=config.evaluation.attribute_threshold,
        license=config.serving.license,
        contact=config.serving.contact,
        code=source_fingerprint("components.model_card"),
    )
    similarity_index = SimilarityIndex(
        examples=examples,
        model=trainer.outputs["model"],
        predictions=predictions.outputs["predictions"],
        train_predictions=train_predictions.outputs["predictions"],
        columns={
            "category": config.catalog.category,
            "subcategory": config.catalog.subcategory,
            "groups": config.catalog.attribute_groups,
            "slices": config.catalog.slices,
            "fields": config.catalog.fields,
            "product": config.catalog.several_pictures,
        },
        options=config.search.model_dump(exclude={"enabled", "alike"})
        | {
            "alike": config.search.alike
            or [config.catalog.subcategory, *config.catalog.extra_labels]
        },
        features_dir=str(places.features),
        code=source_fingerprint(
            "components.similarity_index", "schema.search_blocks", "serving.search"
        ),
    ).with_beam_pipeline_args(beam_runner.reading_arguments(config.beam))
    pusher = AtomicPusher(
        model=trainer.outputs["model"],
        model_blessing=judge.outputs["blessing"],
        infra_blessing=canary.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        judgement=judge.outputs["judgement"],
        model_card=model_card.outputs["model_card"],
        similarity_index=(
            similarity_index.outputs["similarity_index"] if config.search.enabled else None
        ),
        base_directory=f"{config.serving.push_to or places.serving}/{config.serving.model_name}",
        keep_versions=config.serving.keep_versions,
        ledger=str(places.ledger),
    ).with_id("Pusher")
    label_review = LabelReview(
        examples=examples,
        predictions=predictions.outputs["predictions"],
        conflicts=example_gen.outputs["conflicts"],
        corrections=example_gen.outputs["corrections"],
        options=config.label_review.model_dump(exclude={"enabled"}),
        model=config.model.model_dump(),
        extra_labels=config.catalog.extra_labels,
        groups=config.catalog.attribute_groups,
        name=config.name,
        features_dir=str(places.features),
        code=source_fingerprint("components.label_review"),
    ).with_beam_pipeline_args(beam_runner.reading_arguments(config.beam))
    report = Report(
        examples=examples,
        rejects=example_gen.outputs["rejects"],
        conflicts=example_gen.outputs["conflicts"],
        corrections=example_gen.outputs["corrections"],
        label_review=(
            label_review.outputs["label_review"] if config.label_review.enabled else None
        ),
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        verdict=data_gate.outputs["verdict"],
        transform_graph=transform.outputs["transform_graph"],
        model_run=trainer.outputs["model_run"],
        tuner_results=tuner.outputs["tuner_results"] if config.tuning.enabled else None,
        predictions=predictions.outputs["predictions"],
        baseline_predictions=baseline_predictions,
        evaluation=evaluator.outputs["evaluation"],
        judgement=judge.outputs["judgement"],
        infra_blessing=canary.outputs["blessing"],
        pushed_model=pusher.outputs["pushed_model"],
        similarity_index=(
            similarity_index.outputs["similarity_index"] if config.search.enabled else None
        ),
        name=config.name,
        code=source_fingerprint("components.report", "components.label_review.effect"),
        attribute_threshold=config.evaluation.attribute_threshold,
        slices=config.catalog.slices,
    )
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(places.artifacts),
        components=[
            *(example_gen, statistics_gen, schema_gen, example_validator),
            *_present(previous),
            *(data_gate, transform),
            *([tuner] if config.tuning.enabled else []),
            *_present(base_model),
            trainer,
            *_present(baseline_model, baseline_judgement),
            predictions,
            *_present(asked_baseline),
            *(evaluator, judge),
            *([train_predictions] if answer_train else []),
            *(canary, model_card),
            *([similarity_index] if config.search.enabled else []),
            pusher,
            *([label_review] if config.label_review.enabled else []),
            report,
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection,
        beam_pipeline_args=beam_runner.arguments(config.beam),
    )


def fingerprint_of(*nodes: BaseNode) -> str:
    """A hash of all that some steps are given as options, and of who they are."""
    digest = hashlib.sha256()
    for node in nodes:
        options = sorted((key, str(value)) for key, value in node.exec_properties.items())
        digest.update(repr((node.id, options)).encode())
    return digest.hexdigest()[:32]


def _imported(
    step: str, kind: type[types.Artifact], entry: Entry | None, name: str
) -> Importer | None:
    """The step that brings in what an entry of the ledger names; None where there is no entry.

    Where ML Metadata knows the artifact it stays the same one, so that nothing is computed anew.
    """
    if entry is None:
        return None
    return Importer(source_uri=getattr(entry, name), artifact_type=kind).with_id(step)


def _result_of(imported: Importer | None) -> types.BaseChannel | None:
    return imported and imported.outputs[importer.IMPORT_RESULT_KEY]


def _present(*nodes: BaseNode | None) -> list[BaseNode]:
    return [node for node in nodes if node]


def statistics_options(slices: list[str]) -> tfdv.StatsOptions:
    """Statistics of everything but the pictures, which would not fit into memory."""
    own = (features.ID, *features.LEVELS, *features.PICTURE_STATISTICS)
    return tfdv.StatsOptions(feature_allowlist=[*own, *map(features.slice_feature, slices)])
