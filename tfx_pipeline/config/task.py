"""The tasks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tfx_pipeline.config.section import Positive, Section
from transforms.labels import ExpressionError
from transforms.task_labels import Label


class TaskConfig(Section):
    """One prediction task. See docs/models/losses.md."""

    label: str = Field(
        description="Expression over log columns. Of a binary task the condition that a positive "
        "meets, for example `play_time_ms >= 0.5 * duration_ms`; of another kind a number. See "
        "docs/reference/expressions.md."
    )
    kind: Literal["binary", "regression", "multiclass", "ranking"] = Field(
        "binary",
        description="What the label is: a condition; any number; a class, as a whole number from "
        "0; a relevance among the rows of one request (`data.request`), as a condition or a number "
        "from 0.",
    )
    classes: int | None = Field(
        None, ge=2, description="Number of classes; of `multiclass` tasks, which need it, only."
    )
    space: str | None = Field(
        None,
        description="Condition of the task's sample space: other rows, and those where it is "
        "missing, are neither in its loss nor in its evaluation. Default: all rows.",
    )
    after: str | None = Field(
        None,
        description="Task whose positives alone can be positives of this one. With `model.head: "
        "esmm` this one is predicted through it, over all rows.",
    )
    weight: Positive = Field(1.0, description="Weight of the task's loss in the first epoch.")
    gamma: Positive = Field(
        1.0,
        description="What the weight is multiplied by from epoch to epoch, until "
        "`model.loss.decay_epochs`.",
    )
    ranking_loss: Literal["pairwise", "listwise"] = Field(
        "pairwise", description="Loss of a `ranking` task, over pairs or requests in a batch."
    )
    engagement: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="What a label of 1 adds, beside the 1 of every occurrence, to the scores that "
        "decide which keys keep their embedding rows. Of binary and ranking tasks only.",
    )
    true_probability: str | None = Field(
        None,
        description="Column with the true probability of a binary label, where it is known "
        "(simulated logs). The report then prints the AUC ceiling beside the AUC.",
    )

    @property
    def labelling(self) -> Label:
        """How its label is read, in the terms of `transforms`."""
        return Label(self.label, self.kind, self.classes, self.space)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> TaskConfig:
        if (self.kind == "multiclass") != (self.classes is not None):
            raise ValueError(
                f"classes: found {self.classes}; expected a number of classes for a multiclass "
                f"task and none for others, and this one is of kind {self.kind}"
            )
        if self.engagement and self.kind not in ("binary", "ranking"):
            raise ValueError(
                f"engagement: found {self.engagement}; expected 0, for labels of a {self.kind} "
                "task are no counts"
            )
        if self.true_probability is not None and self.kind != "binary":
            raise ValueError(
                f"true_probability: found `{self.true_probability}`; expected it of a binary task "
                f"only, and this one is of kind {self.kind}"
            )
        return self

    @model_validator(mode="after")
    def _expressions_parse(self) -> TaskConfig:
        wrong = []
        for name, key in (("label", "expression"), ("space", "space_expression")):
            try:
                getattr(self.labelling, key)
            except ExpressionError as error:
                wrong.append(f"{name}: {error}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self
