"""Each metric, summed in parts of any size, against scikit-learn and NumPy over all at once."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from tensorflow_model_analysis.metrics import metric_types

from components.evaluation import figures
from components.evaluation.metrics import AttributeMetric, ClassMetric, Table
from schema import features

CLASSES, ATTRIBUTES, PRODUCTS = 5, 4, 60
THRESHOLD = 0.4


@pytest.fixture(scope="module", params=[1, 2, 3])
def pictures(request):
    """Answers about pictures, of which some show the same product, and some labels are unknown."""
    generator = np.random.default_rng(request.param)
    drawn = []
    for number in range(PRODUCTS):
        label = int(generator.choice([*range(CLASSES), features.NOT_IN_TRAIN, features.NOT_GIVEN]))
        attributes = generator.integers(0, 2, ATTRIBUTES).astype(np.float32)
        for _ in range(generator.integers(1, 4)):
            scores = generator.dirichlet(np.ones(CLASSES), 4).astype(np.float32)
            labels = {"category": [label], "subcategory": [max(label, 0)], "attributes": attributes}
            predictions = {
                "category": scores[0],
                figures.brier_of("category"): np.float32([generator.uniform(0, 2)]),
                features.independent("category"): scores[1],
                features.uncalibrated("category"): scores[2],
                "subcategory": scores[3],
                "attributes": generator.random(ATTRIBUTES).astype(np.float32),
            }
            drawn.append((f"p{number}".encode(), labels, predictions))
    return drawn


def elements(pictures):
    for product, labels, predictions in pictures:
        yield metric_types.StandardMetricInputs(
            labels={name: np.asarray(of) for name, of in labels.items()},
            predictions=predictions,
            features={features.PRODUCT: np.array([product], object)},
        )


def computed(metric, level, pictures, parts=1):
    """A metric's value, its counts summed in so many parts that are then put together."""
    sums = {}
    for computation in metric.computations(output_names=[level]):
        if isinstance(computation, metric_types.DerivedMetricComputation):
            [value] = computation.result(sums).values()
            return value.rows if isinstance(value, Table) else value
        combiner = computation.combiner
        accumulators = []
        for part in range(parts):
            accumulator = combiner.create_accumulator()
            for element in list(elements(pictures))[part::parts]:
                accumulator = combiner.add_input(accumulator, element)
            accumulators.append(accumulator)
        merged = combiner.merge_accumulators(iter([combiner.create_accumulator(), *accumulators]))
        sums |= combiner.extract_output(merged)
    raise AssertionError("nothing was derived")


OF_CLASSES = (
    *figures.CLASS_FIGURES,
    *figures.RANK_FIGURES,
    *figures.DECODING_FIGURES,
    figures.CALIBRATION_ERROR,
    figures.UNCALIBRATED_ERROR,
    figures.PRODUCT_ACCURACY,
    figures.CONFUSION,
    figures.RELIABILITY,
    figures.UNCALIBRATED_RELIABILITY,
)
OF_ATTRIBUTES = (
    *figures.ATTRIBUTE_FIGURES,
    *figures.PRODUCT_ATTRIBUTE_FIGURES,
    figures.CALIBRATION_ERROR,
    figures.COUNTS,
    figures.RELIABILITY,
)


@pytest.mark.parametrize("parts", [2, 7])
def test_in_how_many_parts_it_is_summed_changes_nothing(pictures, parts):
    metrics = [("category", ClassMetric(name)) for name in OF_CLASSES]
    metrics += [
        ("subcategory", ClassMetric(name))
        for name in (*figures.PAIR_FIGURES, figures.INDEPENDENT_PAIR_ACCURACY)
    ]
    metrics += [("attributes", AttributeMetric(name, THRESHOLD)) for name in OF_ATTRIBUTES]
    for level, metric in metrics:
        whole = computed(metric, level, pictures)
        np.testing.assert_allclose(computed(metric, level, pictures, parts), whole, err_msg=level)


