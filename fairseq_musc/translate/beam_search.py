"""Beam search of one transformer, as fairseq's ``SequenceGenerator`` does it and several times as fast on a GPU.

The result is fairseq's: the same hypotheses, in the same order, with the same scores but for rounding. How:

- The model's forward passes are those of :mod:`fairseq_musc.translate.transformer_steps`. Keys and values of the
  source exist once a sentence, not once a hypothesis, and those of earlier steps are never moved (see
  :mod:`fairseq_musc.translate.torch_kernels`).
- Of 128,112 words a step looks for the best few and needs one sum; there is no table of log-probabilities.
- The whole search is on the device. The processor launches steps without waiting for what came of them; it learns that
  sentences are finished :attr:`BeamSearch.lag` steps later.
- A sentence has a *slot*, and is at a step of its own. When enough slots have become free, they are given to the next
  sentences, so that a sentence which runs to its greatest length holds up nobody. When nothing is left to come, the
  remaining sentences are moved together, and the steps get shorter.
- So a step always has one of a few shapes, and on a GPU it is captured as a CUDA graph and replayed.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from fairseq_musc.errors import InputError
from fairseq_musc.translate import torch_kernels, transformer_steps
from fairseq_musc.translate.transformer_steps import Kernels

#: Tokens, those of the prefix and the end of sentence included, and their score.
Hypothesis = tuple[list[int], float]

#: Source tokens that the encoder reads at once, at most (but at least one sentence).
ENCODER_TOKENS = 32768

#: The most hypotheses of a sentence: a byte says from which of them one descends.
WIDEST = 256


@dataclass(frozen=True)
class Limits:
    """What decides which hypotheses are found; names, meaning and defaults as in fairseq's ``SequenceGenerator``."""

    beam_size: int = 5
    max_len_a: float = 0.0
    max_len_b: int = 200
    min_len: int = 1
    normalize_scores: bool = True
    len_penalty: float = 1.0

    def max_len(self, source: int, positions: int) -> int:
        """The greatest length of a hypothesis, end of sentence not counted.

        Args:
            source: tokens of the longest source sentence of the batch, as in fairseq.
            positions: that the decoder has.
        """
        return min(int(self.max_len_a * source + self.max_len_b), positions - 1)


class State(NamedTuple):
    """What the search knows of the sentence in each slot, on the device. T: steps that there is room for."""

    tokens: Tensor
    """(slots, beam): the last token of each hypothesis; those beyond the beam are never looked at."""
    scores: Tensor
    """(slots, beam), float32: the sums of log-probabilities."""
    step: Tensor
    """(slots,): the number of tokens so far; stands still when the sentence is finished."""
    max_len: Tensor
    """(slots,)"""
    ancestors: Tensor
    """(slots, beam, T), uint8: which hypothesis of each step each hypothesis descends from."""
    history: Tensor
    """(slots, T + 1, beam), int32: the tokens of each step, before hypotheses are sorted anew."""
    parents: Tensor
    """(slots, T, beam), uint8: the hypothesis of the step that each one of the next step goes on from."""
    done: Tensor
    """(slots,), bool"""
    finished: Tensor
    """(slots,): how many hypotheses have ended."""
    end_score: Tensor
    """(slots, beam + 1), float32: scores of ended hypotheses, normalised. The last column here and below is waste."""
    end_step: Tensor
    """(slots, beam + 1), int32: the step in which the end of sentence was chosen."""
    end_place: Tensor
    """(slots, beam + 1), int32: the hypothesis that it was chosen for."""

    def of(self, n: int) -> State:
        """The first ``n`` slots; shares its memory."""
        return State(*(tensor[:n] for tensor in self))


def new_state(slots: int, beam: int, times: int, device: torch.device) -> State:
    """All slots free."""

    def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    return State(
        tokens=zeros(slots, beam),
        scores=zeros(slots, beam, dtype=torch.float32),
        step=zeros(slots),
        max_len=zeros(slots),
        ancestors=zeros(slots, beam, times, dtype=torch.uint8),
        history=zeros(slots, times + 1, beam, dtype=torch.int32),
        parents=zeros(slots, times, beam, dtype=torch.uint8),
        done=torch.ones(slots, dtype=torch.bool, device=device),
        finished=zeros(slots),
        end_score=zeros(slots, beam + 1, dtype=torch.float32),
        end_step=zeros(slots, beam + 1, dtype=torch.int32),
        end_place=zeros(slots, beam + 1, dtype=torch.int32),
    )


