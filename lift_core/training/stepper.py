"""One optimizer step: the batches of one or several adapters, in as few passes as fit."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog
import torch
import torch.nn.functional as F

from lift_core.errors import TransientError
from lift_core.records import TrainingRecipe
from lift_core.training.backbone import Adapters
from lift_core.training.encoding import Example
from lift_core.training.packing import Batch, pack, packs
from lift_core.training.parallel import shares

_log = structlog.get_logger("lift.training")


class Stepper:
    """Trains adapters that share a base; each has its own loss, rate and optimizer state.

    An adapter that is trained with others learns what it would alone: no token of one sees another's, the
    losses are added up unweighted, and AdamW treats every number by itself.

    With several processes each computes its share of a batch's examples, and all take the same step: its
    gradient is that of one process but for the rounding of sums in another order.
    """

    def __init__(self, adapters: Adapters, recipes: Mapping[str, TrainingRecipe]) -> None:
        self._adapters = adapters
        self._ranks = adapters.backbone.ranks
        self._ranks.tell("train", dict(recipes))
        self._recipes = dict(recipes)
        self._parameters = {name: adapters.parameters(name) for name in recipes}
        self._optimizer = torch.optim.AdamW(
            [
                {
                    "params": list(self._parameters[name].values()),
                    "lr": recipe.learning_rate,
                    "weight_decay": recipe.weight_decay,
                    "name": name,
                }
                for name, recipe in recipes.items()
            ],
            # One kernel for all matrices: hundreds of small ones cost more to start than to compute.
            fused=True,
        )
        self.token_budget = max(recipe.token_budget for recipe in recipes.values())
        self.tokens = dict.fromkeys(recipes, 0)
        self.answer_tokens = dict.fromkeys(recipes, 0)

    def step(self, batches: Sequence[Batch], rates: Mapping[str, float] | None = None) -> dict[str, float]:
        """Train each adapter on its batches, at its recipe's learning rate or another one.

        Where a device's memory does not suffice, the budget is halved and the step done anew: nothing has
        been learned of it until then. With a sharded model that is an error: the other processes are in the
        midst of a pass that needs this one.

        Returns each adapter's mean loss over the batch's answer tokens, in nats.

        Raises:
            torch.OutOfMemoryError: not even one example fits.
            TransientError: another process has ended, or does not answer.
        """
        self._ranks.tell("step", batches, rates)
        for group in self._optimizer.param_groups:
            name = group["name"]
            group["lr"] = (rates or {}).get(name, self._recipes[name].learning_rate)
        names = list(dict.fromkeys(batch.adapter for batch in batches))
        while True:
            self._optimizer.zero_grad(set_to_none=True)
            dealt = self._deal(batches)
            losses = dict.fromkeys(names, 0.0)
            gradient, refusal = None, None
            try:
                with self._in_touch():
                    self._backward(batches, dealt, losses)
                gradient = self._gradient(names)
            except torch.OutOfMemoryError as error:
                if self._adapters.backbone.sharded:
                    raise torch.OutOfMemoryError(
                        f"{error} (a step with a sharded model cannot be done again in smaller passes: lower "
                        f"the recipe's token_budget of {self.token_budget})"
                    ) from error
                # Without its trace, which would keep the failed pass in memory.
                refusal = error.with_traceback(None)
            refused, *sums = self._ranks.totals([float(refusal is not None), *losses.values()])
            if not refused:
                break
            self._halve(batches, refusal)
        if gradient is not None:
            self._ranks.add_up(gradient)
        self._optimizer.step()
        for batch in (batch for groups in dealt for group in groups for batch in group):
            self.tokens[batch.adapter] += len(batch.prefix) + sum(each.length for each in batch.examples)
            self.answer_tokens[batch.adapter] += batch.answer_tokens
        return dict(zip(names, sums, strict=True))

    def _deal(self, batches: Sequence[Batch]) -> list[list[list[Batch]]]:
        """Every process's packs; all of them know those of all."""
        return [list(packs(share, self.token_budget)) for share in shares(batches, self._ranks.size)]

    def _backward(
        self, batches: Sequence[Batch], dealt: Sequence[Sequence[list[Batch]]], losses: dict[str, float]
    ) -> None:
        """Gradients and losses of this process's packs, added to what is there."""
        answer_tokens: Counter[str] = Counter()
        for batch in batches:
            answer_tokens[batch.adapter] += batch.answer_tokens
        for group in dealt[self._ranks.rank]:
            found = self.loss_sums(group)
            parts = {name: loss / answer_tokens[name] for name, loss in found.items()}
            torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
            for name, part in parts.items():
                losses[name] += part.item()
        for group in self._idle(dealt):
            for loss in self.loss_sums(group).values():
                (loss * 0).backward()  # type: ignore[no-untyped-call]

    def _idle(self, dealt: Sequence[Sequence[list[Batch]]]) -> list[list[Batch]]:
        """Packs without meaning: with a sharded model, a process that has fewer passes than another must
        run along to lend its parts of the layers."""
        if not self._adapters.backbone.sharded:
            return []
        missing = max(len(groups) for groups in dealt) - len(dealt[self._ranks.rank])
        name = next(batch.adapter for groups in dealt for group in groups for batch in group)
        return [[Batch(name, (), (Example((0,), (0,)),))]] * missing

    def _in_touch(self) -> AbstractContextManager[None]:
        return self._ranks.in_touch() if self._adapters.backbone.sharded else nullcontext()

    def _gradient(self, names: Sequence[str]) -> torch.Tensor | None:
        """The adapters' gradients as one vector, of which they are views from now on; None where this
        process is the only one. Zero where this one had no part in the step."""
        if self._ranks.size == 1:
            return None
        parameters = [parameter for name in names for parameter in self._parameters[name].values()]
        vector = torch.cat(
            [(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in parameters]
        )
        parts = torch.split(vector, [each.numel() for each in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        return vector

    def _halve(self, batches: Sequence[Batch], refusal: torch.OutOfMemoryError | None) -> None:
        refusal = refusal or torch.OutOfMemoryError("another of the training's processes ran out of memory")
        longest = max(each.length for batch in batches for each in batch.examples)
        if self.token_budget <= longest:
            raise refusal
        self.token_budget //= 2
        if self._ranks.rank == 0:
            _log.warning(
                "out of memory: the step is done again in smaller passes", token_budget=self.token_budget
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def loss_sums(self, group: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Summed cross-entropy of the answer tokens in a pack, by adapter."""
        packed = pack(group)
        logits = self._adapters.logits(packed)
        targets = packed.targets.to(logits.device)
        sums: dict[str, torch.Tensor] = {}
        for name, place in packed.answers:
            found = F.cross_entropy(logits[place], targets[place], reduction="sum")
            sums[name] = sums[name] + found if name in sums else found
        return sums

    @torch.no_grad()
    def mean_loss(self, batch: Batch) -> float:
        """Mean loss over a batch's answer tokens in nats; nothing is learned."""
        self._ranks.tell("mean_loss", batch)
        dealt = self._deal([batch])
        with self._in_touch():
            own = sum(
                loss.item() for group in dealt[self._ranks.rank] for loss in self.loss_sums(group).values()
            )
            for group in self._idle(dealt):
                self.loss_sums(group)
        (total,) = self._ranks.totals([own])
        return total / batch.answer_tokens

    def compare(self, names: Sequence[str]) -> None:
        """Make sure that every process has the same matrices, bit for bit.

        Raises:
            TransientError: they have not.
        """
        if self._ranks.size == 1:
            return
        self._ranks.tell("compare", names)
        digest = hashlib.sha256()
        for name in names:
            for parameter in self._parameters[name].values():
                digest.update(parameter.detach().cpu().contiguous().numpy().data)
        if not self._ranks.agree(int.from_bytes(digest.digest()[:7])):
            raise TransientError(
                "the processes of a training ended with different adapters: one of them computes wrongly"
            )

    def flops(self, name: str) -> float:
        """Operations of an adapter's tokens so far, without attention's own products."""
        return (
            self.tokens[name] * self._adapters.flops_per_token
            + self.answer_tokens[name] * self._adapters.flops_per_answer_token
        )

    # --- what a checkpoint holds ----------------------------------------------------------

    def state(self, name: str) -> dict[str, torch.Tensor]:
        """An adapter's matrices and its optimizer's state, by name; the tensors are the live ones."""
        found: dict[str, torch.Tensor] = {}
        for key, parameter in self._parameters[name].items():
            found[f"weight/{key}"] = parameter.data
            for part, tensor in self._optimizer.state.get(parameter, {}).items():
                found[f"{part}/{key}"] = tensor
        return found

    def load_state(self, name: str, state: Mapping[str, torch.Tensor]) -> None:
        """Put an adapter and its optimizer where :meth:`state` saw them.

        Raises:
            KeyError: the state is not one of such an adapter.
        """
        self._ranks.tell("load_state", name, dict(state))
        for key, parameter in self._parameters[name].items():
            parameter.data.copy_(state[f"weight/{key}"])
            kept: dict[str, Any] = {
                part: state[f"{part}/{key}"].to(parameter.device)
                for part in ("step", "exp_avg", "exp_avg_sq")
                if f"{part}/{key}" in state
            }
            if kept:
                self._optimizer.state[parameter] = kept

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        """A copy of an adapter's matrices."""
        return {key: parameter.detach().clone() for key, parameter in self._parameters[name].items()}

    def load_weights(self, name: str, weights: Mapping[str, torch.Tensor]) -> None:
        """Put an adapter's matrices where :meth:`weights` saw them; its optimizer stays."""
        self._ranks.tell("load_weights", name, dict(weights))
        for key, parameter in self._parameters[name].items():
            parameter.data.copy_(weights[key])
