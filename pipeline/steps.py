"""The steps by name: all there are, which of them a run may lack, and why."""

STEPS = (
    "CatalogExampleGen",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "PreviousStatistics",
    "DataGate",
    "Transform",
    "Tuner",
    "BaseModel",
    "Trainer",
    "BaselineModel",
    "BaselineJudgement",
    "Predictions",
    "BaselinePredictions",
    "Evaluator",
    "Judge",
    "TrainPredictions",
    "ModelCanary",
    "ModelCard",
    "SimilarityIndex",
    "Pusher",
    "LabelReview",
    "Report",
)
"""All steps, each after those that it reads from."""

OPTIONAL_STEPS = {
    "PreviousStatistics": "no other run to measure drift against",
    "Tuner": "off (tuning.enabled)",
    "BaseModel": "off (training.warm_start), or no blessed model of other data to start from",
    "BaselineModel": "no other blessed model to be compared with",
    "BaselineJudgement": "no other blessed model to be compared with",
    "BaselinePredictions": "no other blessed model to be asked",
    "TrainPredictions": "off (evaluation.answer_train, search.enabled)",
    "SimilarityIndex": "off (search.enabled)",
    "LabelReview": "off (label_review.enabled)",
}
"""Steps that a pipeline may lack, and the option or the lack of an earlier run that is why."""

LOOK_UPS = {"PreviousStatistics", "BaseModel", "BaselineModel", "BaselineJudgement"}
"""Steps that bring in an earlier run's result, which the ledger knew; they compute nothing."""
