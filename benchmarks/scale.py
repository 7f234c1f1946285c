"""How far one driver and one replay buffer reach: environment steps/s from 1 to 64 workers, and what happens beyond.

All numbers are of the plane between model and environment; a scripted engine, which answers at once, stands in for the
model, and a scripted learner, which waits and publishes, for the learner (`_scripted.py`). Environments take real time:
20 ms a step on the mean, with a long tail, so that two cores can stand for as many as there are workers. Workers are
real Ray actors on virtual nodes of this machine, driven by the loop of every asynchronous run. Each plays one episode
at a time, so that 64 of them are 3,200 steps/s: with more the processors of this machine would be measured, which hold
64 workers that would have nodes of their own elsewhere.

    efficiency         steps/s of n workers over n times those of one
    control plane      processor time of driver and buffer per episode
    saturation         episodes/s at which one replay actor is busy all the time
    simulation         a queueing model with these times, up to 4,096 workers
    delivery           a 16 MB adapter, and an update of seeds, to 8 actors of one node; the adapter to 8 on 4 nodes
    recovery           from kill -9 of a worker to its first report; of a node to the notice of it
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import _scale_parts as parts
import numpy as np
import psutil
import ray
from _queueing import Station, throughput
from _report import Measurement, arguments, measure, report

COUNTS = (1, 4, 16, 64)
SETTLE_S = 5.0
"""After 64 processes have started, the machine has work to do that belongs to no step."""
ALONE = 8
"""Times as long as others a lone worker is measured: its rate is what all others are held against, and it finishes two
episodes a second."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What so many workers did.

    Attributes:
        workers: how many.
        steps_per_s: environment steps a second, all together.
        episodes_per_s: the same in episodes.
        driver_s: processor seconds of the driver per episode.
        replay_s: processor seconds of the replay actor per episode.
        calls_per_s: calls of workers a second.
        busy: share of this machine's processors that was busy.
    """

    workers: int
    steps_per_s: float
    episodes_per_s: float
    driver_s: float
    replay_s: float
    calls_per_s: float
    busy: float


def measure_rate(workers: int, seconds: float, step_s: float = parts.STEP_S) -> Rate:
    """Let so many workers play for some seconds, after all of them have begun."""
    with tempfile.TemporaryDirectory() as directory, parts.running_crew(Path(directory), workers, step_s) as training:
        pool = training.crew.pool
        training.play_until(lambda: pool.num_ready == workers and all(w.report for w in pool.workers))
        training.play_for(SETTLE_S)
        pid = training.crew.replay_status().pid
        before, cpu, replay_cpu, began = training.counts(), time.process_time(), parts.cpu_of(pid), time.monotonic()
        psutil.cpu_percent()
        training.play_for(seconds)
        busy = psutil.cpu_percent() / 100
        elapsed = time.monotonic() - began
        done = training.counts() - before
        spent = time.process_time() - cpu, parts.cpu_of(pid) - replay_cpu
    episodes = max(done.episodes, 1)
    return Rate(
        workers,
        done.steps / elapsed,
        done.episodes / elapsed,
        spent[0] / episodes,
        spent[1] / episodes,
        done.calls / elapsed,
        busy,
    )


def saturation(payload_bytes: int, per_put: int, seconds: float) -> tuple[float, float]:
    """Episodes/s and MB/s that one replay actor with its journal takes from four producers."""
    with tempfile.TemporaryDirectory() as directory:
        replay = parts.make_replay(Path(directory))
        ray.get(replay.expect.remote(parts.PROOF))
        producers = [parts.Producer.remote(replay, payload_bytes, per_put, index) for index in range(4)]
        ray.get([producer.ready.remote() for producer in producers])
        began = time.monotonic()
        count = sum(ray.get([producer.produce.remote(seconds) for producer in producers]))
        elapsed = time.monotonic() - began
        for actor in (*producers, replay):
            ray.kill(actor)
    return count / elapsed, count * payload_bytes / elapsed / 1e6


def delivery_ms(make: Callable[[int], tuple[Any, ...]], actors: Sequence[Any], method: str, repeats: int) -> float:
    """Milliseconds from the publication of a version to the last actor's answer, as a median."""
    times: list[float] = []
    for version in range(repeats):
        began = time.perf_counter()
        references = make(version)
        ray.get([getattr(actor, method).remote(references) for actor in actors])
        times.append(1e3 * (time.perf_counter() - began))
    return median(times[1:])