class Rules(NamedTuple):
    """What :func:`advance` goes by besides the state."""

    pad: int
    eos: int
    min_len: int
    prefix: Tensor
    """(): the token that every hypothesis begins with, or -1."""
    norm: Tensor
    """(T,), float32: what the score of a hypothesis that ends in each step is divided by."""


def candidates(
    values: Tensor, words: Tensor, totals: Tensor, logits: Tensor, state: State, rules: Rules
) -> tuple[Tensor, Tensor, Tensor]:
    """The ``2 * beam`` best continuations of each sentence.

    Args:
        values, words, totals: from ``top_words`` with ``2 * beam + 2``: two more than needed, for padding and the end
            of sentence, which may be forbidden.
        logits: (n * beam, vocabulary).
        state: of ``n`` slots.
        rules: of the search.

    Returns:
        scores, tokens and the hypotheses they continue, (n, 2 * beam) each, best first.
    """
    n, beam = state.tokens.shape
    step, last = state.step, state.step >= state.max_len
    words = words.view(n, beam, -1)
    total = totals.view(n, beam, 1)
    logprobs = values.view(n, beam, -1).float() - total
    early = (step < rules.min_len)[:, None, None]
    logprobs = logprobs.masked_fill((words == rules.pad) | ((words == rules.eos) & early), -torch.inf)

    # at the greatest length only the end of sentence may follow, at the first step only the prefix
    forced = torch.where(last, rules.eos, torch.where(step == 0, rules.prefix, -1))[:, None, None]
    one = logits.view(n, beam, -1).gather(2, forced.clamp(min=0).expand(n, beam, 1)).float() - total
    first = torch.arange(words.shape[-1], device=words.device) == 0
    logprobs = torch.where(forced < 0, logprobs, torch.where(first, one, -torch.inf))
    words = torch.where((forced >= 0) & first, forced, words)

    sums = torch.nan_to_num(logprobs + state.scores[:, :, None], nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    best, place = sums.view(n, -1).topk(2 * beam, dim=1)
    return best, words.view(n, -1).gather(1, place), place // words.shape[-1]


def advance(values: Tensor, words: Tensor, totals: Tensor, logits: Tensor, state: State, rules: Rules) -> None:
    """One step of the search for ``n`` slots, given what the model says of every hypothesis; in place.

    fairseq's rules, for one model and no constraints: of the ``2 * beam`` best continuations those that end the
    sentence are taken as finished hypotheses if they are among the first ``beam``; the best ``beam`` of those that do
    not end go on. A sentence is finished when it has ``beam`` finished hypotheses, or at its greatest length. (fairseq
    also marks hypotheses that are not to be looked at; with one end of sentence to each hypothesis there are always
    ``beam`` that go on, and it never marks any.)
    """
    n, beam = state.tokens.shape
    best, tokens, parents = candidates(values, words, totals, logits, state, rules)
    ends = (tokens == rules.eos) & (best > -torch.inf)

    taken = ends[:, :beam] & ~state.done[:, None]
    place = state.finished[:, None] + taken.cumsum(1) - 1
    # what is not taken, or comes after the last that is, goes to the column of waste
    place = torch.where(taken & (place < beam), place, beam)
    state.end_score.scatter_(1, place, best[:, :beam] / rules.norm[state.step][:, None])
    state.end_step.scatter_(1, place, state.step[:, None].expand(n, beam).int())
    state.end_place.scatter_(1, place, parents[:, :beam].int())
    state.finished.add_(taken.sum(1)).clamp_(max=beam)
    state.done.logical_or_((state.finished >= beam) | (state.step >= state.max_len))

    columns = torch.arange(2 * beam, device=ends.device)
    going = (columns + 2 * beam * ends).sort(dim=1).indices[:, :beam]
    tokens, parents, best = tokens.gather(1, going), parents.gather(1, going), best.gather(1, going)
    now = state.step[:, None, None]
    state.ancestors.copy_(state.ancestors.gather(1, parents[:, :, None].expand(state.ancestors.shape)))
    state.ancestors.scatter_(2, now.expand(n, beam, 1), parents[:, :, None].to(torch.uint8))
    state.parents.scatter_(1, now.expand(n, 1, beam), parents[:, None].to(torch.uint8))
    state.history.scatter_(1, now.expand(n, 1, beam) + 1, tokens[:, None].int())
    state.tokens.copy_(tokens)
    state.scores.copy_(best)
    state.step.add_(~state.done)


def trace(
    finished: np.ndarray,
    step: np.ndarray,
    place: np.ndarray,
    score: np.ndarray,
    history: np.ndarray,
    parents: np.ndarray,
    eos: int,
    nbest: int,
) -> list[list[Hypothesis]]:
    """The hypotheses of finished sentences, best first; at most ``nbest`` of each.

    Args:
        finished, step, place, score, history, parents: of ``n`` sentences, the members of :class:`State`, less waste.
        eos: the end of sentence.
        nbest: how many are wanted.
    """
    n, beam = step.shape
    # what has not ended comes last, and of equals the one that ended first comes first
    ended = np.arange(beam) < finished[:, None]
    order = np.argsort(np.where(ended, -score, np.inf), axis=1, kind="stable")[:, :nbest]
    step, place, score, ended = (np.take_along_axis(array, order, 1) for array in (step, place, score, ended))
    step = np.where(ended, step, 0)
    length = int(step.max(initial=0))
    tokens = np.full((n, order.shape[1], length + 1), eos)
    rows = np.arange(n)[:, None]
    for now in range(length, 0, -1):
        inside = step >= now
        np.copyto(tokens[:, :, now - 1], history[rows, now, place], where=inside)
        place = np.where(inside, parents[rows, now - 1, place], place)
    return [
        [(tokens[i, j, : step[i, j] + 1].tolist(), float(score[i, j])) for j in range(min(nbest, finished[i]))]
        for i in range(n)
    ]


class HostCopy:
    """Tensors on their way to the processor's memory; nothing waits until :meth:`get`."""

    def __init__(self, *tensors: Tensor):
        self._event: Any = None
        if tensors[0].device.type == "cuda":
            self._host = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors]
            for host, tensor in zip(self._host, tensors, strict=True):
                host.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            self._host = [tensor.clone() for tensor in tensors]

    def ready(self) -> bool:
        """Whether :meth:`get` will not wait."""
        return self._event is None or bool(self._event.query())

    def get(self) -> list[np.ndarray]:
        """The values, when they have come."""
        if self._event is not None:
            self._event.synchronize()
        return [host.numpy() for host in self._host]