def test_class_figures_are_scikit_learns(pictures):
    judged = [
        (labels["category"][0], predictions["category"])
        for _, labels, predictions in pictures
        if labels["category"][0] != features.NOT_GIVEN
    ]
    truth, scores = (np.array(of) for of in zip(*judged, strict=True))
    named = scores.argmax(axis=1)
    assert computed(ClassMetric("accuracy"), "category", pictures) == pytest.approx(
        sklearn_metrics.accuracy_score(truth, named)
    )
    assert computed(ClassMetric("overall_f1"), "category", pictures) == pytest.approx(
        sklearn_metrics.f1_score(truth, named, average="weighted", zero_division=0)
    )
    table = computed(ClassMetric(figures.CONFUSION), "category", pictures)
    expected = sklearn_metrics.confusion_matrix(truth, named, labels=range(-2, CLASSES))
    found = np.zeros_like(expected)
    for one, other, count in table:
        found[one + 2, other + 2] = count
    np.testing.assert_array_equal(found, expected)


def test_ranks_are_scikit_learns(pictures):
    judged = [
        (labels["category"][0], predictions)
        for _, labels, predictions in pictures
        if labels["category"][0] != features.NOT_GIVEN
    ]
    truth = np.array([label for label, _ in judged])
    scores = np.array([predictions["category"] for _, predictions in judged])
    known = truth >= 0
    for count in (3, 5):
        among = sklearn_metrics.top_k_accuracy_score(
            truth[known], scores[known], k=count, labels=range(CLASSES), normalize=False
        )
        found = computed(ClassMetric(f"top{count}_accuracy"), "category", pictures)
        assert found == pytest.approx(among / len(truth))
    of_each = [predictions[figures.brier_of("category")][0] for _, predictions in judged]
    brier = computed(ClassMetric("brier"), "category", pictures)
    assert brier == pytest.approx(np.mean(of_each))


def test_of_equal_scores_the_first_is_the_likelier_one():
    scores = np.float32([0.3, 0.3, 0.1, 0.3])
    brier = {figures.brier_of("category"): np.float32([1])}
    answers = [(b"p", {"category": [label]}, {"category": scores, **brier}) for label in range(4)]
    # 0, 1 and 3 are the first three, in this order.
    assert computed(ClassMetric("top3_accuracy"), "category", answers) == 3 / 4


def test_two_models_tables_have_no_difference():
    one, other = Table(np.ones((3, 4), np.int64)), Table(np.ones((2, 4), np.int64))
    for difference in (one - other, one - 1.0):
        assert difference.rows.shape == (0, 4)
        assert difference.rows.dtype == np.int64


def test_what_decoding_changed_is_told_by_the_other_scores(pictures):
    judged = [
        (labels["category"][0], of["category"].argmax(), of["category_independent"].argmax())
        for _, labels, of in pictures
        if labels["category"][0] != features.NOT_GIVEN
    ]
    truth, named, independent = np.array(judged).T
    assert computed(ClassMetric(figures.CHANGED), "category", pictures) == pytest.approx(
        np.mean(named != independent)
    )
    assert computed(
        ClassMetric(figures.INDEPENDENT_ACCURACY), "category", pictures
    ) == pytest.approx(np.mean(truth == independent))


def test_pairs_are_right_where_both_levels_are(pictures):
    right = [
        labels["category"][0] == of["category"].argmax()
        and labels["subcategory"][0] == of["subcategory"].argmax()
        for _, labels, of in pictures
    ]
    assert computed(ClassMetric("pair_accuracy"), "subcategory", pictures) == np.mean(right)


@pytest.mark.parametrize(
    ("name", "of"),
    [
        (figures.RELIABILITY, "category"),
        (figures.UNCALIBRATED_RELIABILITY, "category_uncalibrated"),
    ],
)
def test_bins_hold_how_many_answers_how_sure_and_how_many_right(pictures, name, of):
    table = computed(ClassMetric(name), "category", pictures)
    expected = np.zeros((figures.BINS, 3))
    for _, labels, predictions in pictures:
        if labels["category"][0] != features.NOT_GIVEN:
            scores = predictions[of]
            place = min(int(scores.max() * figures.BINS), figures.BINS - 1)
            expected[place] += 1, scores.max(), scores.argmax() == labels["category"][0]
    np.testing.assert_allclose(table, expected, rtol=1e-6)


