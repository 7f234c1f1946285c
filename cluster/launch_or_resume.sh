#!/usr/bin/env bash
# What a job that may be started again calls: launches a run, or goes on with it where it has a checkpoint.
#   cluster/launch_or_resume.sh RUN_DIR [arguments of olal launch]
set -euo pipefail

run=${1:?name a run directory}
shift
if compgen -G "$run/checkpoints/step-*/COMMIT" >/dev/null; then
  exec olal resume "$run"
fi
if [ -e "$run" ]; then
  mv "$run" "$run.$(date +%s)" # it ended before its first checkpoint, so there is nothing to go on from
fi
exec olal launch "$@" --run-dir "$run"
