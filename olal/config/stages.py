"""StageConfig: one stage of a run that learns in several ways, one after the other."""

from __future__ import annotations

from pydantic import Field

from olal.config.base import Section
from olal.config.learner import AnyLearner


class StageConfig(Section):
    """A learner and how long it learns. The adapter carries over to the next stage, the optimizer starts afresh."""

    learner: AnyLearner
    """The learner of this stage; a critic carries over to the next stage that has the same kind of critic."""
    updates: int = Field(ge=1)
    """Learner updates of this stage."""
