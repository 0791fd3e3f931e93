"""Intervals and p-values equal SciPy's or hand arithmetic; the bootstrap draws as it says."""

import math

import numpy as np
import pytest
from scipy import sparse, stats

from components.judge.intervals import (
    Bootstrap,
    clopper_pearson_upper,
    holm,
    normal_p,
    paired_difference,
    paired_difference_p,
    percentile_interval,
    products_to_settle,
    share_p,
    wilson,
)

COUNTS = [(0, 1), (1, 1), (0, 40), (40, 40), (78, 78), (39, 48), (158, 196), (3461, 3936), (1, 9)]

# Units that count for both shares, only the first, only the second, neither.
TABLES = [(36, 12, 2, 0), (14, 5, 0, 22), (700, 20, 45, 235), (3300, 90, 130, 416), (9, 0, 0, 3)]


def ratio(sums):
    part, whole = sums[..., 0], sums[..., 1]
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def shares(right):
    return np.column_stack([right, np.ones(len(right))]).astype(float)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.999])
def test_wilsons_interval_is_scipys(confidence):
    for right, n in COUNTS:
        expected = stats.binomtest(right, n).proportion_ci(confidence, "wilson")
        assert wilson(right / n, n, confidence) == pytest.approx(tuple(expected), abs=1e-9)


def test_wilsons_interval_takes_arrays_and_shares_of_no_whole_number_of_products():
    right, n = np.array(COUNTS).T
    low, high = wilson(right / n, n, 0.95)
    for position, (k, of) in enumerate(COUNTS):
        assert (low[position], high[position]) == wilson(k / of, of, 0.95)
    # The limits solve (p - share)^2 n = z^2 p (1 - p).
    for limit in wilson(0.9, 30.5, 0.95):
        z = stats.norm.ppf(0.975)
        assert (limit - 0.9) ** 2 * 30.5 == pytest.approx(z**2 * limit * (1 - limit))


def test_all_or_none_are_as_many_as_there_can_be():
    n = np.arange(1, 2000)
    assert (wilson(0.0, n, 0.95)[0] == 0).all()
    assert (wilson(1.0, n, 0.95)[1] == 1).all()


def test_nothing_is_known_of_a_share_of_no_products():
    assert wilson(math.nan, 0, 0.95) == (0, 1)
    assert share_p(math.nan, 0, 0.9, "below") == share_p(math.nan, 0, 0.9, "above") == 1
    difference, low, high = paired_difference(0, 0, 0, 0, 0.95)
    assert math.isnan(difference) and (low, high) == (-1, 1)
    assert paired_difference_p(0, 0, 0, 0, -0.01, "below") == 1
    assert clopper_pearson_upper(0, 0, 0.95) == 1


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_a_confidence_that_is_none_is_refused(confidence):
    for interval in (
        lambda: wilson(0.5, 10, confidence),
        lambda: paired_difference(1, 1, 1, 1, confidence),
        lambda: percentile_interval(4, np.arange(9.0), confidence),
    ):
        with pytest.raises(ValueError, match=f"between 0 and 1, such as .95, found {confidence}"):
            interval()


def test_the_p_value_of_a_share_is_the_score_tests():
    # (.88 - .9) / sqrt(.9 x .1 / 900) = -2
    assert share_p(0.88, 900, 0.9, "below") == pytest.approx(stats.norm.cdf(-2))
    assert share_p(0.88, 900, 0.9, "above") == pytest.approx(stats.norm.cdf(2))


def test_the_p_value_of_a_share_is_small_where_the_bound_is_outside_of_the_interval():
    bounds = np.linspace(0.01, 0.99, 99)
    for right, n in COUNTS:
        for confidence in (0.8, 0.95):
            low, high = wilson(right / n, n, confidence)
            level = (1 - confidence) / 2
            below, above = (share_p(right / n, n, bounds, side) for side in ("below", "above"))
            assert ((below < level) == (high < bounds)).all()
            assert ((above < level) == (low > bounds)).all()