class Sentence(NamedTuple):
    """A sentence that waits for a slot."""

    batch: int
    place: int
    tokens: Sequence[int]
    max_len: int


@dataclass
class Running:
    """A sentence that has a slot."""

    sentence: Sentence
    slot: int


class BeamSearch:
    """A beam search of one model, with room on one device; to be used again and again, by one thread at a time."""

    lag = 2
    """How many steps are launched before the processor looks at what came of one; so many are lost when a sentence
    ends, and so much time the processor has for other things."""

    def __init__(
        self,
        model: nn.Module,
        limits: Limits = Limits(),
        *,
        longest: int,
        slots: int = 512,
        nbest: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        kernels: Kernels | str = "auto",
        graphs: bool | None = None,
    ):
        """Loads the weights and takes the memory.

        Args:
            model: a fairseq TransformerModel. It is not kept.
            limits: which hypotheses are found.
            longest: tokens of the longest source sentence that will come, language token and end of sentence included.
            slots: sentences that are translated at once, if the device's memory has room for so many.
            nbest: how many of the hypotheses of a sentence are wanted (default: all).
            dtype: of weights and arithmetic (default: the model's).
            device: where (default: the model's).
            kernels: "torch", "triton", "auto" (Triton on a GPU where it works), or a module with the same functions.
            graphs: whether steps are captured as CUDA graphs (default: on a GPU).

        Raises:
            InputError: the model is of a kind that only fairseq's own generator can search; what it has is said. Or
                the device has no room for a single sentence.
        """
        problems = transformer_steps.unsupported(model)
        dictionary: Any = getattr(getattr(model, "decoder", None), "dictionary", None)
        if not problems and 2 * limits.beam_size + 2 > len(dictionary):
            problems = [f"its dictionary of {len(dictionary)} is too small for a beam of {limits.beam_size}"]
        if limits.beam_size > WIDEST:
            problems = [*problems, f"a beam of {limits.beam_size} is wider than {WIDEST}, for which there is room"]
        if problems:
            raise InputError.all_at_once("this model cannot be searched in the fast way:", problems)
        parameter = next(model.parameters())
        self.device = torch.device(device or parameter.device)
        if self.device == torch.device("cuda"):
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.limits = limits
        self.nbest = nbest or limits.beam_size
        self.eos, self.pad = dictionary.eos(), dictionary.pad()
        self._longest = longest
        self._positions = int(cast(Any, model).max_decoder_positions())
        times = limits.max_len(longest, self._positions) + 1
        if times <= limits.min_len:
            raise InputError(f"min_len {limits.min_len} is above the greatest length there is, {times - 1}")
        on_gpu = self.device.type == "cuda"
        self._stream = torch.cuda.Stream(self.device) if on_gpu else None
        self._graphs: dict[tuple[int, int, int], Any] | None = None
        if on_gpu and graphs is not False:
            self._graphs = {}
            self._pool = torch.cuda.graph_pool_handle()
        self._seen: set[tuple[int, int, int]] = set()
        self._active = False

        with torch.inference_mode():
            self.weights = transformer_steps.load(model, dtype or parameter.dtype, self.device, max(longest, times) + 8)
            self.kernels = choose_kernels(kernels, self.weights, limits.beam_size)
            room = self._room(slots, times)
            self.slots = room
            self.sizes = step_sizes(room)
            self._times, self._sources = times, _round_up(longest, 8)
            self._memory = transformer_steps.new_memory(self.weights, room, limits.beam_size, times, self._sources)
            self._state = new_state(room, limits.beam_size, times, self.device)
            exponent = limits.len_penalty if limits.normalize_scores else 0.0
            norm = torch.tensor([float(i + 1) ** exponent for i in range(times)], device=self.device)
            prefix = torch.full((), -1, dtype=torch.int64, device=self.device)
            self._rules = Rules(self.pad, self.eos, limits.min_len, prefix, norm)
        if on_gpu:
            torch.cuda.synchronize(self.device)

    def _room(self, slots: int, times: int) -> int:
        """How many slots the device has memory for, at most ``slots``."""
        if self.device.type != "cuda":
            return slots
        beam, weights = self.limits.beam_size, self.weights
        size = weights.words.element_size()
        layers, width = len(weights.decoder.layers), weights.width
        kept = layers * 2 * width * size * (times * beam + _round_up(self._longest, 8))
        # logits, with what is made of them without Triton; and the keys and values of sentences just read
        passing = beam * weights.words.shape[0] * (size + (8 if self.kernels.READS_ALL else 1))
        passing += 2 * self._longest * width * size * 8
        free, _ = torch.cuda.mem_get_info(self.device)
        room = min(slots, int(0.85 * free / (kept + passing)))
        if room < 1:
            raise InputError(
                f"the GPU has {free / 2**20:.0f} MiB free; one sentence of {self._longest} tokens with {times} steps "
                f"needs {(kept + passing) / 2**20:.0f}. Give a smaller --max-len-b, --longest or --beam"
            )
        return room

    # --- what happens on the device: launched, never waited for -------------------------------------------------

    @contextlib.contextmanager
    def _on_device(self) -> Iterator[None]:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            # cuDNN's attention would make a plan for each shape that comes
            backends = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
            stack.enter_context(sdpa_kernel(backends))
            if self._stream is not None:
                stack.enter_context(torch.cuda.stream(self._stream))
            yield

    def _to_device(self, values: Any, dtype: torch.dtype = torch.int64) -> Tensor:
        tensor = torch.as_tensor(np.asarray(values), dtype=dtype)
        if self._stream is None:
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _admit(self, sentences: Sequence[Sentence], slots: Sequence[int]) -> None:
        """Encodes sentences and gives them slots."""
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i].tokens))
        with self._on_device():
            while order:
                longest = _round_up(max(len(sentences[order[-1]].tokens), 1), 8)
                group = order[-max(1, ENCODER_TOKENS // longest) :]
                del order[-len(group) :]
                self._encode([sentences[i] for i in group], [slots[i] for i in group], longest)

    def _encode(self, sentences: Sequence[Sentence], slots: Sequence[int], longest: int) -> None:
        lengths = [len(sentence.tokens) for sentence in sentences]
        padded = np.full((len(sentences), longest), self.pad)
        for row, sentence in zip(padded, sentences, strict=True):
            row[: len(sentence.tokens)] = sentence.tokens
        where, of = self._to_device(slots), self._to_device(lengths)
        ragged = min(lengths) < longest
        encoded = transformer_steps.encode(self.weights, self.kernels, self._to_device(padded), of, ragged)
        transformer_steps.remember(self.weights, self._memory, encoded, of, where)
        state, beam = self._state, self.limits.beam_size
        state.step.index_fill_(0, where, 0)
        state.finished.index_fill_(0, where, 0)
        state.done.index_fill_(0, where, False)
        state.tokens.index_fill_(0, where, self.eos)
        state.max_len[where] = self._to_device([sentence.max_len for sentence in sentences])
        # all hypotheses are alike at first: only one of them counts
        state.scores[where] = self._to_device([0.0] + [-np.inf] * (beam - 1), torch.float32)

    def _step(self, n: int, times: int, reach: int) -> None:
        state = self._state.of(n)
        logits = transformer_steps.decode(
            self.weights, self.kernels, self._memory, state.tokens, state.step, state.ancestors, times, reach
        )
        values, words, totals = self.kernels.top_words(logits, 2 * self.limits.beam_size + 2)
        advance(values, words, totals, logits, state, self._rules)

    def _launch(self, n: int, times: int, reach: int) -> HostCopy:
        """One step for the first ``n`` slots; returns which of them are done."""
        key = (n, times, reach) if self.kernels.READS_ALL else (n, 0, 0)
        with self._on_device():
            if self._graphs is None:
                self._step(n, times, reach)
            elif key in self._graphs:
                self._graphs[key].replay()
            elif key not in self._seen:
                # in earnest, and by the way what a capture needs to have been done before: kernels are compiled
                self._step(n, times, reach)
                self._seen.add(key)
            else:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    self._step(n, times, reach)
                self._graphs[key] = graph
                graph.replay()
            return HostCopy(self._state.done[:n])

    def _collect(self, slots: Sequence[int], steps: int) -> HostCopy:
        """What :func:`trace` needs of finished sentences that took at most ``steps`` steps."""
        state = self._state
        with self._on_device():
            where = self._to_device(slots)
            return HostCopy(
                state.finished[where], state.end_step[where], state.end_place[where], state.end_score[where],
                state.history[where, : steps + 1], state.parents[where, :steps],
            )  # fmt: skip

    def _move(self, pairs: Sequence[tuple[int, int]], steps: int) -> None:
        """Moves sentences, which took at most ``steps`` steps, to other slots."""
        with self._on_device():
            old, new = (self._to_device(column) for column in zip(*pairs, strict=True))
            for tensor in (*self._state, self._memory.lengths):
                tensor[new] = tensor[old]
            places = steps * self.limits.beam_size
            for own, source in zip(self._memory.own, self._memory.source, strict=True):
                own[:, new, :, :places] = own[:, old, :, :places]
                source[:, new] = source[:, old]

    # --- what the processor decides ------------------------------------------------------------------------------

    def search_batches(
        self, batches: Iterable[Sequence[Sequence[int]]], prefix: int | None = None
    ) -> Iterator[list[list[Hypothesis]]]:
        """Searches batches of sentences, working ahead of what it hands out.

        Sentences that come one after the other should be of about the same length; how many make a batch does not
        matter, but for ``max_len_a``.

        Args:
            batches: of sentences, each a list of token numbers as the encoder is to see them, end of sentence included.
            prefix: the token that every hypothesis begins with: the target language.

        Yields:
            for each batch, in order: for each of its sentences, in order, the hypotheses that were found, best first;
            ``nbest`` of them, or fewer if the greatest length was reached before so many had ended.

        Raises:
            InputError: a sentence is empty, or longer than ``longest``; or the model's numbers overflowed.
        """
        if self._active:
            raise RuntimeError("this search is still at work for another caller")
        self._active = True
        try:
            with self._on_device():
                self._state.done.fill_(True)
                self._rules.prefix.fill_(-1 if prefix is None else prefix)
            yield from _Schedule(self, batches).run()
        finally:
            self._active = False

    def sentences_of(self, batch: Sequence[Sequence[int]], number: int) -> list[Sentence]:
        """A batch, checked.

        Raises:
            InputError: see :meth:`search_batches`.
        """
        longest = max((len(tokens) for tokens in batch), default=0)
        if longest > self._longest or not all(len(tokens) for tokens in batch):
            raise InputError(
                f"sentences must have from 1 to {self._longest} tokens; this batch has "
                f"{min(len(tokens) for tokens in batch)} to {longest}"
            )
        max_len = self.limits.max_len(longest, self._positions)
        if batch and max_len < self.limits.min_len:
            raise InputError(
                f"min_len {self.limits.min_len} is above the greatest length for {longest} source tokens, {max_len}"
            )
        return [Sentence(number, place, tokens, max_len) for place, tokens in enumerate(batch)]


class _Schedule:
    """One run of :meth:`BeamSearch.search_batches`: which sentence is where, and when."""

    def __init__(self, search: BeamSearch, batches: Iterable[Sequence[Sequence[int]]]):
        self.search = search
        self.source: Iterator[Sequence[Sequence[int]]] | None = iter(batches)
        self.waiting: deque[Sentence] = deque()
        self.free = list(range(search.slots))  # a heap: the lowest first, so that the used ones stay together
        self.running: dict[int, Running] = {}
        # of each slot: the number of the sentence that has it, the steps launched before its first, its tokens
        self.occupant = np.full(search.slots, -1)
        self.started = np.zeros(search.slots, dtype=np.int64)
        self.tokens = np.zeros(search.slots, dtype=np.int64)
        self.admitted = 0
        self.launched = 0
        self.flags: deque[tuple[HostCopy, np.ndarray]] = deque()
        self.deadlines: dict[int, list[int]] = {}
        self.copies: deque[tuple[HostCopy, list[Sentence]]] = deque()
        self.batches = 0
        self.results: dict[int, list[list[Hypothesis] | None]] = {}
        self.missing: dict[int, int] = {}
        self.handed = 0

    def run(self) -> Iterator[list[list[Hypothesis]]]:
        search = self.search
        # less often means larger groups for the encoder, and longer times in which a slot is free
        enough = max(1, search.slots // 8)
        while True:
            self._take()
            if self.waiting and (len(self.free) >= min(enough, len(self.waiting)) or not self.running):
                self._admit()
            if not self.waiting and self.source is None:
                self._close_ranks()
            if self.running:
                self._launch()
            while len(self.flags) > (search.lag if self.running else 0):
                self._look()
            while self.copies and (not self.running or self.copies[0][0].ready()):
                self._trace()
            yield from self._hand_out()
            if not (self.running or self.waiting or self.copies or self.source):
                return

    def _take(self) -> None:
        """Takes batches until there are as many sentences as slots waiting."""
        while self.source is not None and len(self.waiting) < len(self.free):
            batch = next(self.source, None)
            if batch is None:
                self.source = None
                return
            sentences = self.search.sentences_of(batch, self.batches)
            self.results[self.batches] = [None] * len(sentences)
            self.missing[self.batches] = len(sentences)
            self.batches += 1
            self.waiting.extend(sentences)

    def _admit(self) -> None:
        number = min(len(self.free), len(self.waiting))
        sentences = [self.waiting.popleft() for _ in range(number)]
        slots = [heapq.heappop(self.free) for _ in range(number)]
        self.search._admit(sentences, slots)
        for sentence, slot in zip(sentences, slots, strict=True):
            self.running[self.admitted] = Running(sentence, slot)
            self.occupant[slot] = self.admitted
            self.started[slot], self.tokens[slot] = self.launched, len(sentence.tokens)
            self.deadlines.setdefault(self.launched + sentence.max_len + 1, []).append(self.admitted)
            self.admitted += 1

    def _close_ranks(self) -> None:
        """When no sentence is to come: moves the last ones to the first slots, if fewer slots then do."""
        if not self.running:
            return
        sizes = self.search.sizes
        used = np.flatnonzero(self.occupant >= 0)
        size = next(size for size in sizes if size >= len(used))
        if used[-1] < size:
            return
        outside = used[used >= size]
        pairs = [(int(slot), heapq.heappop(self.free)) for slot in outside]
        for old, new in pairs:
            heapq.heappush(self.free, old)
            self.running[self.occupant[old]].slot = new
            for of_slot in (self.occupant, self.started, self.tokens):
                of_slot[new] = of_slot[old]
            self.occupant[old] = -1
        self.search._move(pairs, int(self.launched - self.started[[new for _, new in pairs]].min()))

    def _launch(self) -> None:
        search = self.search
        used = np.flatnonzero(self.occupant >= 0)
        n = next(size for size in search.sizes if size > used[-1])
        times = min(_round_up(self.launched - self.started[used].min() + 1, 16), search._times)
        reach = min(_round_up(self.tokens[used].max(), 16), search._sources)
        done = search._launch(n, times, reach)
        self.launched += 1
        self.flags.append((done, self.occupant[:n].copy()))
        # no need to look: these are at their greatest length
        self._collect(self.deadlines.pop(self.launched, []))

    def _look(self) -> None:
        copy, occupants = self.flags.popleft()
        (done,) = copy.get()
        self._collect(occupants[done].tolist())

    def _collect(self, numbers: Iterable[int]) -> None:
        finished = [self.running.pop(number) for number in numbers if number in self.running]
        if not finished:
            return
        slots = [running.slot for running in finished]
        copy = self.search._collect(slots, int(self.launched - self.started[slots].min()))
        self.copies.append((copy, [running.sentence for running in finished]))
        for running in finished:
            self.occupant[running.slot] = -1
            heapq.heappush(self.free, running.slot)

    def _trace(self) -> None:
        search = self.search
        copy, sentences = self.copies.popleft()
        finished, step, place, score, history, parents = copy.get()
        if not finished.all():
            raise InputError(
                "the model's numbers overflowed: every continuation of a sentence has the probability NaN. "
                "Translate with --precision fp32, or bf16"
            )
        ends = step[:, :-1], place[:, :-1], score[:, :-1]
        traced = trace(finished, *ends, history, parents, search.eos, search.nbest)
        for sentence, hypotheses in zip(sentences, traced, strict=True):
            self.results[sentence.batch][sentence.place] = hypotheses
            self.missing[sentence.batch] -= 1

    def _hand_out(self) -> Iterator[list[list[Hypothesis]]]:
        while self.missing.get(self.handed) == 0:
            del self.missing[self.handed]
            self.handed += 1
            yield cast(list[list[Hypothesis]], self.results.pop(self.handed - 1))


def choose_kernels(kernels: Kernels | str, weights: transformer_steps.Transformer, beam: int) -> Kernels:
    """The module of a name; "auto" is Triton where it can be had, that is, on most GPUs."""
    if not isinstance(kernels, str):
        return kernels
    if kernels == "torch" or (kernels == "auto" and weights.words.device.type != "cuda"):
        return cast(Kernels, torch_kernels)
    if kernels not in ("auto", "triton"):
        raise InputError(f"there are no kernels {kernels!r}; there are auto, torch and triton")
    try:
        from fairseq_musc.translate import triton_kernels
    except ImportError as error:
        problems = [str(error)]
    else:
        problems = triton_kernels.problems(weights.decoder.heads, weights.width, beam, weights.words.device)
        if not problems:
            return cast(Kernels, triton_kernels)
    if kernels == "triton":
        raise InputError.all_at_once("Triton's kernels cannot be used:", problems)
    return cast(Kernels, torch_kernels)


def step_sizes(slots: int) -> list[int]:
    """The numbers of slots that a step may have, ascending; few, since each is a graph."""
    sizes = {slots}
    size = slots
    while size > 8:
        sizes |= {size * 3 // 4, size // 2}
        size //= 2
    return sorted(sizes)


def search(
    model: nn.Module,
    src_tokens: Tensor,
    src_lengths: Tensor,
    prefix_token: int | None,
    limits: Limits = Limits(),
    **options: Any,
) -> list[list[Hypothesis]]:
    """Searches one batch, as fairseq's ``generator.generate`` would.

    Args:
        model: a fairseq TransformerModel.
        src_tokens: (n, S), padded on the left or on the right.
        src_lengths: (n,).
        prefix_token: the token that every hypothesis begins with, if any.
        limits: which hypotheses are found.
        options: of :class:`BeamSearch`.

    Returns:
        for each sentence the hypotheses that were found, best first.

    Raises:
        InputError: see :class:`BeamSearch` and its :meth:`~BeamSearch.search_batches`.
    """
    pad = cast(Any, model).encoder.padding_idx
    batch = [[token for token in row if token != pad] for row in src_tokens.tolist()]
    if [len(tokens) for tokens in batch] != src_lengths.tolist():
        raise InputError("src_lengths are not the numbers of tokens in src_tokens that are no padding")
    options = {"slots": max(1, len(batch)), **options}
    searcher = BeamSearch(model, limits, longest=max([1, *map(len, batch)]), **options)
    return next(searcher.search_batches([batch], prefix_token)) if batch else []


def _round_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
