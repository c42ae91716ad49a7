import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.corpus.clicks.ctr import (
    Prior,
    fit_prior,
    group_counts,
    read_prior,
    score,
    smoothed,
    wilson,
    write_prior,
)
from r2d2.corpus.config import RankConfig
from r2d2.errors import R2D2Error

SEVERAL = settings(max_examples=60, deadline=None)
priors = st.builds(Prior, st.floats(0.01, 100), st.floats(0.01, 1000))
outcomes = st.integers(0, 10**6).flatmap(
    lambda n: st.tuples(st.integers(0, n), st.just(n))  # clicks, looks
)


def one(function, clicks, looks, *rest):
    return float(function(np.array([float(clicks)]), np.array([float(looks)]), *rest)[0])


@given(outcomes, priors)
@SEVERAL
def test_smoothing_rises_with_clicks_and_falls_with_looks(outcome, prior):
    clicks, looks = outcome
    here = one(smoothed, clicks, looks + 1, prior)
    assert one(smoothed, clicks + 1, looks + 1, prior) > here
    assert one(smoothed, clicks, looks + 2, prior) < here


@given(outcomes, priors)
@SEVERAL
def test_smoothed_lies_between_prior_mean_and_raw_rate(outcome, prior):
    clicks, looks = outcome
    raw = clicks / looks if looks else prior.mean
    found = one(smoothed, clicks, looks, prior)
    low, high = sorted((raw, prior.mean))
    assert low - 1e-12 <= found <= high + 1e-12


@given(outcomes)
@SEVERAL
def test_wilson_is_below_the_raw_rate_and_rises_with_clicks(outcome):
    clicks, looks = outcome
    found = one(wilson, clicks, looks + 1, 0.95)
    assert 0 <= found <= clicks / (looks + 1) + 1e-12
    assert one(wilson, clicks + 1, looks + 1, 0.95) > found


def test_wilson_against_published_interval():
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 15 of 148, at 95%
    assert one(wilson, 81, 263, 0.95) == pytest.approx(0.2553, abs=5e-5)
    assert one(wilson, 15, 148, 0.95) == pytest.approx(0.0624, abs=5e-5)


def test_few_looks_do_not_beat_many():
    rng = np.random.default_rng(0)
    looks = rng.geometric(0.05, 5000).astype(float)
    clicks = rng.binomial(looks.astype(int), rng.beta(0.8, 15, 5000)).astype(float)
    prior = fit_prior(clicks, looks)
    for method in ("bayes", "wilson"):
        few, many = score(
            np.array([1.0, 900.0]), np.array([1.0, 1000.0]), RankConfig(method=method), prior
        )
        assert few < many


def test_clicks_are_looks_whatever_the_position():
    assert one(smoothed, 5, 2.5, Prior(1, 9)) == pytest.approx(6 / 15)
    assert one(wilson, 5, 2.5, 0.95) == one(wilson, 5, 5, 0.95)


def naive_likelihood(clicks, looks, counts, a, b):
    def log_beta(x, y):
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    return sum(
        w * (log_beta(a + c, b + n - c) - log_beta(a, b))
        for c, n, w in zip(clicks, looks, counts, strict=True)
    )


def test_fit_is_where_the_twin_is_highest():
    rng = np.random.default_rng(1)
    looks = rng.integers(1, 40, 3000).astype(float)
    clicks = rng.binomial(looks.astype(int), rng.beta(0.5, 9, 3000)).astype(float)
    prior = fit_prior(clicks, looks)
    grouped = group_counts(clicks, looks)
    best = naive_likelihood(*grouped, prior.alpha, prior.beta)
    for a, b in ((1.03, 1), (0.97, 1), (1, 1.03), (1, 0.97), (1.03, 1.03), (0.97, 0.97)):
        assert naive_likelihood(*grouped, prior.alpha * a, prior.beta * b) < best


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 9.5), (2, 50), (5, 3), (0.1, 2), (20, 400)])
def test_fit_recovers_the_prior_of_simulated_clicks(alpha, beta):
    rng = np.random.default_rng(2)
    looks = 1 + rng.geometric(0.05, 100_000)
    clicks = rng.binomial(looks, rng.beta(alpha, beta, len(looks)))
    prior = fit_prior(clicks.astype(float), looks.astype(float))
    assert prior.mean == pytest.approx(alpha / (alpha + beta), rel=0.02)
    assert prior.alpha == pytest.approx(alpha, rel=0.15)


@given(st.lists(outcomes, max_size=30))
@SEVERAL
def test_fit_ends_with_a_usable_prior_and_does_not_see_the_order(rows):
    clicks, looks = (np.array([float(row[i]) for row in rows]) for i in (0, 1))
    prior = fit_prior(clicks, looks)
    assert 0 < prior.alpha < math.inf
    assert 0 < prior.beta < math.inf
    assert fit_prior(clicks[::-1], looks[::-1]) == prior


@pytest.mark.parametrize(
    ("clicks", "looks"),
    [(0, 10), (10, 10), (0, 10**9), (10**9, 10**10), (1, 1), (0, 1), (5, 10), (0, 0)],
)
@pytest.mark.parametrize("pairs", [1, 1000])
def test_fit_holds_at_the_extremes(clicks, looks, pairs):
    prior = fit_prior(np.full(pairs, float(clicks)), np.full(pairs, float(looks)))
    raw = clicks / looks if looks else 0.5
    assert abs(prior.mean - raw) < (0.25 if pairs == 1 or looks == 1 else 0.01)
    assert one(smoothed, clicks, looks, prior) == pytest.approx(raw, abs=0.2)


def test_counts_stand_for_repeated_pairs():
    clicks, looks = np.array([0.0, 2.0, 1.0]), np.array([4.0, 5.0, 3.0])
    counts = np.array([3.0, 1.0, 2.0])
    long = np.repeat(np.arange(3), counts.astype(int))
    assert fit_prior(clicks, looks, counts) == fit_prior(clicks[long], looks[long])


def test_prior_on_disk(tmp_path):
    write_prior(tmp_path / "prior.json", Prior(0.1 + 0.2, 1e-7))
    assert read_prior(tmp_path / "prior.json") == Prior(0.1 + 0.2, 1e-7)
    with pytest.raises(R2D2Error, match="holds no prior"):
        read_prior(tmp_path / "other.json")