def test_a_share_is_surely_below_1_when_one_product_is_wrong_and_never_when_none_is():
    assert share_p(0.99, 100, 1, "below") == 0
    assert share_p(1.0, 100, 1, "below") == 1
    assert share_p(0.01, 100, 0, "above") == 0
    assert share_p(0.0, 100, 0, "above") == 1


def newcombe(both, only_first, only_second, neither, confidence=0.95):
    """Written out from the paper's formulas, and SciPy's Wilson limits."""
    n = both + only_first + only_second + neither
    rights = both + only_first, both + only_second
    (l1, u1), (l2, u2) = (
        stats.binomtest(right, n).proportion_ci(confidence, "wilson") for right in rights
    )
    p1, p2 = (right / n for right in rights)
    product = math.prod(rights) * math.prod(n - right for right in rights)
    numerator = both * neither - only_first * only_second
    if numerator > n / 2:
        numerator -= n / 2
    elif numerator >= 0:
        numerator = 0
    phi = numerator / math.sqrt(product) if product else 0
    below = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return p1 - p2, p1 - p2 - math.sqrt(below), p1 - p2 + math.sqrt(above)


def test_the_paired_difference_is_newcombes():
    generator = np.random.default_rng(1)
    drawn = generator.multinomial(200, generator.dirichlet([3, 0.3, 0.3, 1], 40)).tolist()
    for table in [*TABLES, *drawn]:
        for confidence in (0.8, 0.95):
            expected = newcombe(*table, confidence)
            assert paired_difference(*table, confidence) == pytest.approx(expected, abs=1e-9)


def test_published_tables_have_their_published_intervals():
    # Altman et al. 2000, Statistics with Confidence, table 6.2: 12 %, from 1 % to 23 %.
    assert paired_difference(14, 5, 0, 22, 0.95) == pytest.approx((0.122, 0.011, 0.226), abs=5e-4)
    # All right twice: each share's interval has the width z^2 / (54 + z^2), and phi is 0.
    width = stats.norm.ppf(0.975) ** 2
    width /= 54 + width
    assert paired_difference(54, 0, 0, 0, 0.95) == pytest.approx((0, -width, width))


def test_two_models_that_differ_nowhere_are_not_known_to_be_the_same():
    for both, neither in ((50, 50), (99, 1), (100, 0), (0, 100)):
        difference, low, high = paired_difference(both, 0, 0, neither, 0.95)
        assert difference == 0
        assert -0.05 < low < 0 < high < 0.05
        assert low == pytest.approx(-high)
        assert paired_difference_p(both, 0, 0, neither, -0.05, "below") > 0.97


def test_the_p_value_of_a_difference_is_where_the_interval_ends_at_the_bound():
    for table in TABLES:
        difference = paired_difference(*table, 0.95)[0]
        for bound in difference + np.array([-0.02, -0.01, 0.003, 0.02]):
            below, above = (
                float(paired_difference_p(*table, bound, side)) for side in ("below", "above")
            )
            assert below + above == pytest.approx(1)
            confidence = 1 - 2 * min(below, above)
            _, low, high = paired_difference(*table, confidence)
            assert (high if bound > difference else low) == pytest.approx(bound, abs=1e-6)


def test_the_p_value_of_a_difference_rises_as_the_bound_falls():
    bounds = np.linspace(-1, 1, 401)
    for table in TABLES:
        below = paired_difference_p(*table, bounds, "below")
        assert below.min() >= 0 and below.max() <= 1
        assert (np.diff(below) <= 0).all()
        assert (np.diff(paired_difference_p(*table, bounds, "above")) >= 0).all()


