"""Pinned: any version in the seed log is rebuilt bit for bit, without the model's weights; what cannot be rebuilt is
one line on stderr and exit code 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from olal.adapters import SeedLog, SeedMaster, read_peft_directory, write_checkpoint
from olal.cli import app
from olal.config import load_config
from olal.experiments.build import build_network, build_seed_space
from olal.experiments.replay import replay_adapter
from olal.experiments.run_directory import RunDirectory

SETTINGS = {"learner.kind": "mezo", "learner.subspace": "b", "adapter.rank": 2, "seed": 3}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., tuple[RunDirectory, SeedMaster]]:
    """A run that made some updates from seeds."""

    def make(updates: int = 3, settings: dict[str, Any] = SETTINGS) -> tuple[RunDirectory, SeedMaster]:
        config = load_config([], settings)
        run = RunDirectory.create(tmp_path / "run", config)
        master = SeedMaster(build_seed_space(config, build_network(config, is_hollow=True).bank))
        random = np.random.default_rng(0)
        with SeedLog(run.seed_log_path, master.space) as log:
            for _ in range(updates):
                master.begin(keep=0.99)
                master.move(random.integers(0, 2**64, 5, dtype=np.uint64), random.standard_normal(5))
                log.append(master.commit(), master.current())
        return run, master

    return make


def call(run: RunDirectory, version: int, out: Path, *options: str) -> Any:
    return CliRunner().invoke(app, ["replay", str(run.path), "--version", str(version), "--out", str(out), *options])


def assert_refused(result: Any, *parts: str) -> None:
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def test_the_last_adapter_is_rebuilt_bit_for_bit(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run, master = make_run()

    replayed = replay_adapter(run.path, 3, tmp_path / "out")

    flat = read_peft_directory(tmp_path / "out", master.space.layout)
    assert flat.tobytes() == master.flat.tobytes()
    assert (replayed.digest, replayed.num_records, replayed.last_version) == (master.digest, 15, 3)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"adapter_model.safetensors", "adapter_config.json"}


def test_an_adapter_of_a_whole_network_is_the_same(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run, _ = make_run(1)
    replay_adapter(run.path, 0, tmp_path / "out")

    bank = build_network(run.read_config()).bank

    assert read_peft_directory(tmp_path / "out", bank.layout).tobytes() == bank.initial.tobytes()


def test_the_command_says_what_it_rebuilt(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run, _ = make_run()

    plain, as_json = call(run, 2, tmp_path / "a"), call(run, 2, tmp_path / "b", "--json")

    assert plain.exit_code == as_json.exit_code == 0
    assert plain.stdout.startswith("version 2 of 3, digest ")
    assert '"num_records": 10' in as_json.stdout


def test_versions_of_gradient_stages_are_said_not_to_be_in_the_log(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run, master = make_run(2)
    flat = (master.flat + np.float32(0.5)).astype(np.float32)
    space = master.space.within("core")
    later = SeedMaster(space)
    later.restore(5, flat)
    with SeedLog(run.seed_log_path, space) as log:
        log.append(None, later.current())
        later.begin(keep=0.9)
        later.move(np.array([3], np.uint64), np.array([0.25]))
        log.append(later.commit(), later.current())

    replayed = [replay_adapter(run.path, version, tmp_path / str(version)) for version in (2, 5, 6)]

    assert [one.digest for one in replayed] == [master.digest, space.layout.digest(flat), later.digest]
    assert [one.num_records for one in replayed] == [10, 0, 1]
    found = read_peft_directory(tmp_path / "6", space.layout)
    assert found.tobytes() == later.flat.tobytes()
    assert_refused(call(run, 4, tmp_path / "out"), "0 to 2, 5 to 6", "stages that learn by gradient", ": 4")
    assert_refused(call(run, 7, tmp_path / "out"), "0 to 2, 5 to 6", ": 7")


@pytest.mark.parametrize("version", [-1, 4])
def test_a_version_that_never_was_is_refused(make_run: Callable[..., Any], tmp_path: Path, version: int) -> None:
    assert_refused(call(make_run()[0], version, tmp_path / "out"), "0 to 3", f": {version}")
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_seed_log_points_to_its_checkpoints(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", load_config([], {"learner.kind": "ppo"}))
    (run.checkpoints_path / "step-00000010").mkdir()
    (run.checkpoints_path / "step-00000010" / "COMMIT").write_text("{}")

    assert_refused(call(run, 1, tmp_path / "out"), "no seed log", "ppo", "step-00000010")


def test_a_damaged_log_is_refused(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run, _ = make_run()
    data = bytearray(run.seed_log_path.read_bytes())
    data[150] ^= 1
    run.seed_log_path.write_bytes(bytes(data))

    assert_refused(call(run, 1, tmp_path / "out"), "the seed log is damaged after version 1", "seeds.log")


def test_a_log_that_was_cut_is_replayed_as_far_as_it_goes(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run, _ = make_run()
    run.seed_log_path.write_bytes(run.seed_log_path.read_bytes()[:-1])

    assert replay_adapter(run.path, 2, tmp_path / "out").torn_bytes == 107
    assert_refused(call(run, 3, tmp_path / "other"), "0 to 2")


def test_a_config_that_was_altered_after_the_run_is_refused(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run, _ = make_run()
    run.config_path.write_text(run.config_path.read_text().replace("seed: 3", "seed: 4"))

    assert_refused(call(run, 1, tmp_path / "out"), "another model or adapter")


def test_a_directory_that_holds_something_is_not_written_to(make_run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")

    assert_refused(call(make_run()[0], 1, tmp_path / "out"), "new or empty directory")


def test_a_checkpoint_of_the_same_version_holds_the_same_adapter(make_run: Callable[..., Any], tmp_path: Path) -> None:
    from olal.adapters import Checkpoint

    run, master = make_run()
    bank = build_network(run.read_config(), is_hollow=True).bank
    path = write_checkpoint(
        run.checkpoints_path, Checkpoint(3, master.flat, {}, {}), bank.layout, bank.peft_config, keep=1
    )

    replay_adapter(run.path, 3, tmp_path / "out")

    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (path / "adapter" / name).read_bytes()
