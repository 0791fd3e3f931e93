"""Gates hold where a model is surely worse, and not where chance alone says so."""

import numpy as np
import pytest
from scipy import stats

from components.judge import gates, judgement
from components.judge.answers import Judged, masks
from components.judge.gates import Gate, Products, guards, judge, metric_names
from components.judge.measures import Answers, AttributeAnswers, ClassAnswers
from schema.errors import UserError

SLICES = ("Women", "Men", "Girls")


def class_answers(right: np.ndarray, truth: np.ndarray | None = None) -> ClassAnswers:
    """Answers that are right or not; the truth is class 0 where nothing else is said."""
    truth = np.zeros(len(right), np.int64) if truth is None else truth
    count = len(right)
    return ClassAnswers(
        ["Top", "Bag", "Shoe"],
        truth,
        np.where(right, truth, 1).astype(np.int64),
        np.full(count, 0.9),
        np.where(right, 1, 2),
        np.where(right, 0.02, 1.6),
    )


def products(candidate, last=None, slices=None, groups=None, **more) -> Products:
    """What two models say of products by category, each right or not."""
    count = len(candidate)
    return Products(
        Judged(
            Answers({"category": class_answers(np.asarray(candidate, bool))}),
            None if last is None else Answers({"category": class_answers(np.asarray(last, bool))}),
            np.arange(count).astype(str) if groups is None else groups,
            {} if slices is None else {"gender": masks(np.asarray(slices))},
            () if slices is None else ("gender",),
        ),
        **more,
    )


