"""Find out before `ray.init` what it would take minutes to say, or say wrongly: the address, the token, the machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from olal.errors import ClusterError

_TIMEOUT_S = 5.0


def check_address(target: str) -> None:
    """Look at the head node's port.

    Args:
        target: HOST:PORT, or auto, which Ray looks up by itself.

    Raises:
        ClusterError: another kind of address, a token that the cluster does not take, or a machine outside it.
        OSError: nothing listens there.
    """
    if target == "auto":
        return
    host, _, port = target.rpartition(":")
    if "://" in target:
        raise ClusterError(
            "an address is HOST:PORT of the head node's Ray port, or auto; to a dashboard's URL a job is submitted, "
            f"with cluster/submit.py or `ray job submit`: {target}"
        )
    if not host or not port.isdigit():
        raise ClusterError(f"an address is HOST:PORT of the head node's Ray port, or auto: {target}")
    socket.create_connection((host, int(port)), timeout=_TIMEOUT_S).close()
    check_token(target, auth_token(os.environ, Path.home()))
    check_membership(target)


def auth_token(environ: Mapping[str, str], home: Path) -> str | None:
    """The token that Ray authenticates with, found as Ray finds it; None where token authentication is off."""
    if environ.get("RAY_AUTH_MODE") != "token":
        return None
    if environ.get("RAY_AUTH_TOKEN"):
        return environ["RAY_AUTH_TOKEN"]
    try:
        return Path(environ.get("RAY_AUTH_TOKEN_PATH") or home / ".ray" / "auth_token").read_text().strip()
    except OSError:
        return None


def check_token(target: str, token: str | None) -> None:
    """Ask the cluster for its id, the cheapest question that needs the token.

    Raises:
        ClusterError: the cluster does not take the token, or wants one.
    """
    try:
        import grpc
        from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc
    except ImportError:  # internal to Ray; without it ray.init finds the same in 20 seconds
        return
    headers = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            question = gcs_service_pb2.GetClusterIdRequest()  # pyright: ignore[reportAttributeAccessIssue]
            stub.GetClusterId(question, metadata=headers, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            if getattr(error, "code", lambda: None)() != grpc.StatusCode.UNAUTHENTICATED:
                return  # whatever else it is, ray.init has the words for it
            what = "the cluster does not take this token" if token else "the cluster wants a token"
            raise ClusterError(
                f"{what}; set RAY_AUTH_MODE=token and copy the head node's ~/.ray/auth_token to the same "
                f"place here: {target}"
            ) from None


def check_membership(target: str) -> None:
    """A driver runs on a node of its cluster.

    Raises:
        ClusterError: no Ray node runs on this machine.
    """
    try:
        from ray._private.services import find_node_ids
    except ImportError:  # internal to Ray; without it ray.init finds the same in a minute
        return
    if not find_node_ids():
        raise ClusterError(
            "this machine is no node of the cluster; run the command on one of its nodes, or submit it from here as a "
            f"job (cluster/README.md): {target}"
        )
