"""LoRA state as one flat vector: its layout, digest, noise and seed log, and its form on disk."""

from olal.adapters.checkpoint import Checkpoint, complete_checkpoints, read_checkpoint, write_checkpoint
from olal.adapters.delivery import AdapterProof, Publication, probe_tokens
from olal.adapters.delta_bytes import OVERHEAD_BYTES, decode_delta, encode_delta
from olal.adapters.follower import AdapterFollower, FollowerCounts
from olal.adapters.layout import AdapterLayout
from olal.adapters.members import Line, Members
from olal.adapters.noise import NOISE_VERSION, rademacher
from olal.adapters.peft_directory import read_peft_directory, write_peft_directory
from olal.adapters.publisher import AdapterPublisher, Stored
from olal.adapters.seed_log import SeedLog, SeedLogContent, read_seed_log
from olal.adapters.seed_master import SeedMaster
from olal.adapters.seed_space import SeedSpace, make_records
from olal.adapters.subspace import Subspace, SubspaceKind

__all__ = [
    "NOISE_VERSION",
    "OVERHEAD_BYTES",
    "AdapterFollower",
    "AdapterLayout",
    "AdapterProof",
    "AdapterPublisher",
    "Checkpoint",
    "FollowerCounts",
    "Line",
    "Members",
    "Publication",
    "SeedLog",
    "SeedLogContent",
    "SeedMaster",
    "SeedSpace",
    "Stored",
    "Subspace",
    "SubspaceKind",
    "complete_checkpoints",
    "decode_delta",
    "encode_delta",
    "make_records",
    "probe_tokens",
    "rademacher",
    "read_checkpoint",
    "read_peft_directory",
    "read_seed_log",
    "write_checkpoint",
    "write_peft_directory",
]