def mostly(share: float, count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(count) < share


def test_a_candidate_that_is_better_overall_and_much_worse_on_one_slice_is_refused() -> None:
    slices = np.repeat(["Women", "Men", "Girls"], [2000, 1500, 60])
    last, candidate = mostly(0.88, 3560, 1), mostly(0.88, 3560, 1)
    # Of the wrong ones it has mended a third; of the girls' it has lost half.
    candidate[np.flatnonzero(~candidate[:3500])[::3]] = True
    girls = np.flatnonzero(slices == "Girls")
    candidate[girls[::2]] = False
    assert candidate.mean() > last.mean()
    lines = judge(guards([], ["category"]), products(candidate, last, slices))
    told = judgement.Judgement(tuple(lines))
    assert not told.blessed
    [refused] = [line for line in lines if line.verdict == gates.BLOCKS]
    assert refused.slice == {"gender": "Girls"}
    before, after = last[girls].mean(), candidate[girls].mean()
    assert (refused.products, refused.last, refused.figure) == (60, before, after)
    [said] = told.failures
    assert said.startswith(
        f"category/accuracy of gender Girls is {after:.3f}, fell by {before - after:.3f} against "
        "the last blessed model [-.".replace("0.", ".")
    )
    assert said.endswith("at most .010 worse allowed; on 60 products")


def test_slices_that_are_worse_by_chance_alone_pass() -> None:
    refused = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        slices = generator.choice([f"s{number}" for number in range(40)], 4000)
        # The same model but for a twentieth of its answers, which are drawn anew.
        last = generator.random(4000) < 0.88
        candidate = np.where(generator.random(4000) < 0.05, generator.random(4000) < 0.88, last)
        lines = judge(guards([], ["category"]), products(candidate, last, slices))
        worse = [line for line in lines if line.slice and line.figure < line.last - 0.01]
        assert len(worse) > 2
        refused += not gates.blessed(lines)
    assert refused <= 2


@pytest.mark.parametrize(
    ("blocks", "right", "verdict"),
    [
        # Of 100 products; Wilson's interval of .86 is [.779, .915], of .80 [.711, .867].
        ("by_figure", 90, gates.PASSES),
        ("by_figure", 89, gates.BLOCKS),
        ("when_surely_beyond", 86, gates.PASSES),
        ("when_surely_beyond", 80, gates.BLOCKS),
        ("unless_surely_within", 94, gates.BLOCKS),
        ("unless_surely_within", 97, gates.PASSES),
    ],
)
def test_what_blocks_is_the_figure_or_its_interval(blocks: str, right: int, verdict: str) -> None:
    low, high = stats.binomtest(right, 100).proportion_ci(method="wilson")
    expected = {
        "by_figure": right < 90,
        "when_surely_beyond": high < 0.9,
        "unless_surely_within": low < 0.9,
    }
    assert (verdict == gates.BLOCKS) == expected[blocks]
    gate = Gate("category/accuracy", at_least=0.9, blocks=blocks)
    [line] = judge([gate], products(np.arange(100) < right))
    assert line.verdict == verdict
    assert line.interval == pytest.approx((low, high))
    assert (line.figure, line.products, line.where) == (right / 100, 100, "all products")


def test_a_bound_that_is_met_exactly_is_met() -> None:
    for right in range(1, 99):
        least = Gate("category/accuracy", at_least=right / 100)
        worse = Gate("category/accuracy", at_most_worse=1 / 100)
        candidate, last = np.arange(100) < right, np.arange(100) < right + 1
        assert gates.blessed(judge([least, worse], products(candidate, last)))
        assert not gates.blessed(judge([worse], products(candidate, np.arange(100) < right + 2)))


def test_what_is_better_low_has_its_bound_above_and_rises() -> None:
    candidate, last = np.arange(100) < 80, np.arange(100) < 90
    brier = 0.8 * 0.02 + 0.2 * 1.6
    most, worse = Gate("category/brier", at_most=0.3), Gate("category/brier", at_most_worse=0.1)
    lines = judge([most, worse], products(candidate, last))
    assert [line.verdict for line in lines] == [gates.BLOCKS, gates.BLOCKS]
    assert [line.figure for line in lines] == pytest.approx([brier, brier])
    first, second = judgement.Judgement(tuple(lines)).failures
    assert first.startswith("category/brier is .336 [")
    assert first.endswith("must be at most .300; on 100 products")
    assert "rose by .158 against the last blessed model [" in second
    lines = judge([Gate("category/brier", at_most=0.34), worse], products(last, candidate))
    assert gates.blessed(lines)


def test_products_that_look_alike_count_as_one_for_what_is_sure() -> None:
    right = np.repeat(np.arange(25) < 20, 4)
    gate = Gate("category/accuracy", at_least=0.9, blocks="when_surely_beyond")
    [alone] = judge([gate], products(right))
    [alike] = judge([gate], products(right, groups=np.repeat(np.arange(25), 4).astype(str)))
    assert (alone.verdict, alike.verdict) == (gates.BLOCKS, gates.PASSES)
    assert alike.interval == pytest.approx(
        tuple(stats.binomtest(20, 25).proportion_ci(method="wilson"))
    )
    # The half width must shrink from .911 - .8 to .9 - .8.
    high = alike.interval[1]
    assert alike.settled_by == pytest.approx(100 * ((high - 0.8) / 0.1) ** 2, rel=0.1)


def test_small_slices_say_that_they_are_small_and_never_block() -> None:
    slices = np.repeat(["Women", "Girls"], [100, 29])
    candidate = slices == "Women"
    gate = Gate("category/accuracy", "gender", at_least=0.9, blocks="by_figure")
    girls, women = judge([gate], products(candidate, slices=slices))
    assert (girls.verdict, girls.figure) == (gates.TOO_FEW, 0.0)
    assert women.verdict == gates.PASSES
    assert judgement.sentence(girls).endswith("on 29 products, too few to judge")
    lines = judge([Gate("category/accuracy", at_least=0.9)], products(candidate[:10] & False))
    assert not gates.blessed(lines), "all products together are never too few"


def test_a_slice_that_vanished_warns_and_does_not_block() -> None:
    slices = np.repeat(["Women", "Men"], 50)
    known = {"gender": frozenset({"Women", "Men", "Girls"})}
    gates_of = [
        Gate("category/accuracy", "gender", at_least=0.5),
        Gate("category/accuracy", "gender=Boys", at_least=0.5),
    ]
    lines = judge(gates_of, products(np.ones(100), slices=slices, known_slices=known))
    told = judgement.Judgement(tuple(lines))
    assert told.blessed
    assert told.warnings == [
        "no product of the test part is of gender Girls, so no gate holds there",
        "no product of the test part is of gender Boys, so no gate holds there",
    ]


def test_what_cannot_be_computed_never_blesses() -> None:
    answers = class_answers(np.zeros(5, bool), np.full(5, -2))
    judged = Judged(Answers({"category": answers}), None, np.arange(5).astype(str), {}, ())
    [line] = judge([Gate("category/accuracy", at_least=0.0)], Products(judged))
    assert (line.verdict, line.figure) == (gates.BLOCKS, None)
    assert judgement.sentence(line) == "category/accuracy could not be computed on 0 products"


def test_without_a_last_model_nothing_is_compared_and_that_is_said() -> None:
    lines = judge(guards([], ["category"]), products(np.ones(50), slices=["Women"] * 50))
    assert {line.verdict for line in lines} == {gates.NOT_COMPARED}
    assert judgement.Judgement(tuple(lines)).summary == (
        "0 bounds held against the answers, none blocks, 2 without a last model to compare with"
    )


def test_crosses_are_of_values_that_occur_together() -> None:
    judged = products(np.ones(60), slices=np.repeat(["Women", "Men"], 30)).judged
    shot = np.array(["flat"] * 30 + ["worn"] * 30)
    slices = {**judged.slices, "shot": masks(shot)}
    judged = Judged(judged.candidate, None, judged.groups, slices, ("gender", "shot"))
    lines = judge([Gate("category/accuracy", ("gender", "shot"), at_least=1)], Products(judged))
    assert [line.slice for line in lines] == [
        {"gender": "Men", "shot": "worn"},
        {"gender": "Women", "shot": "flat"},
    ]
    [line] = judge(
        [Gate("category/accuracy", ("gender=Men", "shot"), at_least=1)], Products(judged)
    )
    assert line.where == "gender Men, shot worn"


def test_a_gate_of_ones_own_stands_for_the_guard_on_the_same_figure_and_slices() -> None:
    own = [
        Gate("category/accuracy", "all", at_most_worse=0.1),
        Gate("category/accuracy", at_least=0.9),
        Gate("subcategory/overall_f1", at_most_worse=0.1),
    ]
    left = guards(own, ["category", "subcategory", "attributes"])
    assert [(gate.metric, gate.slices) for gate in left] == [
        ("category/accuracy", "overall"),
        ("subcategory/accuracy", "overall"),
        ("subcategory/accuracy", "all"),
        ("attributes/overall_f1", "overall"),
        ("attributes/overall_f1", "all"),
    ]


def test_the_attributes_are_guarded_by_a_bootstrap_of_both_models() -> None:
    generator = np.random.default_rng(3)
    truth = generator.random((600, 8)) < 0.3
    scores = np.clip(truth * 0.9 + generator.normal(0, 0.2, truth.shape), 0, 1)
    worse = scores.copy()
    worse[:60] = 1 - worse[:60]

    def answers(of: np.ndarray) -> Answers:
        labels = [f"a{number}" for number in range(8)]
        return Answers({"attributes": AttributeAnswers(labels, truth, of, 0.5)})

    slices = {"gender": masks(np.repeat(["Girls", "Women"], [60, 540]))}
    for candidate, blessed in ((worse, False), (scores, True)):
        judged = Judged(
            answers(candidate), answers(scores), np.arange(600).astype(str), slices, ("gender",)
        )
        lines = judge(guards([], ["attributes"]), Products(judged), replicates=300)
        assert gates.blessed(lines) == blessed
        overall, girls, women = lines
        assert women.verdict == gates.PASSES
        assert (girls.verdict == gates.PASSES) == blessed


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Gate("category/acc", at_least=1), "the metric category/acc, which cannot be asked"),
        (
            Gate("category/accuracy", "age", at_least=1),
            "the slice age, which there is not; there are gender",
        ),
    ],
)
def test_a_gate_on_what_there_is_not_is_named(gate: Gate, said: str) -> None:
    with pytest.raises(UserError, match=said):
        judge([gate], products(np.ones(5), slices=["Women"] * 5))


