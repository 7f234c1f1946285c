"""What the grammar saves: model passes per action, actions per second against outlines, and what the masks cost.

Token by token, every token of an action costs a pass of its row; here only decisions do. outlines steers
transformers' `generate`, with the same schema, prompts and weights, without LoRA layers, on the same core, 32 prompts
at a time; it takes turns with olal's engine in one process, and each ratio is one between neighbours. "cold" is the
first batch under an adapter, whose 32 different prompts have never been run; "again" is another sample for the same
prompts under the same adapter; "in play" is a collector with 32 environments from an adapter's first action on.
Neither side is timed while it compiles a grammar. `actions_per_s_vs_outlines` is that of cold tool calls. An action
of the grid world holds a single decision: cold, its one pass is the prompt's, which outlines makes too, so the prompt
alone bounds the ratio there, and `vs_outlines_gridworld_in_play` says more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from statistics import median

from _actions import BATCH, Actions, grid_world, nested_json, tool_call
from _exactness import exactness
from _mask_cost import decode
from _models import MIDDLE, SMALL_LLM, Pair, first_layer, fresh_adapter, load_pair
from _players import Ours, Outlines
from _report import Measurement, arguments, measure, report

from olal.agents import PromptAgent
from olal.envs import make_env
from olal.experiments.seeds import training_tasks
from olal.inference.speculation import Drafter
from olal.inference.speculation.draft_model import DraftModel, DraftModelDrafter
from olal.inference.speculation.ngram import NgramDrafter
from olal.inference.transformers_engine import TransformersEngine
from olal.rollout import Collector
from olal.types import Completion, SamplingParams, Trajectory

SPEED_GOAL, PASSES_GOAL, MASK_GOAL = ">= 10", ">= 4", "<= 0.05"


@dataclass(slots=True)
class Race:
    """Turns of olal and outlines at one kind of action.

    Attributes:
        actions: what was asked for.
        cold: seconds of olal's first batch under an adapter.
        again: seconds of another batch for the same prompts.
        outlines: seconds of outlines' batch.
        completions: olal's, of all cold turns.
        outlines_tokens: tokens of outlines' actions.
    """

    actions: Actions
    cold: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)
    outlines: list[float] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    outlines_tokens: list[int] = field(default_factory=list)

    def ratio(self, ours: list[float]) -> float:
        """How many times faster than outlines, the median over the turns."""
        return median(theirs / mine for theirs, mine in zip(self.outlines, ours, strict=True))

    @property
    def tokens_per_action(self) -> float:
        """Tokens of olal's actions, the end included."""
        return sum(len(completion.token_ids) for completion in self.completions) / len(self.completions)

    @property
    def passes_per_action(self) -> float:
        """Passes that an action waited for."""
        return sum(completion.num_passes for completion in self.completions) / len(self.completions)

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second of olal's cold turns, forced ones included."""
        return BATCH * self.tokens_per_action / median(self.cold)

    def __str__(self) -> str:
        theirs = sum(self.outlines_tokens) / len(self.outlines_tokens)
        return (
            f"{self.actions.name:<12} {BATCH / median(self.cold):>8.0f} actions/s cold, "
            f"{BATCH / median(self.again):.0f} again, outlines {BATCH / median(self.outlines):.1f}: "
            f"{self.ratio(self.cold):.1f} and {self.ratio(self.again):.1f} times; "
            f"{self.tokens_per_s:.0f} tokens/s; {self.tokens_per_action:.1f} tokens "
            f"in {self.passes_per_action:.1f} passes (outlines {theirs:.1f} in as many)"
        )


def race(pair: Pair, actions: Actions, *, repeats: int) -> Race:
    """Let olal and outlines take turns."""
    ours, theirs = Ours(pair, TransformersEngine(pair.policy)), Outlines(pair, actions)
    ours.play(actions)
    theirs.play()
    result = Race(actions)
    for _ in range(repeats):
        ours.forget()
        seconds, completions = ours.play(actions)
        result.cold.append(seconds)
        result.completions += completions
        result.again.append(ours.play(actions)[0])
        seconds, tokens = theirs.play()
        result.outlines.append(seconds)
        result.outlines_tokens += tokens
    return result


def races(pair: Pair, *, repeats: int) -> dict[str, Race]:
    """Every kind of action on one model."""
    print(f"\n{pair.name}, {pair.num_parameters / 1e6:.1f}M parameters, {len(pair.tokenizer)} tokens", flush=True)
    done: dict[str, Race] = {}
    for actions in (grid_world(), tool_call(), nested_json()):
        done[actions.name] = race(pair, actions, repeats=repeats)
        print(f"  {done[actions.name]}", flush=True)
    return done