def test_many_tables_are_compared_at_once():
    columns = np.array(TABLES).T
    differences = paired_difference(*columns, 0.95)
    p_values = paired_difference_p(*columns, -0.01, "below")
    for position, table in enumerate(TABLES):
        expected = paired_difference(*table, 0.95)
        assert [of[position] for of in differences] == pytest.approx(expected)
        assert p_values[position] == pytest.approx(
            paired_difference_p(*table, -0.01, "below"), rel=1e-9
        )


@pytest.mark.parametrize("share", [0.6, 0.88, 0.95])
def test_wilsons_interval_covers_as_often_as_it_says(share):
    generator = np.random.default_rng(3)
    right = generator.binomial(400, share, 20_000)
    low, high = wilson(right / 400, 400, 0.95)
    assert 0.93 < ((low <= share) & (share <= high)).mean() < 0.97


@pytest.mark.parametrize("cells", [(0.83, 0.05, 0.03, 0.09), (0.6, 0.1, 0.1, 0.2)])
def test_newcombes_interval_covers_as_often_as_it_says(cells):
    generator = np.random.default_rng(4)
    tables = generator.multinomial(800, cells, 20_000).T
    _, low, high = paired_difference(*tables, 0.95)
    true = cells[1] - cells[2]
    assert 0.93 < ((low <= true) & (true <= high)).mean() < 0.97


def test_a_regression_that_is_none_is_found_as_seldom_as_is_said():
    generator = np.random.default_rng(5)
    tables = generator.multinomial(800, (0.83, 0.04, 0.05, 0.08), 20_000).T
    p_values = paired_difference_p(*tables, -0.01, "below")
    for level in (0.01, 0.025, 0.1):
        assert 0.6 * level < (p_values < level).mean() < 1.2 * level


def test_the_upper_bound_of_errors_is_scipys_exact_one():
    for errors, n in COUNTS:
        expected = stats.binomtest(errors, n, alternative="less").proportion_ci(0.95, "exact")
        assert clopper_pearson_upper(errors, n, 0.95) == pytest.approx(expected.high, abs=1e-9)


def test_149_without_an_error_are_enough_for_98_percent():
    # .98^148 > .05 > .98^149
    bounds = clopper_pearson_upper(np.zeros(2), np.array([148, 149]), 0.95)
    assert bounds[0] > 0.02 > bounds[1]
    assert clopper_pearson_upper(12, 1000, 0.95) == pytest.approx(0.0194, abs=5e-5)
    assert clopper_pearson_upper(42, 2800, 0.95) == pytest.approx(0.0194, abs=5e-5)
    assert clopper_pearson_upper(44, 2800, 0.95) == pytest.approx(0.0202, abs=5e-5)


def test_the_bootstraps_spread_of_a_share_is_the_analytic_one():
    generator = np.random.default_rng(6)
    right = generator.random(2000) < 0.88
    values = Bootstrap(np.arange(2000), 4000).values(shares(right), ratio)
    share = right.mean()
    # 4,000 replicates know a standard deviation to 1.1 %.
    assert values.std() == pytest.approx(math.sqrt(share * (1 - share) / 2000), rel=0.05)
    assert values.mean() == pytest.approx(share, abs=1e-3)
    assert percentile_interval(share, values, 0.95) == pytest.approx(
        wilson(share, 2000, 0.95), abs=2e-3
    )


def test_products_that_look_alike_share_their_fate():
    generator = np.random.default_rng(7)
    right = generator.random(300) < 0.7
    once = Bootstrap(np.arange(300)).values(shares(right), ratio)
    twice = Bootstrap(np.repeat(np.arange(300), 2)).values(shares(np.repeat(right, 2)), ratio)
    apart = Bootstrap(np.arange(600)).values(shares(np.repeat(right, 2)), ratio)
    assert twice == pytest.approx(once)
    assert apart.std() == pytest.approx(once.std() / math.sqrt(2), rel=0.1)


