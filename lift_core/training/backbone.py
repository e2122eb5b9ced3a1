"""The frozen base model, loaded once, and the adapters that are put on it for a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from lift_core.records import LoraRecipe
from lift_core.training import attention
from lift_core.training.lora import Routing, fuse
from lift_core.training.packing import Pack
from lift_core.training.parallel import Ranks
from lift_core.training.products import use_fastest


class Backbone:
    """A base model that several trainings use one after the other: loading it is paid once.

    With several ``ranks`` each has it whole on its own device, or with ``shard`` a part of every layer: a
    layer is put together when it is needed, by all processes in the same moment.
    """

    def __init__(
        self, folder: Path, precision: str, ranks: Ranks | None = None, *, shard: bool = False
    ) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.ranks = ranks or Ranks()
        self.ranks.tell("load", folder, precision, shard)
        self.sharded = shard and self.ranks.size > 1
        attention.register()
        self.folder = folder
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        # Safetensors are mapped into memory, not read: pages come when a layer first needs them.
        self.base: Any = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=self.dtype, attn_implementation=attention.NAME
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.base.requires_grad_(False)
        if self.sharded:
            _shard(self.base, self.device, self.ranks.size)
        else:
            self.base.to(self.device)
        use_fastest(self.base)

    @contextmanager
    def adapters(self, names: Sequence[str], lora: LoraRecipe, seeds: Sequence[int]) -> Iterator[Adapters]:
        """Fresh LoRA matrices in float32, one set a name, each as if it were drawn alone by its seed.

        Afterwards the base is as it was before: its weights are never written to.
        """
        from peft import LoraConfig, get_peft_model

        self.ranks.tell("put_on", names, lora, seeds)
        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            use_rslora=lora.rslora,
            target_modules=list(lora.targets),
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
        )
        model: Any = None
        for name, seed in zip(names, seeds, strict=True):
            torch.manual_seed(seed)
            if model is None:
                model = get_peft_model(self.base, config, adapter_name=name)
            else:
                model.add_adapter(name, config)
        for name, parameter in model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                # PEFT lets only the newest adapter learn.
                parameter.requires_grad_(True)
                parameter.data = parameter.data.float()
        routing = Routing()
        fuse(model, routing)
        model.train()
        try:
            yield Adapters(model, routing, self)
            # Not after an error: nobody knows then where the others are.
            self.ranks.tell("take_off")
        finally:
            # Not `unload`: it shows a progress bar.
            model.base_model._unload_and_optionally_merge(merge=False, progressbar=False)

    def __repr__(self) -> str:
        return f"Backbone({self.folder.name}, {self.dtype})"


def _shard(base: Any, device: torch.device, size: int) -> None:
    """Cut a model's layers among the processes; embeddings and head stay whole, they are small beside them.

    Adapters that are put on later are no part of it: each process has them whole.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    mesh = init_device_mesh(device.type, (size,))
    for layer in base.model.layers:
        # A layer goes to the device when it is cut: the whole model is never there.
        fully_shard(layer, mesh=mesh)
    base.to(device)
    whole = {parameter for parameter in base.model.parameters() if not isinstance(parameter, DTensor)}
    fully_shard(base.model, mesh=mesh, ignored_params=whole)


class Adapters:
    """A base model with adapters on it: their matrices, and the way to compute with them."""

    def __init__(self, model: Any, routing: Routing, backbone: Backbone) -> None:
        self.model = model
        self.backbone = backbone
        self._routing = routing
        self._causal = model.get_base_model()
        config = self._causal.config
        # Gemma 2 bends its logits; a model's own head does that, and it is not asked here.
        self._soft_cap = getattr(config, "final_logit_softcapping", None)

    def parameters(self, name: str) -> dict[str, torch.nn.Parameter]:
        """An adapter's matrices by their name in the model, without the adapter's own name."""
        return {
            key.replace(f".{name}.", "."): parameter
            for key, parameter in self.model.named_parameters()
            if f".lora_A.{name}." in key or f".lora_B.{name}." in key
        }

    def logits(self, pack: Pack) -> torch.Tensor:
        """Vocabulary logits at a pack's ``sources``, (m, vocabulary), in float32."""
        device = self.backbone.device
        self._routing.spans = pack.spans
        hidden = self._causal.model(
            input_ids=pack.ids.to(device),
            position_ids=pack.positions.to(device),
            rows=pack.rows.to(device),
            use_cache=False,
        ).last_hidden_state[0]
        logits: torch.Tensor = self._causal.lm_head(hidden[pack.sources.to(device)]).float()
        if self._soft_cap is not None:
            logits = self._soft_cap * torch.tanh(logits / self._soft_cap)
        return logits

    @cached_property
    def flops_per_token(self) -> float:
        """Operations of one token's forward and backward pass through the layers' matrices.

        A frozen matrix costs 2 a weight forward and 2 back; one that learns 2 more. Attention's own
        products and the vocabulary's are not counted here.
        """
        frozen = learning = 0
        for module in self._causal.model.modules():
            if hasattr(module, "lora_A"):
                frozen += module.base_layer.weight.numel()
                first = next(iter(module.lora_A))
                learning += module.lora_A[first].weight.numel() + module.lora_B[first].weight.numel()
        return 4.0 * frozen + 6.0 * learning

    @cached_property
    def flops_per_answer_token(self) -> float:
        """Operations of the vocabulary's matrix at one position, forward and back."""
        return 4.0 * float(self._causal.lm_head.weight.numel())
