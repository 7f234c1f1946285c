"""Replay: where finished episodes wait, the ledger that counts them, and the files that outlive their process."""

from olal.replay.books import Books
from olal.replay.buffer import PutReceipt, ReplayBuffer
from olal.replay.episode_json import from_json, to_json
from olal.replay.journal import Journal
from olal.replay.ledger import Balance, Ledger
from olal.replay.prioritised import Prioritised
from olal.replay.proof_book import ProofBook
from olal.replay.read_ledger import read_ledger
from olal.replay.record import EpisodeRecord, Leased, pack, record_of, unpack
from olal.replay.sampler import Draw, Fifo, Sampler
from olal.replay.sealed import seal, seal_all
from olal.replay.segment import read_episodes, read_segment, segments_in

__all__ = [
    "Balance",
    "Books",
    "Draw",
    "EpisodeRecord",
    "Fifo",
    "Journal",
    "Leased",
    "Ledger",
    "Prioritised",
    "ProofBook",
    "PutReceipt",
    "ReplayBuffer",
    "Sampler",
    "from_json",
    "pack",
    "read_episodes",
    "read_ledger",
    "read_segment",
    "record_of",
    "seal",
    "seal_all",
    "segments_in",
    "to_json",
    "unpack",
]