def test_the_weights_are_poissons_and_the_same_whenever_they_are_drawn():
    groups = np.array(["b", "a", "c", "a"] * 500)
    drawn, again = Bootstrap(groups, seed=3), Bootstrap(groups[::-1], seed=3)
    assert drawn.weights.shape == (3, 1000) and drawn.weights.dtype == np.uint8
    assert (drawn.weights == again.weights).all()
    assert (drawn.weights != Bootstrap(groups, seed=4).weights).any()
    many = Bootstrap(np.arange(1000)).weights
    share = np.bincount(many.ravel(), minlength=6)[:6] / many.size
    assert share == pytest.approx(stats.poisson.pmf(np.arange(6), 1), abs=2e-3)


def test_a_slices_weights_are_those_of_the_whole():
    generator = np.random.default_rng(8)
    sums = generator.random((500, 2))
    groups = generator.integers(0, 200, 500)
    chosen = groups % 3 == 0
    bootstrap = Bootstrap(groups, 50)

    def total(of):
        return of[..., 0]

    whole = bootstrap.values(sums, total)
    parts = [bootstrap.values(sums, total, of) for of in (chosen, ~chosen)]
    assert parts[0] + parts[1] == pytest.approx(whole)
    weights = bootstrap.weights[bootstrap.group]
    assert parts[0] == pytest.approx(weights[chosen].T @ sums[chosen, 0])


def test_sparse_sums_and_several_figures_give_the_same_as_one_by_one(monkeypatch):
    generator = np.random.default_rng(9)
    sums = generator.random((300, 5)) * (generator.random((300, 5)) < 0.3)
    chosen = generator.random(300) < 0.5
    bootstrap = Bootstrap(generator.integers(0, 100, 300), 64)
    expected = [bootstrap.values(sums, lambda of, at=at: of[..., at], chosen) for at in range(5)]
    # In blocks of seven replicates.
    monkeypatch.setattr("components.judge.intervals._BLOCK_CELLS", 7 * 100)
    found = bootstrap.values(sparse.csr_array(sums), lambda of: of, chosen)
    assert found == pytest.approx(np.column_stack(expected))


def test_replicates_that_drew_nothing_are_left_out():
    bootstrap = Bootstrap(np.arange(3), 1000)
    right = shares(np.array([True, False, True]))
    for chosen, share in (([True, True, True], math.exp(-3)), ([True, False, False], 1 / math.e)):
        values = bootstrap.values(right, ratio, np.array(chosen))
        assert np.isnan(values).mean() == pytest.approx(share, abs=0.05)
        assert not np.isnan(percentile_interval(0.5, values, 0.95)).any()
    nobody = bootstrap.values(right, ratio, np.zeros(3, bool))
    assert np.isnan(nobody).all()
    assert np.isnan(percentile_interval(0.5, nobody, 0.95)).all()
    assert np.isnan(percentile_interval(math.nan, values, 0.95)).all()
    assert normal_p(0.5, nobody, 0.9, "below") == 1


def test_fewer_than_half_of_the_replicates_tell_no_interval():
    values = np.r_[np.arange(50.0), np.full(50, np.nan)]
    assert percentile_interval(24.5, values, 0.8) == pytest.approx((4.9, 44.1))
    assert np.isnan(percentile_interval(24.5, np.r_[values, np.nan], 0.8)).all()


def test_an_interval_lies_around_its_figure_however_far_its_replicates_are_off():
    values = np.linspace(0.5, 0.7, 101)
    low, high = percentile_interval(0.5, values, 0.9)
    assert (low, high) == pytest.approx((0.41, 0.59))
    # Of figures in [0, 1] nothing beyond them; of others nothing is known.
    assert percentile_interval(0.02, values, 0.9)[0] == 0
    assert percentile_interval(0.97, np.append(values, 0.99), 0.9)[1] == 1
    assert percentile_interval(1.5, values, 0.9)[1] == pytest.approx(1.59)
    assert percentile_interval(-0.05, values, 0.9) == pytest.approx((-0.14, 0.04))


