"""Which answers of a model have to be the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_models.heads.fusion import SCORE
from serving.example_requests import one_users_examples, ranking_matrices
from serving.ranking_signatures import RANK, SCORE_ITEMS, USER_EMBEDDING
from serving.signatures import CLASSIFY, REGRESS, REQUEST_COLUMNS, SERVING_DEFAULT
from serving.warmup import Request, write_requests
from tfx_pipeline.scoring import score

Outputs = Mapping[str, np.ndarray]

_ONE_USER = "serving_default of one user"


@dataclass(frozen=True)
class Asked:
    """Requests about the same rows, each under a name.

    Args:
      requests: By name.
      by_python: What TensorFlow in Python says to some of them, by the same names.
    """

    requests: dict[str, Request]
    by_python: dict[str, Outputs]

    @property
    def names(self) -> list[str]:
        """In the order in which they are written."""
        return list(self.requests)

    def write(self, path: str) -> None:
        """Writes the requests."""
        write_requests(path, self.requests.values())


def answers_to_compare(model: tf.Module, examples: Sequence[bytes]) -> Asked:
    """Asks a model through all of its signatures.

    Args:
      model: A loaded SavedModel of ours.
      examples: Raw rows, as serialized tf.Examples: asked about as they are where a signature
        takes examples; the others are asked about all their candidates for one of their users.
    """
    columns = {
        kind: [name.decode() for name in names.numpy()]
        for kind, names in model.signatures[REQUEST_COLUMNS]().items()
    }
    rows = np.array(examples, object)
    requests: dict[str, Request] = {SERVING_DEFAULT: (SERVING_DEFAULT, {"examples": rows})}
    by_python: dict[str, Outputs] = {SERVING_DEFAULT: score(model, rows)}
    for name in (CLASSIFY, REGRESS):
        if name in model.signatures:
            requests[name] = (name, {"inputs": rows})
    if RANK in model.signatures:
        one_user = one_users_examples(examples, columns)
        requests[_ONE_USER] = (SERVING_DEFAULT, {"examples": np.array(one_user, object)})
        user = ranking_matrices(one_user, columns, ("user", "history"))
        items = ranking_matrices(one_user, columns, ("item",))
        context = ranking_matrices(one_user, columns, ("context",))
        embed = model.signatures[USER_EMBEDDING]
        embedded = embed(**{name: tf.constant(value) for name, value in user.items()})
        by_python[USER_EMBEDDING] = {name: value.numpy() for name, value in embedded.items()}
        halves = by_python[USER_EMBEDDING]
        requests[RANK] = (RANK, {**user, **items})
        requests[USER_EMBEDDING] = (USER_EMBEDDING, user)
        requests[SCORE_ITEMS] = (SCORE_ITEMS, {**halves, **context, **items})
    return Asked(requests, by_python)


def comparisons(
    outputs: Mapping[str, Outputs], by_python: Mapping[str, Outputs], tasks: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Pairs of arrays that have to be equal, and what they are.

    Args:
      outputs: Answers of the C++ loader, by the request's name.
      by_python: Those of TensorFlow in Python.
      tasks: In the config's order.
    """
    for name, said in by_python.items():
        yield from _each(f"{name}, against TensorFlow in Python", outputs[name], said)
    scored = outputs[SERVING_DEFAULT]
    if CLASSIFY in outputs:
        classes, scores = (outputs[CLASSIFY][part] for part in ("classes", "scores"))
        for column, name in enumerate(classes[0].tolist()):
            expected = scored.get(name.decode(), np.empty(0))
            yield f"{CLASSIFY}, against {SERVING_DEFAULT}", scores[:, column], expected
    if REGRESS in outputs:
        ranks_by = [n for n in (SCORE, *tasks) if n in scored and scored[n].ndim == 1]
        expected = scored[ranks_by[0]] if ranks_by else np.empty(0)
        yield f"{REGRESS}, against {SERVING_DEFAULT}", outputs[REGRESS]["outputs"], expected
    for name in (RANK, SCORE_ITEMS):
        if name in outputs:
            yield from _each(f"{name}, against {_ONE_USER}", outputs[name], outputs[_ONE_USER])


def _each(
    what: str, found: Outputs, expected: Outputs
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    nothing = np.empty(0)
    for name in sorted({*found, *expected}):
        yield what, found.get(name, nothing), expected.get(name, nothing)
