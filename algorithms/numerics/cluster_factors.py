"""What a linear mixed model needs of a cohort's clusters, worked out once and kept at the node.

Per cluster the random-effects columns are factorised, Z = Q R with orthonormal Q, and C = [X, y, 1] is split into
Q'C (kept per cluster) and the remainder C - QQ'C, whose cross-products add up over all clusters. As
V^-1 = (I - QQ') + Q (I + R Psi R')^-1 Q' for a relative covariance Psi, every likelihood follows from these without a
difference of large numbers, however strong the clustering. A cluster takes q (q + columns) numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from algorithms.numerics.clusters import ClusterBlock
from cohortium.data import Data
from cohortium.quantities import Array

# A direction of Z whose part of its own within a cluster is smaller than this is rounding.
NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Factors:
    """`remainder` (w, w) has the cross-products of C - QQ'C; `blocks` has R and Q'C, per block of clusters.

    R has shape (q, q, clusters), Q'C (q, w, clusters); `sizes` are the rows of every cluster.
    """

    rows: int
    clusters: int
    remainder: Array
    blocks: tuple[tuple[Array, Array], ...]
    sizes: Array


def factorise(blocks: Iterable[ClusterBlock], columns: Callable[[Data], tuple[Array, Array]], width: int) -> Factors:
    """The factors of a cohort; `columns` gives C (width, rows) and Z (q, rows) of a block."""
    remainder, kept, rows, clusters = np.zeros((width, width)), [], 0, 0
    sizes = [np.zeros(0)]
    for block in blocks:
        c, z = columns(block.rows)
        sizes.append(block.sizes)
        rows, clusters = rows + len(block.rows), clusters + len(block.starts)
        if len(z):
            q, r = _orthonormal(block, z)
            projected, of = np.stack([block.sums(direction * c) for direction in q]), block.of
            c = c - sum(direction * f[:, of] for direction, f in zip(q, projected, strict=True))
            kept.append((r, projected))
        remainder += c @ c.T
    return Factors(rows, clusters, remainder, tuple(kept), np.concatenate(sizes))


def _orthonormal(block: ClusterBlock, z: Array) -> tuple[Array, Array]:
    """Q (q, rows) and R (q, q, clusters) by Gram and Schmidt, twice for safety; dependent directions become zero."""
    q, r, of = np.zeros_like(z), np.zeros((len(z), len(z), len(block.starts))), block.of
    for j, column in enumerate(z):
        left, size = column, np.sqrt(block.sums(column * column))
        for i in [*range(j), *range(j)]:
            along = block.sums(q[i] * left)
            r[i, j] += along
            left = left - along[of] * q[i]
        own = np.sqrt(block.sums(left * left))
        own = np.where(own > NEGLIGIBLE * size, own, 0.0)
        r[j, j] = own
        with np.errstate(divide="ignore"):
            q[j] = np.where(own > 0, 1.0 / own, 0.0)[of] * left
    return q, r


@dataclass(frozen=True)
class ThetaTerms:
    """C'V^-1C (w, w) and log|V| at one Psi = LL', and their derivatives by the elements of L, row by row."""

    products: Array
    slopes: Array
    logdet: float
    logdet_slopes: Array


def theta_terms(factors: Factors, cholesky: Array) -> ThetaTerms:
    """Sums over clusters at the relative Cholesky factor `cholesky`, shape (q, q)."""
    q, w = len(cholesky), len(factors.remainder)
    products, logdet = factors.remainder.copy(), 0.0
    # Derivatives by Psi first: sums over clusters of P_a P_b' with P = R'M^-1 Q'C, and of R'M^-1 R.
    by_psi, weight = np.zeros((q, q, w, w)), np.zeros((q, q))
    for r, projected in factors.blocks:
        scaled = np.einsum("ijg,jk->ikg", r, cholesky)
        m = np.einsum("ikg,jkg->ijg", scaled, scaled)
        m[range(q), range(q)] += 1.0
        factor = _cholesky(m)
        logdet += 2.0 * sum(float(np.sum(np.log(factor[i, i]))) for i in range(q))
        half, half_r = _forward(factor, projected), _forward(factor, r)
        products += sum(h @ h.T for h in half)
        weight += sum(h @ h.T for h in half_r)
        solved = _backward(factor, half)
        p = [sum(r[i, a] * solved[i] for i in range(q)) for a in range(q)]
        for a in range(q):
            for b in range(a + 1):
                by_psi[a, b] += p[a] @ p[b].T
    for a in range(q):
        for b in range(a):
            by_psi[b, a] = by_psi[a, b].T
    directions = [_direction(cholesky, i, j) for i in range(q) for j in range(i + 1)]
    slopes = np.array([-np.einsum("ab,abvw->vw", d, by_psi) for d in directions]).reshape(-1, w, w)
    return ThetaTerms(products, slopes, logdet, np.array([float(np.sum(weight * d)) for d in directions]))


def cluster_weights(factors: Factors, cholesky: Array) -> Array:
    """How V^-1 weighs the clusters, each by its trace: rows less directions of Z, and trace (I + R Psi R')^-1."""
    if not factors.blocks:
        return factors.sizes
    weights, q = [], len(cholesky)
    for r, _ in factors.blocks:
        scaled = np.einsum("ijg,jk->ikg", r, cholesky)
        m = np.einsum("ikg,jkg->gij", scaled, scaled) + np.eye(q)
        directions = np.count_nonzero(r[range(q), range(q)] > 0, axis=0)
        # A direction that a cluster lacks has an R of 0, and 1 in the inverse.
        weights.append(np.trace(np.linalg.inv(m), axis1=1, axis2=2) - (q - directions) - directions)
    return np.asarray(factors.sizes + np.concatenate(weights))


def _direction(cholesky: Array, i: int, j: int) -> Array:
    """The derivative of LL' by the element (i, j) of L."""
    unit = np.zeros_like(cholesky)
    unit[i, j] = 1.0
    return np.asarray(unit @ cholesky.T + cholesky @ unit.T)


def _cholesky(m: Array) -> Array:
    """Lower factors of positive definite matrices (q, q, clusters), all clusters at once."""
    q, factor = len(m), np.zeros_like(m)
    for j in range(q):
        for i in range(j, q):
            left = m[i, j] - sum(factor[i, k] * factor[j, k] for k in range(j))
            factor[i, j] = np.sqrt(left) if i == j else left / factor[j, j]
    return factor


def _forward(factor: Array, right: Array) -> list[Array]:
    """Solutions of `factor` x = `right` (q, w, clusters), as q arrays of shape (w, clusters)."""
    found: list[Array] = []
    for i in range(len(factor)):
        left = right[i] - sum(factor[i, j] * found[j] for j in range(i))
        found.append(left / factor[i, i])
    return found


def _backward(factor: Array, right: list[Array]) -> list[Array]:
    """Solutions of the transposed `factor` x = `right`, as `_forward` returns them."""
    q = len(factor)
    found = [right[0]] * q
    for i in reversed(range(q)):
        left = right[i] - sum(factor[j, i] * found[j] for j in range(i + 1, q))
        found[i] = left / factor[i, i]
    return found