def test_a_macro_figures_interval_has_it_though_rare_classes_are_often_not_drawn():
    """Of 100 classes 80 have one product each, never recognized; the others are always right."""
    classes = np.r_[np.repeat(np.arange(20), 20), np.arange(20, 100)]
    sums = np.zeros((len(classes), 200))
    sums[np.arange(len(classes)), classes] = 1
    right = classes < 20
    sums[np.flatnonzero(right), 100 + classes[right]] = 1

    def macro(of):
        drawn = of[..., :100] > 0
        recall = np.divide(of[..., 100:], of[..., :100], where=drawn, out=np.zeros(drawn.shape))
        return recall.sum(-1) / drawn.sum(-1)

    values = Bootstrap(np.arange(len(classes))).values(sums, macro)
    figure = float(macro(sums.sum(0)))
    # Some 37 % of the single products are not drawn, so no replicate is as low as the figure.
    assert figure == 0.2 < values.min()
    low, high = percentile_interval(figure, values, 0.95)
    assert low < figure < high


def test_sums_of_other_products_are_refused():
    with pytest.raises(ValueError, match="of 4 products, and was given sums of 3; hand it all"):
        Bootstrap(np.arange(4)).values(np.ones((3, 2)), ratio)


def test_the_p_value_of_a_figure_may_be_less_than_any_count_of_replicates():
    values = np.array([0.79, 0.81] * 500)
    error = np.std(values, ddof=1)
    assert normal_p(0.8, values, 0.84, "below") == pytest.approx(stats.norm.cdf(-0.04 / error))
    assert normal_p(0.8, values, 0.84, "below") < 1 / 1001
    assert normal_p(0.8, values, 0.79, "above") == pytest.approx(stats.norm.sf(0.01 / error))


def test_a_figure_without_spread_is_beyond_the_bound_or_is_not():
    values = np.full(1000, 0.1)
    assert normal_p(0.1, values, 0.2, "below") == normal_p(0.1, values, 0.0, "above") == 0
    assert normal_p(0.1, values, 0.1, "below") == normal_p(0.1, values, 0.1, "above") == 1
    assert normal_p(math.nan, values, 0.2, "below") == 1


def test_holms_procedure_is_the_one_that_was_published():
    # 4 x .005, 3 x .01, then 2 x .03 and, not less than that, 1 x .04.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.6])).tolist() == [1, 1]
    assert holm(np.array([])).tolist() == []


def test_holms_procedure_rejects_step_by_step_until_one_is_not_rejected():
    generator = np.random.default_rng(10)
    for _ in range(50):
        p_values = generator.random(12) ** 4
        rejected = set()
        for step, at in enumerate(np.argsort(p_values)):
            if p_values[at] > 0.05 / (12 - step):
                break
            rejected.add(at)
        assert set(np.flatnonzero(holm(p_values) <= 0.05)) == rejected


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.5])
def test_what_is_no_p_value_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"a p-value is in \[0, 1\], found {wrong}"):
        holm(np.array([0.2, wrong]))


def test_four_times_the_products_halve_the_interval():
    assert products_to_settle(200, 0.01, 0.02) == 800
    assert products_to_settle(200, -0.01, 0.02) == 800
    # 48 x (.11 / .012)^2 = 4033.3
    assert products_to_settle(48, 0.012, 0.11) == 4100
    # 5 x 1.5^2 = 11.25, and 3 x 1.1^2 = 3.63
    assert products_to_settle(5, 0.02, 0.03) == 12
    assert products_to_settle(3, 1.0, 1.1) == 4
    # .07 / .01 is a little more than 7, and these are 4,900 all the same.
    assert products_to_settle(100, 0.01, 0.07) == 4900
    assert products_to_settle(200, 0.0, 0.02) is None
    assert products_to_settle(200, 0.01, math.nan) is None
