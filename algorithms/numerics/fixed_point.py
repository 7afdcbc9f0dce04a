"""Solving x = g(x) where one evaluation of g costs a round."""

from __future__ import annotations

import numpy as np

from cohortium.quantities import Array

MEMORY = 5


class Anderson:
    """Anderson's mixing (1965, J ACM 12:547): the next x from the last few, as if g were linear between them.

    `weight` (k, k) scales the residual g(x) - x, so that its elements can be compared.
    """

    def __init__(self, weight: Array) -> None:
        self._weight = weight
        self._residuals: list[Array] = []
        self._images: list[Array] = []

    def next(self, x: Array, image: Array) -> Array:
        """Where to evaluate g next, given that g(x) = `image`."""
        self._residuals = [*self._residuals, self._weight @ (image - x)][-MEMORY:]
        self._images = [*self._images, image][-MEMORY:]
        if len(self._images) == 1:
            return image
        steps = np.diff(np.array(self._residuals), axis=0).T
        mix = np.linalg.lstsq(steps, self._residuals[-1], rcond=1e-10)[0]
        return np.asarray(image - np.diff(np.array(self._images), axis=0).T @ mix)