def speculation(pair: Pair, *, repeats: int) -> list[Measurement]:
    """Passes per action of nested JSON by who drafts; the engine itself leaves drafting off where it does not pay."""
    actions, measurements = nested_json(), list[Measurement]()
    draft_model = DraftModel(first_layer(pair), pair.policy.base, cache_bytes=64 << 20, width=BATCH)
    drafters: dict[str, Drafter | None] = {
        "none": None,
        "ngram": NgramDrafter(),
        "suffix": NgramDrafter(num_remembered=512),
        "draft_model": DraftModelDrafter(draft_model),
    }
    for name, drafter in drafters.items():
        ours = Ours(pair, TransformersEngine(pair.policy, drafter=drafter))
        ours.play(actions)
        seconds, completions = list[float](), list[Completion]()
        for _ in range(repeats):
            ours.forget()
            elapsed, made = ours.play(actions)
            seconds.append(elapsed)
            completions += made
        proposed = sum(sum(completion.drafts.proposed) for completion in completions)
        accepted = sum(sum(completion.drafts.accepted) for completion in completions)
        passes = sum(completion.num_passes for completion in completions) / len(completions)
        print(
            f"  drafts by {name:<12} {passes:.2f} passes per action, {BATCH / median(seconds):.0f} actions/s, "
            f"{accepted} of {proposed} accepted"
        )
        measurements.append(measure(f"passes_per_nested_json_drafts_{name}", passes, "passes"))
    return measurements


@dataclass(frozen=True, slots=True)
class InPlay:
    """A collector in the grid world against outlines, which only has to write the actions.

    Attributes:
        ratio: how many times more actions a second, the median over the turns.
        steps_per_s: environment steps per second.
        trajectories: of the last turn.
    """

    ratio: float
    steps_per_s: float
    trajectories: list[Trajectory]


def play_grid_world(pair: Pair, *, episodes: int, repeats: int) -> InPlay:
    """Play all episodes under one adapter from its first action on, 32 environments at a time."""
    engine = TransformersEngine(pair.policy)
    collector = Collector(
        lambda: make_env("gridworld", {}), lambda env: PromptAgent(env.instructions), engine, max_parallel=BATCH
    )
    theirs, speeds, ratios = Outlines(pair, grid_world()), list[float](), list[float]()
    trajectories = collector.collect(training_tasks(0, 0, BATCH), SamplingParams())
    for version in range(1, repeats + 1):
        engine.load_adapter(fresh_adapter(pair.policy, version))
        started = time.perf_counter()
        trajectories = collector.collect(training_tasks(0, version * episodes, episodes), SamplingParams())
        elapsed = time.perf_counter() - started
        speeds.append(sum(len(trajectory.turns) for trajectory in trajectories) / elapsed)
        outlines_s = median(theirs.play()[0] for _ in range(5))
        ratios.append(speeds[-1] * outlines_s / BATCH)
    print(f"  gridworld in play: {median(speeds):.0f} steps/s, {median(ratios):.1f} times outlines", flush=True)
    return InPlay(median(ratios), median(speeds), trajectories)


def mask_costs(names: list[str], *, repeats: int) -> list[Measurement]:
    """The share of legal sets on untrained models with 32,000 tokens; of several turns the worst is told."""
    measurements: list[Measurement] = []
    for name in names:
        pair = load_pair(name, large_vocabulary=True)
        ours = Ours(pair, TransformersEngine(pair.policy))
        turns = [decode(ours, nested_json()) for _ in range(repeats)]
        print(f"\n{name}, {pair.num_parameters / 1e6:.0f}M parameters, {len(pair.tokenizer)} tokens, decoding alone")
        for turn in turns:
            print(f"  {turn}", flush=True)
        suffix = "" if name == names[0] else f"_{name.replace('-', '_')}"
        worst = max(turns, key=lambda turn: turn.mask_share)
        measurements += [
            measure(f"mask_share{suffix}", worst.mask_share, "share", MASK_GOAL),
            measure(f"mask_ms_per_token{suffix}", worst.mask_ms_per_token, "ms"),
        ]
    return measurements


def main() -> None:
    """Race on the tiny base and on an untrained model, then watch where decoding spends its time."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="turns of each on the tiny base")
    parser.add_argument("--large", action="store_true", help="also watch a model of 125M parameters (minutes)")
    options = parser.parse_args()
    tiny = load_pair("tiny")
    done = races(tiny, repeats=options.repeats)
    drafts = speculation(tiny, repeats=options.repeats)
    in_play = play_grid_world(tiny, episodes=256, repeats=options.repeats)
    middle = races(load_pair(MIDDLE.name, large_vocabulary=True), repeats=2)
    masks = mask_costs([MIDDLE.name, SMALL_LLM.name] if options.large else [MIDDLE.name], repeats=2)
    report(
        [
            *(
                measure(
                    f"passes_saved_{one.actions.name}", one.tokens_per_action / one.passes_per_action, "ratio", goal
                )
                for one, goal in zip(done.values(), (PASSES_GOAL, PASSES_GOAL, ""), strict=True)
            ),
            measure("actions_per_s_vs_outlines", done["tool_call"].ratio(done["tool_call"].cold), "ratio", SPEED_GOAL),
            *(measure(f"vs_outlines_{name}_cold", one.ratio(one.cold), "ratio") for name, one in done.items()),
            *(measure(f"vs_outlines_{name}_again", one.ratio(one.again), "ratio") for name, one in done.items()),
            measure("vs_outlines_gridworld_in_play", in_play.ratio, "ratio"),
            *(measure(f"vs_outlines_{name}_cold_41M", one.ratio(one.cold), "ratio") for name, one in middle.items()),
            *(measure(f"tokens_per_s_{name}_cold", one.tokens_per_s, "1/s") for name, one in done.items()),
            measure("gridworld_env_steps_per_s", in_play.steps_per_s, "1/s"),
            *drafts,
            *masks,
            *exactness(tiny.policy, in_play.trajectories),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
