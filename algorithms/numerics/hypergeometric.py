"""How many events each group would have, had all the same hazard."""

from __future__ import annotations

import numpy as np

from cohortium.quantities import Array


def hypergeometric(at_risk: Array, events: Array) -> tuple[Array, Array]:
    """Expected events and their covariance from people at risk and events, (groups, times).

    Source: Mantel (1966), Cancer Chemother Rep 50:163.
    """
    n, d = at_risk.sum(axis=0), events.sum(axis=0)
    share = at_risk / np.maximum(n, 1.0)
    spread = np.where(n > 1, d * (n - d) / np.maximum(n - 1.0, 1.0), 0.0)
    return share @ d, np.diag(share @ spread) - (share * spread) @ share.T
