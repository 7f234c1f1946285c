"""The error tree. Every error a user can cause carries what was wrong, what is allowed and how to mend it.

    OlalError
    ├── ConfigError(ValueError)        exit 2: a key, a value or a combination that cannot be
    │   ├── EnvironmentUnknown         no such environment, or options it does not take
    │   ├── ActionSpaceUnsupported     an action space that has no grammar
    │   ├── ModelInvalid               a model directory that is missing or incomplete
    │   └── RunDirectoryInvalid        not a run, not writable, or already taken
    ├── GrammarError(ValueError)       a grammar that does not compile, or a token it forbids
    │   └── UnsupportedSchema          a JSON Schema keyword that no grammar enforces
    ├── AdapterMismatch(ValueError)    an adapter of another layout, base or digest
    ├── CheckpointCorrupt(ValueError)  a checkpoint that is incomplete or altered
    ├── CheckpointNotWritten(OSError)  the disk did not take a checkpoint
    ├── SeedLogCorrupt(ValueError)     exit 2: a seed log that is damaged, or of another model or adapter
    ├── SeedLogNotWritten(OSError)     the disk did not take the seeds of an update
    ├── EnvironmentFault(ValueError)   an environment that breaks its contract; fails its own episode and no more
    │   ├── BadStep                    what came back from a reset or a step has another shape
    │   ├── BadObservation             an observation outside of its space, or one that is no text
    │   └── BadReward                  a reward that is not one finite number
    ├── WorkerFailed(RuntimeError)     a rollout worker that must be started anew
    │   ├── EngineFailed               the engine raised in the middle of its work
    │   └── ThreadsExhausted           too many environments hang
    ├── ClusterError(RuntimeError)     exit 3: no cluster, or one that cannot hold the run
    └── RunFailed(RuntimeError)        exit 1: the run started and could not go on
        ├── ProcessLost                a process of the run died; what it did is done again
        ├── ProcessRestarting          a process of the run is not there yet again
        ├── AdapterLost                an adapter died with the process that published it
        └── ProcessesDisagree          processes that learn together no longer hold the same adapter

Every class also inherits the stdlib class it stands in for, takes one message, and pickles: Ray ships them.
"""

from __future__ import annotations


class OlalError(Exception):
    """Root of every error olal raises on purpose."""

    exit_code = 1


class ConfigError(OlalError, ValueError):
    """A setting that is unknown, out of range or contradicts another."""

    exit_code = 2


class EnvironmentUnknown(ConfigError):
    """No environment of that name, or it refuses the options given."""


class ActionSpaceUnsupported(ConfigError):
    """An action space from which no grammar can be made."""


class ModelInvalid(ConfigError):
    """A model path that is no causal language model with a tokenizer."""


class RunDirectoryInvalid(ConfigError):
    """A directory that is no run, is taken, or cannot be written."""


class GrammarError(OlalError, ValueError):
    """A grammar that does not compile, or tokens that it forbids."""


class UnsupportedSchema(GrammarError):
    """A JSON Schema that holds a keyword or format which its grammar could not enforce."""


class AdapterMismatch(OlalError, ValueError):
    """An adapter whose layout, size or digest is not the expected one."""


class CheckpointCorrupt(OlalError, ValueError):
    """A checkpoint directory that is incomplete or altered."""


class CheckpointNotWritten(OlalError, OSError):
    """A checkpoint that the disk did not take; older ones are as they were."""


class SeedLogCorrupt(OlalError, ValueError):
    """A seed log that is damaged, belongs to another model or adapter, or does not go on where it should."""

    exit_code = 2


class SeedLogNotWritten(OlalError, OSError):
    """An update whose seeds the disk did not take, and which is not published therefore."""


class EnvironmentFault(OlalError, ValueError):
    """An environment that does not keep to its contract."""


class BadStep(EnvironmentFault):
    """A reset or a step that returned something of another shape."""


class BadObservation(EnvironmentFault):
    """An observation outside of the space the environment declares, or one that is no text."""


class BadReward(EnvironmentFault):
    """A reward that is not one finite number."""


class WorkerFailed(OlalError, RuntimeError):
    """A rollout worker that cannot go on; a new one can."""


class EngineFailed(WorkerFailed):
    """An engine that raised in the middle of its work, after which nothing it holds can be relied on."""


class ThreadsExhausted(WorkerFailed):
    """So many environments hang that their threads have to be got rid of together with the process."""


class ClusterError(OlalError, RuntimeError):
    """The Ray cluster cannot be reached or can never place the actors."""

    exit_code = 3


class RunFailed(OlalError, RuntimeError):
    """A run that started and could not go on."""


class ProcessLost(RunFailed):
    """A process of the run, or its node, died or does not answer; the work it had in hand is done again."""


class ProcessRestarting(ProcessLost):
    """An actor's process is being started again; or it died just now, which looks the same from outside."""


class AdapterLost(ProcessLost):
    """A published adapter is gone, since the process that published it is."""


class ProcessesDisagree(RunFailed):
    """Processes that learned together from the same episodes do not hold the same adapter."""
