"""TrieScorer: teacher-forced log-probabilities of many sequences, with what they begin with run once.

Rows of several adapters share a pass. Logits are turned into the few numbers that were asked for as soon as a pass
returns them, so memory is bounded by the pass and not by the requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from olal.errors import ConfigError, GrammarError
from olal.grammar import GrammarState
from olal.inference.adapter_slots import AdapterSlots
from olal.inference.context_cache import ContextCache
from olal.inference.sampler import legal_distribution
from olal.inference.trie import TrieNode, trie_levels
from olal.models.policy_network import PolicyNetwork
from olal.types import SamplingParams, Score, ScoreRequest

_MOST_LOGITS = 1 << 25
_PLAIN = SamplingParams()


@dataclass(eq=False, slots=True)
class _Job:
    """One request being scored; `states` is empty without a grammar."""

    request: ScoreRequest
    adapter: str
    states: list[GrammarState]
    sequence: tuple[int, ...]
    logprobs: list[float] = field(default_factory=list)
    log_legal_mass: list[float] = field(default_factory=list)

    def lengths(self, start: int, stop: int) -> Iterator[int]:
        """Lengths in start + 1..stop of the prefixes whose next-token logits are needed."""
        first = len(self.request.prompt_token_ids)
        for length in range(max(start + 1, first), min(stop, len(self.sequence)) + 1):
            if not self.states or not self.states[length - first].is_forced:
                yield length


class TrieScorer:
    """Scores sequences on one network."""

    def __init__(self, network: PolicyNetwork, adapters: AdapterSlots, cache: ContextCache, *, width: int) -> None:
        """Share an engine's network, adapters and contexts.

        Args:
            network: the model.
            adapters: those a request may name.
            cache: contexts that a sequence may continue; none is added.
            width: most rows in one pass.
        """
        self._network = network
        self._vocabulary = network.base.vocabulary
        self._adapters = adapters
        self._cache = cache
        self._width = width
        self._max_context = int(getattr(network.base.network.config, "max_position_embeddings", 1 << 30))

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """One score per request, in order; what is wrong with one is told in its own."""
        answers: list[Score | None] = [None] * len(requests)
        jobs: dict[int, _Job] = {}
        for index, request in enumerate(requests):
            try:
                jobs[index] = self._prepare(request)
            except (ConfigError, GrammarError) as error:
                answers[index] = Score((), (), (), str(error).splitlines()[0])
        self._run([job for job in jobs.values() if any(job.lengths(0, len(job.sequence)))])
        for index, job in jobs.items():
            forced = tuple(state.is_forced for state in job.states) or (False,) * len(job.logprobs)
            answers[index] = Score(tuple(job.logprobs), forced, tuple(job.log_legal_mass))
        return [answer for answer in answers if answer is not None]

    def _prepare(self, request: ScoreRequest) -> _Job:
        if not request.prompt_token_ids:
            raise ConfigError("a prompt must have at least one token, for a model to continue: none given")
        sequence = (*request.prompt_token_ids, *request.token_ids)
        if len(sequence) > self._max_context:
            raise ConfigError(f"{len(sequence)} tokens are to be scored, the model holds {self._max_context}")
        if wrong := [token for token in sequence if not 0 <= token < self._vocabulary.size]:
            raise ConfigError(f"token ids must be below {self._vocabulary.size}: {wrong[0]}")
        states: list[GrammarState] = []
        if request.grammar is not None:
            states = [
                self._vocabulary.state(request.grammar, request.token_ids[:t]) for t in range(len(request.token_ids))
            ]
        for t, (token, state) in enumerate(zip(request.token_ids, states, strict=False)):
            if not (state.legal == token).any():
                raise GrammarError(f"token {token} is not legal at position {t}")
        job = _Job(request, self._adapters.resolve(request.adapter).digest, states, sequence[:-1])
        job.logprobs = [0.0] * len(request.token_ids)
        job.log_legal_mass = [0.0] * len(request.token_ids)
        return job

    @torch.inference_mode()
    def _run(self, jobs: Sequence[_Job]) -> None:
        """Level by level through the tries of all adapters."""
        levels: list[list[tuple[str, list[_Job], TrieNode]]] = []
        for adapter in dict.fromkeys(job.adapter for job in jobs):
            own = [job for job in jobs if job.adapter == adapter]
            for depth, nodes in enumerate(trie_levels([job.sequence for job in own])):
                levels.extend([] for _ in range(depth + 1 - len(levels)))
                levels[depth].extend((adapter, [own[member] for member in node.members], node) for node in nodes)
        past: dict[int, Tensor] = {}
        for level in levels:
            for chunk in self._chunks(level):
                self._pass(chunk, past)

    def _chunks(
        self, level: Sequence[tuple[str, list[_Job], TrieNode]]
    ) -> Iterator[list[tuple[str, list[_Job], TrieNode, list[int]]]]:
        """Nodes of one pass, with the lengths wanted in each: bounded in rows and in logits."""
        most = max(1, _MOST_LOGITS // self._vocabulary.size)
        chunk: list[tuple[str, list[_Job], TrieNode, list[int]]] = []
        num_wanted = 0
        for adapter, jobs, node in level:
            lengths = sorted({length for job in jobs for length in job.lengths(node.start, node.stop)})
            if chunk and (len(chunk) == self._width or num_wanted + len(lengths) > most):
                yield chunk
                chunk, num_wanted = [], 0
            chunk.append((adapter, jobs, node, lengths))
            num_wanted += len(lengths)
        if chunk:
            yield chunk

    def _pass(self, chunk: Sequence[tuple[str, list[_Job], TrieNode, list[int]]], past: dict[int, Tensor]) -> None:
        before: list[Tensor | None] = []
        new: list[tuple[int, ...]] = []
        wanted: list[list[int]] = []
        for adapter, jobs, node, lengths in chunk:
            longest = max((job.sequence for job in jobs), key=len)[: node.stop]
            known = None if node.parent is None else past[id(node.parent)]
            if node.parent is None:
                context = self._cache.longest_prefix(adapter, longest[: lengths[0] if lengths else None])
                known = None if context is None else context.past
            start = 0 if known is None else known.shape[2]
            before.append(known)
            new.append(longest[start:])
            wanted.append([length - start - 1 for length in lengths])
        self._adapters.use([adapter for adapter, *_ in chunk])
        grown, logits = self._network.extend(before, new, wanted)
        row = 0
        for (_, jobs, node, lengths), view in zip(chunk, grown, strict=True):
            if node.children:
                past[id(node)] = view.clone()
            self._read(jobs, lengths, logits[row : row + len(lengths)])
            row += len(lengths)

    def _read(self, jobs: Sequence[_Job], lengths: Sequence[int], logits: Tensor) -> None:
        """Reduce the logits after `lengths`, shape (len(lengths), vocabulary), to what the jobs asked for."""
        place = {length: row for row, length in enumerate(lengths)}
        for job in jobs:
            first = len(job.request.prompt_token_ids)
            mine = [length for length in lengths if first <= length <= len(job.sequence)]
            mine = [length for length in mine if not job.states or not job.states[length - first].is_forced]
            if not job.states and job.request.sampling.top_k == 0 and job.request.sampling.top_p == 1:
                self._read_plain(job, mine, logits[[place[length] for length in mine]])
                continue
            for length in mine:
                t = length - first
                values = logits[place[length]].cpu().numpy()
                legal = job.states[t].legal if job.states else None
                distribution = legal_distribution(values, legal, job.request.sampling)
                job.logprobs[t] = distribution.logprob(job.request.token_ids[t])
                job.log_legal_mass[t] = distribution.log_legal_mass

    def _read_plain(self, job: _Job, lengths: Sequence[int], logits: Tensor) -> None:
        """All positions of a request over the whole vocabulary at once."""
        if not lengths:
            return
        first, temperature = len(job.request.prompt_token_ids), job.request.sampling.temperature
        tokens = torch.tensor([job.request.token_ids[length - first] for length in lengths], device=logits.device)
        if temperature == 0:
            values = torch.where(logits.argmax(1) == tokens, 0.0, -torch.inf)
        else:
            scaled = logits.double() / temperature
            values = scaled.gather(1, tokens[:, None])[:, 0] - scaled.logsumexp(1)
        for length, value in zip(lengths, values.tolist(), strict=True):
            job.logprobs[length - first] = value
