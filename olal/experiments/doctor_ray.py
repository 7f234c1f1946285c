"""How Ray authenticates, and which cluster a run would join if it is told nothing; found without importing Ray."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from olal.experiments.finding import Finding


def check_auth(environ: Mapping[str, str], home: Path) -> Finding:
    """Whether clients and clusters started on this machine agree on token authentication.

    With no mode set, a cluster started here takes the token file where there is one, but a client does not: it is
    turned away with the code 401.
    """
    mode = environ.get("RAY_AUTH_MODE", "")
    token_path = Path(environ.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token")
    has_token = bool(environ.get("RAY_AUTH_TOKEN")) or token_path.is_file()
    value = f"RAY_AUTH_MODE {mode or 'not set'}, {'a' if has_token else 'no'} token"
    if mode == "token" and not has_token:
        advice = "`ray get-auth-token --generate` makes a token; a remote cluster needs the token it was started with"
        return Finding("Ray auth", value, "warn", advice)
    if not mode and has_token:
        advice = "set RAY_AUTH_MODE=token here and on every node, or ray job submit is refused with 401"
        return Finding("Ray auth", value, "warn", advice)
    return Finding("Ray auth", value, "ok")


def check_cluster(environ: Mapping[str, str]) -> Finding:
    """Which cluster a run joins if no --address is given."""
    address = environ.get("RAY_ADDRESS", "")
    if address:
        if _may_answer(address):
            return Finding("Ray cluster", f"{address} (RAY_ADDRESS)", "ok")
        advice = "nothing answers there; start that cluster or unset RAY_ADDRESS"
        return Finding("Ray cluster", f"{address} (RAY_ADDRESS)", "warn", advice)
    root = Path(environ.get("RAY_TMPDIR") or "/tmp") / "ray"
    try:
        local = (root / "ray_current_cluster").read_text().strip()
    except OSError:
        local = ""
    if local and _may_answer(local):
        return Finding("Ray cluster", f"{local} (running on this machine)", "ok")
    return Finding("Ray cluster", "none", "ok", "not needed: olal launch starts one")


def _may_answer(address: str, timeout_s: float = 1.0) -> bool:
    """Whether a port answers; an address that is not HOST:PORT gets the benefit of the doubt."""
    host, _, port = address.rpartition("//")[2].rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        return True
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s):
            return True
    except OSError:
        return False
