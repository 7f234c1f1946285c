"""replay_adapter: any past adapter of a run, rebuilt from its seed log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from olal.adapters import SeedLogContent, complete_checkpoints, read_seed_log, write_peft_directory
from olal.errors import RunDirectoryInvalid, SeedLogCorrupt
from olal.experiments.build import build_network, build_seed_space
from olal.experiments.run_directory import RunDirectory
from olal.types import AdapterUpdate


@dataclass(frozen=True, slots=True)
class ReplayedAdapter:
    """What was rebuilt.

    Attributes:
        version: of the adapter.
        last_version: the last one that the log reaches.
        digest: of the adapter, as the learner had it.
        num_records: seeds and coefficients applied to the untrained adapter, or to what the last gradient stage left.
        torn_bytes: bytes at the end of the log that are no whole update, as a kill leaves them.
        out: the directory, in PEFT's layout.
    """

    version: int
    last_version: int
    digest: str
    num_records: int
    torn_bytes: int
    out: Path


def replay_adapter(run_dir: Path, version: int, out: Path) -> ReplayedAdapter:
    """Rebuild one adapter version from the untrained adapter and the seed log, without the model's weights.

    Args:
        run_dir: of the run.
        version: which; 0 is the untrained adapter.
        out: a new or empty directory.

    Raises:
        RunDirectoryInvalid: it is no run, keeps no seed log, never had this version, or `out` is taken.
        SeedLogCorrupt: the log is damaged, or not of the model and adapter that the run's config names.
    """
    run = RunDirectory.open(run_dir)
    config = run.read_config()
    if not run.seed_log_path.exists():
        kept = [path.name for path in complete_checkpoints(run.checkpoints_path)]
        raise RunDirectoryInvalid(
            f"the run has no seed log, as its learner is {config.learner.kind} or made no update yet; whole adapters "
            f"are in its checkpoints ({', '.join(kept) or 'none yet'}): {run_dir}"
        )
    content = _read(run.seed_log_path)
    way = content.way_to(version)
    if way is None:
        raise RunDirectoryInvalid(_where_it_is(run, content, version))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryInvalid(f"--out must be a new or empty directory: {out}")
    bank = build_network(config, is_hollow=True).bank
    space = build_seed_space(config, bank)
    if content.origin and content.origin != space.origin:
        raise SeedLogCorrupt(
            f"the log was written under another model or adapter ({content.origin}) than this config gives here "
            f"({space.origin}): {run.seed_log_path}"
        )
    flat, digest, num_records = space.anchor, space.anchor_digest, 0
    for entry in way:
        if isinstance(entry, AdapterUpdate):
            flat = entry.flat
        else:
            flat = space.under(entry.space).moved(flat, entry.records, keep=entry.keep)
            num_records += len(entry.records)
        digest = bank.layout.digest(flat)
        if digest != entry.digest:
            raise SeedLogCorrupt(
                f"version {entry.version} must have digest {entry.digest}, rebuilt it has {digest}: {run.seed_log_path}"
            )
    write_peft_directory(out, bank.layout, flat, bank.peft_config)
    return ReplayedAdapter(version, content.version, digest, num_records, content.torn_bytes, out)


def _where_it_is(run: RunDirectory, content: SeedLogContent, version: int) -> str:
    """Which versions the log holds, and where the others are."""
    logged = _ranges(sorted({0, *(entry.version for entry in content.entries)}))
    if not 0 <= version <= content.version:
        return f"--version must be one of those in the log, {logged}: {version}"
    kept = ", ".join(path.name for path in complete_checkpoints(run.checkpoints_path)) or "none yet"
    return (
        f"--version must be one of those made from seeds, {logged}; the others are of stages that learn by gradient, "
        f"and whole adapters of some are in the checkpoints ({kept}): {version}"
    )


def _ranges(versions: Sequence[int]) -> str:
    """Versions in short.

    >>> _ranges([0, 5, 6, 7, 9])
    '0, 5 to 7, 9'
    """
    parts: list[list[int]] = []
    for version in versions:
        if parts and parts[-1][-1] == version - 1:
            parts[-1].append(version)
        else:
            parts.append([version])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts)


def _read(path: Path) -> SeedLogContent:
    try:
        return read_seed_log(path)
    except OSError as error:
        raise RunDirectoryInvalid(f"the seed log cannot be read ({error.strerror}): {path}") from error
