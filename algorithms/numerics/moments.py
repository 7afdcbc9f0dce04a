"""Moments of one variable from sums of powers, or from the counts of a yes/no."""

from __future__ import annotations

import math

from cohortium.quantities import Array

MOMENTS = ("mean", "sd", "std_error", "skewness", "kurtosis")


def from_powers(n: float, mean: float, unit: float, powers: Array) -> dict[str, float]:
    """Moments of `n` values from the sums of the first four powers of (x - mean) / unit.

    They are taken about the true mean, which rounding may have put a little beside the one that was broadcast.
    Standard deviation with n - 1; skewness m3 / m2^1.5; excess kurtosis m4 / m2^2 - 3.
    """
    off, second, third, fourth = (float(p) / n for p in powers)
    m2 = max(second - off**2, 0.0)
    m3 = third - 3 * off * second + 2 * off**3
    m4 = fourth - 4 * off * third + 6 * off**2 * second - 3 * off**4
    sd = unit * math.sqrt(m2 * n / (n - 1)) if n > 1 else math.nan
    shape = (m3 / m2**1.5, m4 / m2**2 - 3) if m2 > 0 else (math.nan, math.nan)
    return dict(zip(MOMENTS, (mean + unit * off, sd, sd / math.sqrt(n), *shape), strict=True))


def of_binary(counts: Array) -> dict[str, float]:
    """Moments of a 0/1 variable with these two counts."""
    n, share = float(counts.sum()), float(counts[1] / counts.sum())
    variance = share * (1 - share)
    sd = math.sqrt(variance * n / (n - 1)) if n > 1 else math.nan
    skewness = (1 - 2 * share) / math.sqrt(variance) if variance else math.nan
    kurtosis = (1 - 6 * variance) / variance if variance else math.nan
    return dict(zip(MOMENTS, (share, sd, sd / math.sqrt(n), skewness, kurtosis), strict=True))


def mean_and_sd(n: float, mean: float, unit: float, powers: Array) -> tuple[float, float]:
    """Mean and standard deviation (n - 1) from the sums of the first two powers of (x - mean) / unit."""
    off, second = float(powers[0]) / n, float(powers[1]) / n
    sd = unit * math.sqrt(max(second - off**2, 0.0) * n / (n - 1)) if n > 1 else math.nan
    return mean + unit * off, sd