def recovery_s() -> float:
    """Seconds from kill -9 of a rollout actor to the first report of its successor; engines are scripted."""
    with tempfile.TemporaryDirectory() as directory, parts.running_crew(Path(directory), 2) as training:
        pool = training.crew.pool
        training.play_until(lambda: pool.num_ready == 2 and all(worker.report for worker in pool.workers))
        victim = pool.workers[0]
        assert victim.report is not None
        killed = victim.report.pid
        os.kill(killed, 9)
        began = time.monotonic()
        training.play_until(lambda: victim.report is not None and victim.report.pid != killed)
        return time.monotonic() - began


def cost(rates: Sequence[Rate], spent: Callable[[Rate], float]) -> tuple[float, float]:
    """Processor seconds per call of a worker and per episode that explain best what a process spent at all counts."""
    work = np.array([[rate.calls_per_s, rate.episodes_per_s] for rate in rates])
    per_call, per_episode = np.linalg.lstsq(work, np.array([spent(rate) for rate in rates]), rcond=None)[0]
    return max(float(per_call), 0.0), max(float(per_episode), 0.0)


def simulated(rates: Sequence[Rate], counts: Sequence[int]) -> list[tuple[int, float, str]]:
    """Efficiency at counts that no machine here can hold, and what bounds it there.

    A closed network: every worker plays for the length of a call, then waits its turn at the driver and, with what it
    finished, at the buffer. Costs per call and per episode are fitted to the measurements; the length of calls grows
    with the count as in the product.
    """
    per_worker = rates[0].episodes_per_s / rates[0].workers
    driver = cost(rates, lambda rate: rate.driver_s * rate.episodes_per_s)
    buffer = cost(rates, lambda rate: rate.replay_s * rate.episodes_per_s)
    for name, (per_call, per_episode) in {"driver": driver, "replay buffer": buffer}.items():
        print(f"{name}: {1e3 * per_call:.2f} ms per call and {1e3 * per_episode:.2f} ms per episode, fitted")
    answers: list[tuple[int, float, str]] = []
    for count in counts:
        call_s = parts.call_s(count)
        episodes = per_worker * call_s
        stations = [
            Station(name, per_call + per_episode * episodes)
            for name, (per_call, per_episode) in {"driver": driver, "replay buffer": buffer}.items()
        ]
        efficiency = throughput(stations, count, think_s=call_s) * call_s / count
        busiest = max(stations, key=lambda station: station.service_s)
        answers.append((count, efficiency, busiest.name if efficiency < 0.95 else "none"))
    return answers


