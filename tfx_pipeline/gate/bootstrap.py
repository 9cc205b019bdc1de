"""Metrics of rows drawn again by user."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix

from keras_models.metrics import auc_by_group

_SEED = 20_220_816
"""Fixed: the same rows and scores get the same verdict."""

_WIDTH = 64
"""Draws at once: a user's counts are then a few cache lines."""


_BLOCK = 256
"""Users whose weights float32 adds up."""


class UserBootstrap:
    """Draws users with replacement; all rows of a user count as often as the user is drawn.

    Rows of one user are alike, so that rows drawn one by one would look more certain than they
    are. Whatever is computed uses the same draws: differences between models are paired, and cells
    and tasks are drawn together. The first of the D + 1 results is that of the rows as they are.

    It holds 4 bytes a user and draw.

    Args:
      users: Whose row it is, [R]; any type that sorts.
      draws: D.

    Reference: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
    """

    def __init__(self, users: ArrayLike, draws: int):
        self.user, names = pd.factorize(np.asarray(users), sort=True)
        """Index of each row's user, [R]; sorted by name, so that the rows' order does not count."""
        number = len(names)
        rng = np.random.default_rng(_SEED)
        self._counts = []
        for start in range(0, 1 + draws, _WIDTH):
            width = min(_WIDTH, 1 + draws - start)
            drawn = [np.bincount(rng.integers(number, size=number)) for _ in range(width)]
            counts = np.zeros([number, width], np.float32)
            for i, times in enumerate(drawn):
                counts[: len(times), i] = times
            self._counts.append(counts)
        self._counts[0][:, 0] = 1

    def sums(self, user: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Sums over the rows.

        Args:
          user: Part of `self.user`, [B].
          columns: [B, K].

        Returns:
          float64 [K, 1 + D].
        """
        number = len(self._counts[0])
        present = np.flatnonzero(np.bincount(user, minlength=number))
        by_user = np.stack([np.bincount(user, c, minlength=number)[present] for c in columns.T])
        # In blocks, so that float32 adds up few numbers; and no BLAS, whose threads cost more here
        # than they do, most of all on a machine that has other work.
        columns_of = np.tile(present, len(by_user))
        starts = np.arange(0, len(present), _BLOCK)
        starts = (starts + len(present) * np.arange(len(by_user))[:, None]).ravel()
        starts = np.r_[starts, by_user.size]
        blocks = csr_matrix(
            (by_user.astype(np.float32).ravel(), columns_of, starts),
            shape=(len(starts) - 1, number),
        )
        drawn = [
            (blocks @ counts).reshape(len(by_user), -1, counts.shape[1]).sum(1, dtype=np.float64)
            for counts in self._counts
        ]
        found = np.concatenate(drawn, axis=1)
        # The rows as they are keep all digits.
        found[:, 0] = by_user.sum(axis=1)
        return found

    def auc(self, user: np.ndarray, positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Area under the ROC curve, exact, ties count half.

            AUC = sum over positives i and negatives j of
                  w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (sum of w_i)(sum of w_j)

        where w is how often a row's user is drawn. The rows are sorted once, and cut into steps of
        some negatives and the positives that follow; what a draw needs is the weight of both in
        each step, a product of a sparse matrix with the users' counts.

        Args:
          user: Part of `self.user`, [B].
          positive: bool [B].
          scores: [B].

        Returns:
          float64 [1 + D], NaN where a class is missing.
        """
        # Of equal scores negatives come first, and so count as won; half of them is taken off.
        order = np.lexsort((positive, scores))
        user, positive, scores = user[order], positive[order], scores[order]
        # Cut to length, for there may be no rows.
        step = np.cumsum(np.r_[False, positive[:-1] & ~positive[1:]])[: len(scores)]
        negatives = self._by_step(step[~positive], user[~positive])
        positives = self._by_step(step[positive], user[positive])
        tie = np.cumsum(np.r_[False, scores[1:] != scores[:-1]])[: len(scores)]
        mixed = np.isin(tie, np.intersect1d(tie[positive], tie[~positive]))
        _, tie = np.unique(tie[mixed], return_inverse=True)
        tied_negatives = self._by_step(tie[~positive[mixed]], user[mixed & ~positive])
        tied_positives = self._by_step(tie[positive[mixed]], user[mixed & positive])
        found = []
        for counts in self._counts:
            below, above = negatives @ counts, positives @ counts
            below = np.cumsum(below, axis=0, dtype=np.float64)
            won = np.einsum("sd,sd->d", below[: len(above)], above)
            if len(tie):
                of_negatives = (tied_negatives @ counts).astype(np.float64)
                won -= np.einsum("sd,sd->d", of_negatives, tied_positives @ counts) / 2
            pairs = below[-1] * above.sum(axis=0, dtype=np.float64) if len(below) else 0 * won
            found.append(np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0))
        return np.concatenate(found)

    def gauc(self, user: np.ndarray, positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Mean of the users' AUCs, weighted by their rows: `keras_models.metrics.gauc`.

        Args:
          user: Part of `self.user`, [B].
          positive: bool [B].
          scores: [B].

        Returns:
          float64 [1 + D], NaN where no user that was drawn has both classes.
        """
        judged, aucs, rows = auc_by_group(positive, scores, user)
        weighted, weights = self.sums(judged, np.stack([aucs * rows, rows], axis=1))
        return ratio(weighted, weights)

    def _by_step(self, step: np.ndarray, user: np.ndarray) -> csr_matrix:
        """[steps, users]: how many rows a user has in each step; `step` ascends."""
        starts = np.r_[0, np.cumsum(np.bincount(step))] if len(step) else np.zeros(1, np.int64)
        ones = np.ones(len(user), np.float32)
        return csr_matrix((ones, user, starts), shape=(len(starts) - 1, len(self._counts[0])))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient, NaN where `below` is not above 0."""
    return np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
