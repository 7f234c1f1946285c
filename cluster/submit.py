r"""Run an olal command on a cluster as a Ray job, and follow its log. Needs Ray and the standard library only.

    ray submit cluster/aws.yaml cluster/submit.py -- launch configs/gridworld.yaml --workers 16

`ray submit` copies this one file to the head node and runs it there over SSH. The job belongs to the cluster, not to
the connection: when that drops, training goes on. The exit code is that of the command. Ctrl-C detaches, and pressed
again within five seconds ends the run with a checkpoint.

`ray submit` joins arguments without quoting, so the head node's shell would split, expand or run some of them. Those
are refused here; packed into one word they arrive as they are:

    ray submit cluster/aws.yaml cluster/submit.py -- \
        --packed $(python cluster/submit.py --pack launch configs/gridworld.yaml --set 'env.options.goal=[2, 3]')
"""

import argparse
import asyncio
import base64
import json
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DASHBOARD = "http://127.0.0.1:8265"
UNTOUCHED_BY_A_SHELL = re.compile(r"[A-Za-z0-9_./:=@,+%-]+")
SECOND_THOUGHTS_S = 5.0
PATIENCE_S = 120.0
# The signal that `olal` answers with a checkpoint, and time to write it.
STOPPING = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "600"}
USAGE, CLUSTER, INTERRUPTED = 2, 3, 130


class Refused(Exception):
    """Nothing was submitted; holds the exit code."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


def main(arguments: Sequence[str]) -> int:
    """Submit and follow; returns the exit code."""
    options = parse(arguments)
    if options.pack:
        print(pack(options.command))
        return 0
    try:
        command = command_of(options)
        client = connect(options.address)
        job_id = submit(client, command, options)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    return attend(JobLog(client, job_id))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Options of this file come first; from the first other word on, everything belongs to olal."""
    parser = argparse.ArgumentParser("submit.py", description="Run an olal command on a cluster as a Ray job.")
    parser.add_argument("--address", default=DASHBOARD, help="URL of the dashboard (default: %(default)s)")
    parser.add_argument("--working-dir", help="a directory that the job and every worker get a copy of")
    parser.add_argument("--python", default="python", help="interpreter of the cluster (default: %(default)s)")
    parser.add_argument("--pack", action="store_true", help="print the command as one word for --packed, and stop")
    parser.add_argument("--packed", metavar="WORD", help="the command, as --pack printed it")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what follows `olal`")
    options = parser.parse_args(arguments)
    options.command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if bool(options.command) == bool(options.packed):
        parser.error("name an olal command, such as `launch configs/gridworld.yaml`, or give it by --packed")
    return options


def command_of(options: argparse.Namespace) -> list[str]:
    """The words of the olal command, as the user meant them."""
    if options.packed:
        return unpack(options.packed)
    for word in options.command:
        if not UNTOUCHED_BY_A_SHELL.fullmatch(word):
            raise Refused(f"`ray submit` may have altered an argument; pass the command by --packed: {word!r}", USAGE)
    return options.command


def pack(command: Sequence[str]) -> str:
    """Write a command as one word that no shell touches."""
    return base64.urlsafe_b64encode(json.dumps(list(command)).encode()).decode()


def unpack(word: str) -> list[str]:
    """Read what `pack` wrote."""
    try:
        command = json.loads(base64.urlsafe_b64decode(word))
    except ValueError:
        command = None
    if not isinstance(command, list) or not all(isinstance(part, str) for part in command):
        raise Refused(f"--packed takes what --pack printed: {word}", USAGE)
    return command


def connect(address: str) -> Any:
    """A client of the cluster's dashboard, with the user's token where there is one."""
    if "RAY_AUTH_TOKEN" in os.environ or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when ray is imported
    os.environ.pop("RAY_ADDRESS", None)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        remedy = "set RAY_AUTH_MODE=token and copy the head node's ~/.ray/auth_token to the same place here"
        raise Refused(f"the cluster wants another token; {remedy}: {address}", CLUSTER) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Refused(f"the cluster takes no job ({reason}): {address}", CLUSTER) from error


def submit(client: Any, command: Sequence[str], options: argparse.Namespace) -> str:
    """Hand the command over as a job; returns the job's id."""
    runtime_env: dict[str, Any] = {"env_vars": {"PYTHONUNBUFFERED": "1", **STOPPING}}
    if options.working_dir:
        runtime_env["working_dir"] = options.working_dir
    entrypoint = shlex.join([options.python, "-m", "olal", *command])
    try:
        job_id = client.submit_job(entrypoint=entrypoint, runtime_env=runtime_env)
    except (OSError, RuntimeError, ValueError) as error:
        raise Refused(f"the cluster takes no job ({error}): {options.address}", CLUSTER) from error
    say(f"job {job_id}: {entrypoint}")
    return job_id


class JobLog:
    """The output of a job, printed as it comes and never twice."""

    def __init__(self, client: Any, job_id: str) -> None:
        self.client = client
        self.job_id = job_id
        self._printed = 0

    def follow(self) -> None:
        """Print until the job has ended; a connection that breaks is made again, for two minutes."""
        seen = time.monotonic()
        while True:
            try:
                asyncio.run(self._tail())
                seen = time.monotonic()
                if self.client.get_job_status(self.job_id).is_terminal():
                    return
            except (OSError, RuntimeError) as error:
                if time.monotonic() - seen > PATIENCE_S:
                    raise Refused(f"the dashboard is gone, job {self.job_id} may go on ({error})", CLUSTER) from error
            time.sleep(1)

    async def _tail(self) -> None:
        position = 0
        async for text in self.client.tail_job_logs(self.job_id):
            position += len(text)
            if position > self._printed:
                print(text[self._printed - position :], end="", flush=True)
                self._printed = position


def attend(log: JobLog) -> int:
    """Follow a job; Ctrl-C detaches, twice stops it."""
    try:
        log.follow()
        return exit_code(log.client.get_job_info(log.job_id))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        say(f"the job goes on; Ctrl-C again within {SECOND_THOUGHTS_S:.0f} seconds ends it with a checkpoint")
    try:
        time.sleep(SECOND_THOUGHTS_S)
        say(f"detached; `ray job logs --follow {log.job_id}` follows it, `ray job stop {log.job_id}` ends it")
    except KeyboardInterrupt:
        log.client.stop_job(log.job_id)
        log.follow()
    return INTERRUPTED


def exit_code(job: Any) -> int:
    """The code of the command; 128 and the number of a signal that ended it, as shells have it."""
    if job.status == "SUCCEEDED":
        return 0
    code = job.driver_exit_code
    if not code:
        say(job.message or f"the job ended as {job.status}")
        return INTERRUPTED if job.status == "STOPPED" else 1
    return code if code > 0 else 128 - code


def say(text: str) -> None:
    """One line that is not the job's."""
    print(f"submit: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
