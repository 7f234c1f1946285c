"""Environment variables that Ray reads when it is imported, and so must be set before."""

from __future__ import annotations

import os
from pathlib import Path


def prepare_ray_environment() -> None:
    """Choose what the user has not chosen.

    Usage statistics stay off. Workers are scheduled like any other process: Ray's own niceness, 15, makes every step of
    a rollout wait for the driver and for Ray on a machine whose cores are all in use. Where this user has a token,
    every connection authenticates with it, as `ray start` does: without this a client is refused by the very cluster
    its user started.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    has_token = "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ
    if has_token or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
