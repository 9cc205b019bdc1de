"""A delta: what turns one version of a model into a later one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.delta.policy import Counts, SyncPolicy, table_delta
from serving.delta.refused import MEND, PUSH_WHOLE, DeltaRefusedError
from serving.delta.sync_file import Lineage, Place
from serving.delta.table import TableDelta
from serving.delta.version import Version


@dataclass(frozen=True)
class Delta:
    """What turns a version, the parent, into a later one.

    Args:
      parent: Digest of the version that it changes.
      parent_place: Where that stands.
      result: Digest of the version that it makes.
      place: Where that stands.
      lineage: Of both.
      graph: `saved_model.pb` of the later one, whole.
      object_graph: Likewise.
      variables: Those that differ, each whole, by name.
      tables: What changes of each table.
      extra: Files beside the later one, by their paths under `assets.extra/`.
      about: Further things that are known of the later one, as JSON has them.
    """

    parent: str
    parent_place: Place
    result: str
    place: Place
    lineage: Lineage
    graph: bytes
    object_graph: bytes
    variables: Mapping[str, np.ndarray]
    tables: Mapping[str, TableDelta]
    extra: Mapping[str, bytes]
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its file: the whole version that its chain begins with, and its number in that."""
        return f"{self.place.whole}-{self.place.sequence:03d}.delta"

    def apply(self, parent: Version, where: str) -> Version | None:
        """The later version, or None where the parent is it, or came of it.

        Args:
          parent: The version that it is for.
          where: What an error calls that.

        Raises:
          DeltaRefusedError: if it is for another version, or the parent is damaged.
        """
        found = parent.digest()
        if parent.applied and found != parent.applied[-1]:
            raise DeltaRefusedError(
                where, "what is damaged: not what a delta made", f"{parent.applied[-1][:12]}…", MEND
            )
        if self.result in (found, *parent.applied):
            return None
        if found != self.parent:
            self._refuse(parent, where)
        try:
            made = self._apply(parent)
            digest = made.digest()
        except (LookupError, TypeError, ValueError) as error:
            raise DeltaRefusedError(
                self.name,
                f"rows that do not fit the version that it is for ({error})",
                "those of one model",
                "Find out where it comes from.",
            ) from error
        if digest != self.result:
            raise DeltaRefusedError(
                self.name,
                "a result with another digest than its maker had",
                f"{self.result[:12]}…",
                f"Make the delta again, with the same version of this package. {PUSH_WHOLE}",
            )
        return made

    def _apply(self, parent: Version) -> Version:
        return Version(
            graph=self.graph,
            object_graph=self.object_graph,
            variables={**parent.variables, **self.variables},
            tables={path: self.tables[path].apply(t) for path, t in parent.tables.items()},
            assets=parent.assets,
            lineage=self.lineage,
            place=self.place,
            applied=(*parent.applied, self.result),
        )

    def _refuse(self, parent: Version, where: str) -> None:
        expected = f"the version that delta {self.name} was made of: {_standing(self.parent_place)}"
        if parent.lineage != self.lineage:
            found = f"a version of another lineage: {difference(parent.lineage, self.lineage)}"
            remedy = PUSH_WHOLE
        elif _chain(parent.place) == _chain(self.parent_place):
            found = (
                f"another one, {_standing(parent.place)} too, of other content, or a damaged one"
            )
            remedy = PUSH_WHOLE
        else:
            found = f"one that is {_standing(parent.place)}"
            remedy = f"Apply the deltas of a chain in order, each once. Or: {PUSH_WHOLE.lower()}"
        raise DeltaRefusedError(where, found, expected, remedy)


def make_delta(
    parent: Version,
    candidate: Version,
    policy: SyncPolicy,
    *,
    number: int,
    where: str,
    extra: Mapping[str, bytes] | None = None,
    about: Mapping[str, Any] | None = None,
) -> tuple[Delta, Counts]:
    """What a version needs to become like a candidate, as far as the policy lets it.

    Args:
      parent: What is served.
      candidate: A whole version, of the same lineage and no older.
      policy: Which embedding rows go along; all else does.
      number: The parent's, as a version.
      where: What an error calls the candidate.
      extra: Files beside the candidate, by their paths under `assets.extra/`.
      about: What else is known of the candidate.

    Returns:
      The delta, and how many rows it has.

    Raises:
      DeltaRefusedError: if the two have not enough in common.
    """
    _check_comparable(parent, candidate, where)
    tables, counts = {}, []
    for (path, served), trained in zip(
        parent.tables.items(), candidate.tables.values(), strict=True
    ):
        tables[path], count = table_delta(served, trained, policy, candidate.place.day)
        counts.append(count)
    whole = number if parent.place.whole is None else parent.place.whole
    place = Place(candidate.place.day, parent.place.sequence + 1, whole)
    delta = Delta(
        parent=parent.digest(),
        parent_place=replace(parent.place, whole=whole),
        result="",
        place=place,
        lineage=parent.lineage,
        graph=candidate.graph,
        object_graph=candidate.object_graph,
        variables={
            name: values
            for name, values in candidate.variables.items()
            if not _same(values, parent.variables[name])
        },
        tables=tables,
        extra=extra or {},
        about=about or {},
    )
    return replace(delta, result=delta._apply(parent).digest()), Counts.total(counts)


def difference(one: Lineage, other: Lineage) -> str:
    """In which respect two lineages differ."""
    if one.transform_graph != other.transform_graph:
        return "another transform graph"
    if one.fields != other.fields:
        return "other embedded columns"
    return "another cold start"


def _check_comparable(parent: Version, candidate: Version, where: str) -> None:
    if candidate.place.sequence:
        found, expected = f"one that is {_standing(candidate.place)}", "a whole version"
    elif candidate.lineage != parent.lineage:
        found = f"a model of {difference(candidate.lineage, parent.lineage)}"
        expected = "one that was trained on from where the served one was"
    elif candidate.place.day < parent.place.day:
        found = f"a model that has seen days up to {candidate.place.day}"
        expected = f"one no older than the served one, {parent.place.day}"
    elif _layout(candidate) != _layout(parent):
        found = f"other variables: {', '.join(sorted(_layout(candidate) ^ _layout(parent))[:3])}"
        expected = "those of the served model"
    elif candidate.assets != parent.assets:
        found, expected = "other files under assets/", "those of the served model"
    else:
        return
    raise DeltaRefusedError(where, found, expected, PUSH_WHOLE)


def _layout(version: Version) -> set[str]:
    """What two versions between which there is a delta have to have in common."""
    found = {f"{name} {values.dtype}" for name, values in version.variables.items()}
    for path, table in version.tables.items():
        values, scales = table.rows.values, "" if table.rows.scales is None else " with scales"
        found.add(f"{path} {values.dtype} x {values.shape[1]}{scales}")
    return found


def _chain(place: Place) -> tuple[int, int | None]:
    # A whole version does not know its number.
    return place.sequence, place.whole if place.sequence else None


def _standing(place: Place) -> str:
    if not place.sequence:
        return "a whole version" if place.whole is None else f"whole version {place.whole}"
    return f"{place.sequence} deltas after whole version {place.whole}"


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether arrays of one type are the same, bit by bit."""
    return one.shape == other.shape and one.tobytes() == other.tobytes()