def test_the_metrics_that_can_be_named_are_those_that_are_computed() -> None:
    named = metric_names(["category", "subcategory", "attributes"], several_pictures=True)
    assert {"category/accuracy", "subcategory/tree_distance", "attributes/r_precision"} <= {*named}
    assert {"category/product_accuracy", "attributes/product_overall_f1"} <= {*named}
    assert "gender/accuracy" not in named
    assert "category/product_accuracy" not in metric_names(["category"], False)


def test_a_verdict_is_read_back_as_it_was_written(tmp_path) -> None:
    slices = np.repeat(["Women", "Men", "Girls"], [100, 40, 5])
    gates_of = [Gate("category/accuracy", at_least=0.9), *guards([], ["category"])]
    lines = judge(gates_of, products(mostly(0.9, 145, 1), mostly(0.9, 145, 2), slices))
    told = judgement.Judgement(tuple(lines), {"a/b": {"value": 0.5}}, {"gender": {}})
    judgement.write(told, tmp_path)
    assert judgement.read(tmp_path) == told
    (tmp_path / "judgement.json").write_text('{"version": 9}')
    with pytest.raises(UserError, match="another version"):
        judgement.read(tmp_path)
    (tmp_path / "judgement.json").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        judgement.read(tmp_path)


def test_digits_are_added_until_value_and_bound_differ() -> None:
    gate = Gate("category/accuracy", at_least=0.95)
    [line] = judge([gate], products(np.arange(30_000) < 28_499))
    assert "is .94997 [" in judgement.sentence(line)
    assert "must be at least .95000;" in judgement.sentence(line)
