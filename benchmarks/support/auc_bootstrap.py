"""AUC and GAUC of rows drawn again by user."""

from __future__ import annotations

import numpy as np


class ClusterBootstrap:
    """Draws users with replacement; a row counts as often as its user is drawn.

    The first draw is the rows as they are. All figures use the same draws, so that differences
    between models are paired.

    Args:
      users: [R], whose row it is.
      draws: How many.
      seed: Of the draws.
    """

    def __init__(self, users: np.ndarray, draws: int, seed: int):
        _, self._user = np.unique(users, return_inverse=True)
        number = self._user.max() + 1
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=draws)
        self._counts = np.concatenate([np.ones([1, number], drawn.dtype), drawn]).astype(np.float64)

    def auc(self, labels: np.ndarray, scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """AUC of the rows under a mask, by draw: float64 [1 + draws]; NaN without both classes.

        Args:
          labels: [R], 0 or 1.
          scores: [R].
          mask: bool [R].
        """
        labels, scores, user = labels[mask] > 0, scores[mask], self._user[mask]
        order = np.argsort(scores, kind="stable")
        _, tie = np.unique(scores[order], return_inverse=True)
        starts = np.flatnonzero(np.r_[True, tie[1:] != tie[:-1]])
        positive, user = labels[order].astype(np.float64), user[order]
        found = []
        for counts in self._counts:
            weight = counts[user]
            positives = np.add.reduceat(weight * positive, starts)
            negatives = np.add.reduceat(weight * (1 - positive), starts)
            below = np.cumsum(negatives) - negatives / 2
            pairs = positives.sum() * negatives.sum()
            found.append(positives @ below / pairs if pairs else np.nan)
        return np.array(found)

    def gauc(self, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Mean over users of their AUCs, weighted by their rows: float64 [1 + draws].

        Args:
          labels: [R], 0 or 1.
          scores: [R].
        """
        order = np.lexsort((scores, self._user))
        user, positive = self._user[order], labels[order] > 0
        is_new = np.r_[True, (user[1:] != user[:-1]) | (scores[order][1:] != scores[order][:-1])]
        tie = np.cumsum(is_new) - 1
        positives = np.bincount(tie, positive)
        negatives = np.bincount(tie, ~positive)
        of_tie = user[is_new]
        below = np.cumsum(negatives) - negatives / 2
        before = np.r_[0, np.cumsum(np.bincount(of_tie, negatives))][of_tie]
        pairs = np.bincount(of_tie, positives) * np.bincount(of_tie, negatives)
        wins = np.bincount(of_tie, positives * (below - before))
        judged = pairs > 0
        aucs, rows = wins[judged] / pairs[judged], np.bincount(user)[judged]
        weights = self._counts[:, judged] * rows
        return (weights @ aucs) / weights.sum(axis=1)
