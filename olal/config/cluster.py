"""ClusterConfig: the Ray cluster a run stands on."""

from __future__ import annotations

from pydantic import Field

from olal.config.base import Section


class ClusterConfig(Section):
    """How Ray is started and waited for."""

    placement_timeout_s: float = Field(default=20.0, gt=0)
    """Seconds the actors may wait for their place before the run is refused."""
    dashboard: bool = True
    """Whether a Ray started here serves its dashboard."""
    dashboard_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the dashboard; null takes the first free one from 8265 on."""
    stall_timeout_s: float = Field(default=60.0, gt=0)
    """Seconds without a finished episode or update after which the run says who waits for whom."""
