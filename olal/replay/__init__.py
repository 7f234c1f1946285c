"""Replay: where finished episodes wait, the ledger that counts them, and their form on disk."""

from olal.replay.buffer import PutReceipt, ReplayBuffer
from olal.replay.episode_json import from_json, to_json
from olal.replay.ledger import Ledger

__all__ = ["Ledger", "PutReceipt", "ReplayBuffer", "from_json", "to_json"]