def main() -> None:
    """Measure all of it."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--seconds", type=float, default=8.0, help=f"of each measurement, {ALONE} times that for one worker"
    )
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    options = parser.parse_args()
    with parts.virtual_nodes(1):
        rows = deliver()
    with parts.virtual_nodes(4):
        rows += deliver_across_nodes()
        rows += saturate(options.seconds)
        rates = [measure_rate(n, options.seconds * (ALONE if n == 1 else 1)) for n in options.counts]
        rows += scale(rates)
        rows += slower_steps(max(options.counts), options.seconds)
        rows.append(measure("rollout_recovery_s", recovery_s(), "s", "<= 10"))
    rows.append(measure("node_loss_noticed_s", parts.node_loss_noticed_s(), "s", "<= 5"))
    report(rows, options.json)


def deliver() -> list[Measurement]:
    """The delivery numbers: eight actors on one node."""
    with eight_receivers() as actors:
        fetched = delivery_ms(parts.publish_whole, actors, "fetch", 20)
        checked = delivery_ms(parts.publish_whole, actors, "follow_whole", 10)
        seeds = delivery_ms(parts.DeltaPublisher().publish, actors, "follow", 40)
    return [
        measure("adapter_16mb_to_8_actors_ms", fetched, "ms", "<= 25"),
        measure("adapter_16mb_to_8_actors_digest_checked_ms", checked, "ms"),
        measure("forward_only_update_to_8_actors_ms", seeds, "ms", "<= 10"),
    ]


def deliver_across_nodes() -> list[Measurement]:
    """The same for actors on four nodes, each with an object store of its own, between which an adapter is copied."""
    with eight_receivers("SPREAD") as actors:
        fetched = delivery_ms(parts.publish_whole, actors, "fetch", 20)
    return [measure("adapter_16mb_to_8_actors_on_4_nodes_ms", fetched, "ms")]


@contextlib.contextmanager
def eight_receivers(strategy: str = "DEFAULT") -> Iterator[list[Any]]:
    """Eight actors that stand."""
    actors = [parts.Receiver.options(scheduling_strategy=strategy).remote() for _ in range(8)]
    ray.get([actor.ready.remote() for actor in actors])
    try:
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)


def saturate(seconds: float) -> list[Measurement]:
    """The saturation numbers, at three sizes of delivery."""
    rows: list[Measurement] = []
    for per_put in (1, 16, 64):
        episodes, megabytes = saturation(32 * 1024, per_put, seconds)
        print(f"replay actor, 32 kB episodes, {per_put} a put: {episodes:.0f} episodes/s, {megabytes:.0f} MB/s")
        goal = ">= 1000" if per_put == 16 else ""
        rows.append(measure(f"replay_episodes_per_s_{per_put}_per_put", episodes, "episodes/s", goal))
    return rows


def scale(rates: Sequence[Rate]) -> list[Measurement]:
    """The efficiency numbers and the simulation that follows from them."""
    rows: list[Measurement] = []
    one = rates[0].steps_per_s / rates[0].workers
    for rate in rates:
        efficiency = rate.steps_per_s / (rate.workers * one)
        print(
            f"{rate.workers:3d} workers: {rate.steps_per_s:7.0f} steps/s, {rate.episodes_per_s:6.1f} episodes/s, "
            f"efficiency {efficiency:.3f}; per episode driver {1e3 * rate.driver_s:.2f} ms, buffer "
            f"{1e3 * rate.replay_s:.2f} ms of processor time; {rate.calls_per_s:.0f} calls/s; processors busy "
            f"{100 * rate.busy:.0f}%"
        )
        goal = ">= 0.95" if rate.workers == 64 else ""
        rows.append(measure(f"efficiency_{rate.workers}_workers", efficiency, "ratio", goal))
    last = rates[-1]
    rows.append(measure(f"processors_busy_{last.workers}_workers", last.busy, "ratio"))
    rows.append(measure("control_plane_ms_per_episode", 1e3 * (last.driver_s + last.replay_s), "ms"))
    for count, efficiency, bottleneck in simulated(rates, (128, 256, 512, 1024, 4096)):
        print(f"simulated {count} workers: efficiency {efficiency:.3f}, bottleneck: {bottleneck}")
        rows.append(measure(f"simulated_efficiency_{count}_workers", efficiency, "ratio"))
    return rows


def slower_steps(workers: int, seconds: float) -> list[Measurement]:
    """The efficiency where steps take twice as long, so that this machine's processors are half as busy."""
    step_s = 2 * parts.STEP_S
    one, many = measure_rate(1, ALONE * seconds, step_s), measure_rate(workers, 2 * seconds, step_s)
    efficiency = many.steps_per_s / (workers * one.steps_per_s)
    print(f"{workers} workers, {1e3 * step_s:.0f} ms a step: {efficiency:.3f}, processors busy {100 * many.busy:.0f}%")
    return [
        measure(f"efficiency_{workers}_workers_{1e3 * step_s:.0f}_ms_steps", efficiency, "ratio"),
        measure(f"processors_busy_{workers}_workers_{1e3 * step_s:.0f}_ms_steps", many.busy, "ratio"),
    ]


if __name__ == "__main__":
    main()
