"""lm-evaluation-harness's model, with what many prompts begin with computed once.

A few-shot prompt is mostly examples: of MMLU's 600 to 1,000 tokens some 100 belong to the item. The harness
computes all of them for every item, and the vocabulary's logits at every one. Here the tokens that requests
begin with in common are computed once for all of them, and logits only where an answer is scored. Requests,
tokens and answers are the harness's own; what comes out agrees with its ``hf`` model (the tests compare
them, and ``lift bench evaluation``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from lm_eval.models.huggingface import HFLM

from lift_core.evaluation.quiet import quiet_harness

MIN_SHARED_TOKENS = 32
"""Shorter beginnings are not worth a pass of their own."""
TOKENS_PER_PASS = 6144
ROWS_PER_PASS = 64

Request = tuple[tuple[str, str], list[int], list[int]]


@dataclass(frozen=True)
class _Row:
    """One sequence to compute for all requests that ask for it; it ends before the last answer token."""

    tokens: tuple[int, ...]
    scored: int
    """At how many of its last positions an answer is scored."""
    requests: tuple[int, ...]


class SharedPrefixModel(HFLM):  # type: ignore[misc]
    """``HFLM`` over a loaded model; the caller sets or disables its adapter."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        with quiet_harness():
            super().__init__(
                pretrained=model, tokenizer=tokenizer, batch_size=ROWS_PER_PASS, backend="causal"
            )
        self.on_progress: Callable[[int], None] = lambda requests: None
        """Told how many requests are done, now and then."""

    def tokens_of(self, context: str, continuation: str) -> int:
        """How many tokens of the continuation are scored after the context."""
        return len(self._encode_pair(context, continuation)[1])

    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        answers: dict[int, tuple[float, bool]] = {}
        for rows, shared in _by_beginning(self._rows(requests)):
            prefix = self._prefix(rows[0].tokens[:shared])
            for batch in _batches(rows, shared):
                logits = self._logits(batch, shared, prefix)
                for row, row_logits in zip(batch, logits, strict=True):
                    for number in row.requests:
                        answers[number] = _score(row_logits, requests[number][2])
                self.on_progress(len(answers))
        return [answers[number] for number in range(len(requests))]

    def _rows(self, requests: Sequence[Request]) -> list[_Row]:
        """One row for each different input; requests whose answers differ in the last token share one."""
        wanted: dict[tuple[int, ...], list[int]] = {}
        for number, (_, context, continuation) in enumerate(requests):
            # As the harness does it: too long a text loses its beginning, and the last token is not input.
            tokens = tuple((context + continuation)[-(self.max_length + 1) :][:-1])
            wanted.setdefault(tokens, []).append(number)
        return [
            _Row(tokens, max(len(requests[number][2]) for number in numbers), tuple(numbers))
            for tokens, numbers in wanted.items()
        ]

    @torch.no_grad()
    def _prefix(self, tokens: Sequence[int]) -> Any:
        """Keys and values of a beginning, for one row; None where there is no beginning."""
        if not tokens:
            return None
        inputs = torch.tensor([tokens], device=self.device)
        return self.model(input_ids=inputs, use_cache=True, logits_to_keep=1).past_key_values

    @torch.no_grad()
    def _logits(self, batch: Sequence[_Row], shared: int, prefix: Any) -> Iterator[torch.Tensor]:
        """For each row the logits at its scored positions, (scored, vocabulary)."""
        ids, attend, positions = self._padded([row.tokens[shared:] for row in batch], shared)
        keep = max(row.scored for row in batch)
        logits = self.model(
            input_ids=ids,
            attention_mask=attend,
            position_ids=positions,
            past_key_values=_for_rows(prefix, len(batch)),
            use_cache=prefix is not None,
            logits_to_keep=keep,
        ).logits
        return (row_logits[keep - row.scored :] for row, row_logits in zip(batch, logits, strict=True))

    def _padded(
        self, rest: Sequence[Sequence[int]], shared: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The rows after the beginning, padded on the left: ids and positions (rows, longest), and what
        they attend to, (rows, shared + longest)."""
        longest = max(len(tokens) for tokens in rest)
        ids = torch.full((len(rest), longest), int(self.tokenizer.pad_token_id))
        attend = torch.zeros((len(rest), shared + longest), dtype=torch.long)
        attend[:, :shared] = 1
        for row, tokens in enumerate(rest):
            ids[row, longest - len(tokens) :] = torch.tensor(tokens)
            attend[row, shared + longest - len(tokens) :] = 1
        positions = (attend.cumsum(1) - 1).clamp(min=0)[:, shared:]
        return ids.to(self.device), attend.to(self.device), positions.to(self.device)

    @torch.no_grad()
    def _model_generate(
        self,
        context: torch.Tensor,
        max_length: int,
        stop: list[str],
        *,
        attention_mask: torch.Tensor,
        **generation_kwargs: Any,
    ) -> torch.Tensor:
        """The harness's call for one batch, padded on the left; (rows, longest + new tokens)."""
        rows = [
            ids[attend.bool()].tolist()
            for ids, attend in zip(context.cpu(), attention_mask.cpu(), strict=True)
        ]
        # A row needs at least one token of its own to go on from.
        shared = min(*(_common(rows[0], row) for row in rows), min(map(len, rows)) - 1)
        past = None
        if shared >= MIN_SHARED_TOKENS:
            # The padding moves from before the examples to after them, where the rows differ.
            past = _for_rows(self._prefix(rows[0][:shared]), len(rows))
            rest, attention_mask, _ = self._padded([row[shared:] for row in rows], shared)
            beginning = torch.tensor([rows[0][:shared]] * len(rows), device=self.device)
            context = torch.cat([beginning, rest], dim=1)
        return torch.as_tensor(
            super()._model_generate(
                context,
                max_length,
                stop,
                attention_mask=attention_mask,
                past_key_values=past,
                **generation_kwargs,
            )
        )


def _by_beginning(rows: Sequence[_Row]) -> Iterator[tuple[list[_Row], int]]:
    """Rows that begin alike, with how many tokens they share (0 where that is not worth it)."""
    alone: list[_Row] = []
    group: list[_Row] = []
    shared = 0
    for row in [*sorted(rows, key=lambda row: row.tokens), None]:
        reach = (
            0 if row is None or not group else min(shared, _common(group[0].tokens, row.tokens), _own(row))
        )
        # A row that would halve what the others share begins a group of its own.
        if row is not None and group and reach >= max(MIN_SHARED_TOKENS, shared // 2):
            group.append(row)
            shared = reach
            continue
        if len(group) > 1:
            yield group, shared
        else:
            alone += group
        if row is not None:
            group, shared = [row], _own(row)
    if alone:
        yield alone, 0


def _own(row: _Row) -> int:
    """How many tokens of a row may come from a beginning: the scored positions are computed with the row."""
    return len(row.tokens) - row.scored


def _batches(rows: Sequence[_Row], shared: int) -> Iterator[list[_Row]]:
    """Rows of like length together, as many as a pass may hold."""
    batch: list[_Row] = []
    for row in sorted(rows, key=lambda row: len(row.tokens), reverse=True):
        longest = len((batch or [row])[0].tokens) - shared
        if batch and (len(batch) == ROWS_PER_PASS or (len(batch) + 1) * longest > TOKENS_PER_PASS):
            yield batch
            batch = []
        batch.append(row)
    yield batch


def _for_rows(prefix: Any, rows: int) -> Any:
    """A copy of a beginning's keys and values for so many rows: the model adds to what it is given."""
    if prefix is None:
        return None
    repeated = copy.deepcopy(prefix)
    repeated.batch_repeat_interleave(rows)
    return repeated


def _score(logits: torch.Tensor, answer: Sequence[int]) -> tuple[float, bool]:
    """Log-likelihood of an answer in nats, and whether each of its tokens was the likeliest."""
    wanted = torch.tensor(answer, device=logits.device)
    logits = logits[-len(answer) :].float()
    picked = F.log_softmax(logits, dim=-1).gather(1, wanted[:, None])
    return float(picked.sum()), bool((logits.argmax(dim=-1) == wanted).all())


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    end = min(len(one), len(other))
    return next((place for place in range(end) if one[place] != other[place]), end)
