"""Comparable click-through rates: smoothed by a Beta prior that is fitted to the log.

A pair was clicked c times in n looks. The rates of a log are assumed to be distributed as
Beta(alpha, beta), so c is beta-binomial, and alpha and beta maximise the marginal likelihood. The
posterior mean of a pair's rate is (c + alpha) / (n + alpha + beta): 1 click of 1 look stays near
the mean of the log, 900 of 1,000 near 0.9.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from r2d2.corpus.config import RankConfig
from r2d2.errors import R2D2Error
from r2d2.extras import require
from r2d2.files import write_text

Floats = npt.NDArray[np.float64]

# log(alpha) and log(beta) are themselves normal about 0: as much as one pair, which a log outvotes;
# without it all-zero clicks, or one look a pair, would leave them without a maximum.
SPREAD = 3.0
TERMS = 1 << 18  # distinct outcomes that the fit looks at at once


@dataclass(frozen=True)
class Prior:
    """What is known of a pair's click-through rate before its first look: Beta(alpha, beta)."""

    alpha: float = 1.0
    beta: float = 1.0

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.alpha / (self.alpha + self.beta)


def looks(clicks: Floats, examined: Floats) -> Floats:
    """At least as many as clicks: what was clicked was looked at, whatever the position's share."""
    return np.maximum(clicks, examined)


def smoothed(clicks: Floats, examined: Floats, prior: Prior) -> Floats:
    """Mean of the rate given clicks and looks, (n,): between the prior's mean and clicks / looks.

    More clicks raise it, more looks lower it.
    """
    return (clicks + prior.alpha) / (looks(clicks, examined) + prior.alpha + prior.beta)


def wilson(clicks: Floats, examined: Floats, confidence: float) -> Floats:
    """Lower bound (n,) of Wilson's two-sided interval for the rate; 0 without a look.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    n = looks(clicks, examined)
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    # multiplied by n throughout: no division by zero; rounding may pass 0 by a hair
    root = np.sqrt(z2 * (clicks * (n - clicks) / np.maximum(n, 1e-300) + z2 / 4))
    return np.maximum((clicks + z2 / 2 - root) / (n + z2), 0.0)


def score(clicks: Floats, examined: Floats, config: RankConfig, prior: Prior) -> Floats:
    """The rate by which pairs are ranked, (n,): smoothed, or Wilson's bound.

    Args:
        clicks: of each pair, (n,).
        examined: impressions, each weighted by the chance that its position is looked at, (n,).
        config: the method.
        prior: from `fit_prior`.
    """
    if config.method == "wilson":
        return wilson(clicks, examined, config.confidence)
    return smoothed(clicks, examined, prior)


def fit_prior(clicks: Floats, examined: Floats, counts: Floats | None = None) -> Prior:
    """The Beta prior under which the counts are likeliest.

    Both are sought by their logarithms, from the moments' estimate. A log that tells nothing of a
    parameter (no click at all, one look a pair, no pair) leaves it moderate.

    Args:
        clicks: of each pair, (n,).
        examined: looks at each pair, (n,); pairs without one say nothing.
        counts: how many pairs came out so, (n,); 1 each if not given.
    """
    clicks, examined, counts = group_counts(clicks, examined, counts)
    n = looks(clicks, examined)
    seen = n > 0
    clicks, n, counts = clicks[seen], n[seen], counts[seen]
    scale = max(1.0, float(counts.sum()))  # so that the solver's tolerance is one for all logs

    def value(place: Floats) -> tuple[float, Floats]:
        derivatives = _posterior(place, clicks, n, counts)
        return -derivatives[0] / scale, -derivatives[1] / scale

    def bend(place: Floats) -> Floats:
        return -_posterior(place, clicks, n, counts)[2] / scale

    start = np.log(_moments(clicks, n, counts))
    optimize = require("corpus", "scipy.optimize", "building a corpus")
    optimum = optimize.minimize(value, start, jac=True, hess=bend, method="trust-exact",
                              options={"gtol": 1e-10})  # fmt: skip
    return Prior(*np.exp(optimum.x).tolist())


def group_counts(
    clicks: Floats, examined: Floats, counts: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """Distinct (clicks, looks) in order, and how many pairs have each: all that a fit needs."""
    pairs = np.asarray(clicks, dtype=np.float64) + 1j * np.asarray(examined, dtype=np.float64)
    distinct, place = np.unique(pairs, return_inverse=True)
    total = np.bincount(place, counts, minlength=len(distinct)).astype(np.float64)
    return distinct.real.copy(), distinct.imag.copy(), total


def write_prior(path: Path, prior: Prior) -> None:
    """Keep a prior as JSON."""
    write_text(path, json.dumps(asdict(prior)))


def read_prior(path: Path) -> Prior:
    """What `write_prior` wrote; R2D2Error where it is not there."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Prior(float(record["alpha"]), float(record["beta"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise R2D2Error(
            f"{path} holds no prior: remove its folder, and the build makes it anew"
        ) from error


def _moments(clicks: Floats, n: Floats, counts: Floats) -> Floats:
    """A start for the fit: alpha and beta (2,) from mean and variance of the rates."""
    pairs = counts.sum()
    if pairs == 0:
        return np.ones(2)
    # np.sum, not @: what a library sums depends on its threads, and with it the last digits
    mean = np.clip((np.sum(counts * clicks) + 0.5) / (np.sum(counts * n) + 1), 1e-6, 1 - 1e-6)
    noise = mean * (1 - mean) * np.sum(counts / n) / pairs
    excess = np.sum(counts * (clicks / n - mean) ** 2) / pairs - noise
    strength = np.clip(mean * (1 - mean) / max(excess, 1e-12) - 1, 0.1, 1e4)
    start: Floats = np.array([mean, 1 - mean]) * strength
    return start


def _posterior(
    place: Floats, clicks: Floats, n: Floats, counts: Floats
) -> tuple[float, Floats, Floats]:
    """Log posterior of (log alpha, log beta), its slope (2,) and its second derivatives (2, 2)."""
    a, b = np.exp(place)
    ends = np.array([a, b, a + b])
    # log gamma, its first and its second derivative, each for a, b and a + b
    sums = -counts.sum() * np.stack(_log_gamma(ends))
    for start in range(0, len(counts), TERMS):
        chunk = slice(start, start + TERMS)
        c, looked, count = clicks[chunk], n[chunk], counts[chunk]
        for column, x in enumerate((a + c, b + looked - c, a + b + looked)):
            sums[:, column] += [np.sum(count * f) for f in _log_gamma(x)]
    log, first, second = sums
    slope = np.array([a * (first[0] - first[2]), b * (first[1] - first[2])])
    bend = -a * b * second[2] * np.ones((2, 2))
    bend[0, 0] = a * a * (second[0] - second[2]) + slope[0]
    bend[1, 1] = b * b * (second[1] - second[2]) + slope[1]
    value = float(log[0] + log[1] - log[2] - place @ place / (2 * SPREAD**2))
    return value, slope - place / SPREAD**2, bend - np.eye(2) / SPREAD**2


def _log_gamma(x: Floats) -> tuple[Floats, Floats, Floats]:
    """The logarithm of the gamma function, digamma and trigamma (Hurwitz's zeta of 2)."""
    special = require("corpus", "scipy.special", "building a corpus")
    return special.gammaln(x), special.digamma(x), special.zeta(2.0, x)