def test_products_are_judged_by_the_mean_of_their_pictures(pictures):
    scores, truth = {}, {}
    for product, labels, of in pictures:
        scores.setdefault(product, []).append((of["category"], of["attributes"]))
        truth[product] = labels["category"][0], labels["attributes"]
    means = {
        product: [np.mean(part, axis=0, dtype=np.float64) for part in zip(*of, strict=True)]
        for product, of in scores.items()
    }
    given = [product for product, (label, _) in truth.items() if label != features.NOT_GIVEN]
    assert computed(ClassMetric(figures.PRODUCT_ACCURACY), "category", pictures) == pytest.approx(
        np.mean([truth[product][0] == means[product][0].argmax() for product in given])
    )
    multi_hot = np.array([truth[product][1] for product in scores])
    predicted = np.array([means[product][1] >= THRESHOLD for product in scores])
    for average, kind in (("overall", "micro"), ("macro", "macro")):
        metric = AttributeMetric(f"product_{average}_f1", THRESHOLD)
        assert computed(metric, "attributes", pictures) == pytest.approx(
            sklearn_metrics.f1_score(multi_hot, predicted, average=kind, zero_division=0)
        )


def test_attribute_figures_are_scikit_learns(pictures):
    truth = np.array([labels["attributes"] for _, labels, _ in pictures])
    predicted = np.array([of["attributes"] >= THRESHOLD for _, _, of in pictures])
    for average, kind in (("overall", "micro"), ("macro", "macro")):
        for figure in ("precision", "recall", "f1"):
            score = getattr(sklearn_metrics, f"{figure}_score")
            found = computed(
                AttributeMetric(f"{average}_{figure}", THRESHOLD), "attributes", pictures
            )
            assert found == pytest.approx(score(truth, predicted, average=kind, zero_division=0)), (
                average,
                figure,
            )


def test_a_model_that_does_not_know_a_level_is_not_judged_by_it():
    # As the labels' signature answers for a baseline of another vocabulary.
    labels = {"category": [], "attributes": []}
    pictures = [(b"p", labels, {"subcategory": np.float32([0.3, 0.7])})]
    assert computed(ClassMetric("accuracy"), "category", pictures) == 0
    assert computed(AttributeMetric("overall_f1", THRESHOLD), "attributes", pictures) == 0


@pytest.mark.parametrize("name", ["overall_recall", "product_overall_f1"])
def test_an_attribute_that_training_never_saw_is_a_miss(pictures, name):
    """Its label after Transform is what it was; only the Example says that there is more."""
    metric = AttributeMetric(name, THRESHOLD)
    known = sum(labels["attributes"].sum() for _, labels, _ in pictures)

    def recounted(more: int) -> float:
        sums = {}
        for computation in metric.computations(output_names=["attributes"]):
            if isinstance(computation, metric_types.DerivedMetricComputation):
                [value] = computation.result(sums).values()
                return value
            accumulator = computation.combiner.create_accumulator()
            for element in elements(pictures):
                own = int(element.get_labels("", "attributes").sum()) + more
                element.features[features.ATTRIBUTES] = np.array([b"a"] * own, object)
                accumulator = computation.combiner.add_input(accumulator, element)
            sums |= computation.combiner.extract_output(accumulator)
        raise AssertionError("nothing was derived")

    as_ever = recounted(0)
    assert as_ever == pytest.approx(computed(metric, "attributes", pictures))
    if name == "overall_recall":
        assert recounted(2) == pytest.approx(as_ever * known / (known + 2 * len(pictures)))
    else:
        assert recounted(2) < as_ever
