"""Whether an adapter's files are those that were registered, and fit the base model that is served.

vLLM answers with the base model, and without a word, where an adapter's tensors name no module of it.
So what does not fit is refused before vLLM sees it. Names and shapes are read from the headers of the
files; no tensor is loaded, and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

import structlog
from pydantic import TypeAdapter

from lift_core.errors import RefusedFilesError
from lift_core.records import AdapterRecord, Record

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_MAX_NAME = 128
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*-v[0-9]+")
_JSON_FILE = re.compile(r"[A-Za-z0-9_]+\.json")
_TENSOR = re.compile(r"base_model\.model\.(?P<module>\w+(\.\w+)*)\.lora_(?P<side>[AB])\.weight", re.ASCII)
_HEADER_LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100 * 10**6
"""As the format itself has it."""
_FLOAT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_NOT_SERVED = (
    "modules_to_save",
    "use_dora",
    "lora_bias",
    "rank_pattern",
    "alpha_pattern",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
)
"""Settings of PEFT that change what an adapter does, and that LIFT does not write."""


class AlteredFilesError(RefusedFilesError):
    """A file is missing, was added, or is not the one that was registered."""


class _Tensor(Record):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_TENSORS = TypeAdapter(dict[str, _Tensor])


def is_adapter_name(name: str) -> bool:
    """Whether a name has the form of an adapter's immutable one, ``<slug>-v7``."""
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def base_name(model: str) -> str:
    """A base model's own name: the last part of its folder's path, or of its name on the hub."""
    path = PurePath(model)
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        # The hub's cache: …/models--<owner>--<name>/snapshots/<commit>.
        return path.parent.parent.name.rsplit("--", 1)[-1]
    return path.name


def verify_adapter(
    folder: Path,
    adapter: AdapterRecord,
    *,
    base_model: str,
    max_rank: int | None = None,
    shapes: Mapping[str, tuple[int, int]] | None = None,
) -> None:
    """Return if an adapter's files in ``folder`` may be loaded beside a served base model.

    ``base_model`` is the served model's folder or name. ``max_rank`` is the largest rank that the server
    takes; None leaves that to the server. ``shapes`` maps each linear module of the base model to its
    numbers of input and output features, see `module_shapes`; None leaves them unchecked.

    Raises:
        AlteredFilesError: a file is missing, was added, or its sha256 is not the registered one.
        RefusedFilesError: the files do not fit the base model or the server, or are not what LIFT writes.
    """
    check_record(adapter, base_model)
    _check_files(folder, adapter)
    rank, targets = _check_config(folder / CONFIG, adapter, max_rank)
    modules = _read_modules(folder / WEIGHTS, adapter)
    _check_modules(modules, adapter, rank, targets)
    if shapes is not None:
        _check_shapes(modules, adapter, shapes)


def check_record(adapter: AdapterRecord, base_model: str) -> None:
    """Return if what the registry says of an adapter lets it be fetched for a served base model.

    Raises:
        RefusedFilesError: it is of another base model, or a name in it is not one that LIFT writes.
    """
    check_names(adapter)
    if base_name(adapter.base_model) != base_name(base_model):
        raise RefusedFilesError(
            f"adapter {adapter.name} is of base model '{adapter.base_model}', and this server has "
            f"'{base_name(base_model)}': ask a server that has its base model"
        )


def check_names(adapter: AdapterRecord) -> None:
    """Return if the names of an adapter and of its files may become paths on this machine.

    Raises:
        RefusedFilesError: one is not a name that LIFT writes.
    """
    if not is_adapter_name(adapter.name):
        raise RefusedFilesError(f"{adapter.name!r} is not the name of an adapter: those are like 'report-v7'")
    for name in sorted(adapter.files):
        if name != WEIGHTS and not _JSON_FILE.fullmatch(name):
            raise RefusedFilesError(
                f"adapter {adapter.name} has a file {name!r}, which is never loaded: only {WEIGHTS} and "
                "plain .json files are"
            )
    for name in (WEIGHTS, CONFIG):
        if name not in adapter.files:
            raise RefusedFilesError(f"adapter {adapter.name} has no {name}: it was registered without one")


@lru_cache(maxsize=8)
def module_shapes(base_model: str) -> Mapping[str, tuple[int, int]] | None:
    """Numbers of input and output features of each matrix of a base model, by its module's name.

    None where they cannot be told from the files: the model is not a local folder of safetensors, is
    quantized, or has several parts, whose modules have other names in memory than on disk.

    Raises:
        RefusedFilesError: a file of the model is not what its name says.
    """
    folder = Path(base_model)
    config = folder / "config.json"
    files = sorted(folder.glob("*.safetensors"))
    log = structlog.get_logger("lift").bind(base_model=base_model)
    if not files or not config.is_file():
        log.warning("sizes of adapters are not compared: the base model is no local folder of safetensors")
        return None
    if _read_json(config, f"{config.name} of the base model").keys() & {"quantization_config", "text_config"}:
        log.warning("sizes of adapters are not compared: the base model is quantized or has several parts")
        return None
    shapes = {}
    for path in files:
        for name, tensor in _read_header(path, f"{path.name} of the base model")[0].items():
            if name.endswith(".weight") and len(tensor.shape) == 2:
                outputs, inputs = tensor.shape
                shapes[name.removesuffix(".weight")] = (inputs, outputs)
    return shapes


# --- files ----------------------------------------------------------------------------------


def _check_files(folder: Path, adapter: AdapterRecord) -> None:
    there = {path.name: path for path in folder.iterdir()}
    for name in sorted(there.keys() - adapter.files.keys()):
        raise AlteredFilesError(f"adapter {adapter.name} came with {name!r}, which was not registered")
    for name, sha256 in sorted(adapter.files.items()):
        path = there.get(name)
        if path is None or path.is_symlink() or not path.is_file():
            raise AlteredFilesError(f"adapter {adapter.name} lacks its file {name}")
        with path.open("rb") as handle:
            found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != sha256:
            raise AlteredFilesError(
                f"{name} of adapter {adapter.name} is not the file that was registered (tampered with or "
                f"cut short): {path.stat().st_size} bytes of sha256 {found[:12]}…, expected {sha256[:12]}…"
            )


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        body = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RefusedFilesError(f"{what} is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise RefusedFilesError(f"{what} is not a JSON object")
    return body


def _read_header(path: Path, what: str) -> tuple[dict[str, _Tensor], int]:
    """The tensors that a safetensors file says it holds, and the number of bytes that follow its header."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(_HEADER_LENGTH_BYTES), "little")
        if not 2 <= length <= min(size - _HEADER_LENGTH_BYTES, _MAX_HEADER_BYTES):
            raise RefusedFilesError(
                f"{what} is not a safetensors file: it is cut short, or of another format (a pickle, say)"
            )
        header = handle.read(length)
    try:
        body = json.loads(header)
        if isinstance(body, dict):
            body.pop("__metadata__", None)
        tensors = _TENSORS.validate_python(body)
    except (ValueError, RecursionError) as error:
        raise RefusedFilesError(
            f"{what} is not a safetensors file: its header is not one ({type(error).__name__})"
        ) from error
    return tensors, size - _HEADER_LENGTH_BYTES - length


# --- what is in them --------------------------------------------------------------------------


def _check_config(path: Path, adapter: AdapterRecord, max_rank: int | None) -> tuple[int, list[str]]:
    """The rank and the target modules that an adapter's configuration names."""
    what = f"{path.name} of adapter {adapter.name}"
    config = _read_json(path, what)
    if config.get("peft_type") != "LORA":
        raise RefusedFilesError(f"{what} is of peft_type {config.get('peft_type')!r}: only LORA is served")
    trained_on = config.get("base_model_name_or_path")
    if not isinstance(trained_on, str) or base_name(trained_on) != base_name(adapter.base_model):
        raise RefusedFilesError(
            f"{what} names base model {trained_on!r}, but the adapter was registered for "
            f"'{adapter.base_model}'"
        )
    used = [name for name in _NOT_SERVED if config.get(name)]
    if config.get("bias", "none") != "none":
        used.append("bias")
    if used:
        raise RefusedFilesError(f"{what} uses {', '.join(used)}: LIFT serves plain LoRA only")
    rank, alpha, targets = config.get("r"), config.get("lora_alpha"), config.get("target_modules")
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float):
        raise RefusedFilesError(f"{what} has rank {rank!r} and alpha {alpha!r}: both must be numbers")
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        raise RefusedFilesError(f"{what} has target_modules {targets!r}: a list of names is needed")
    if max_rank is not None and rank > max_rank:
        raise RefusedFilesError(
            f"adapter {adapter.name} has rank {rank}, and this server takes at most {max_rank}: start it "
            f"with --max-lora-rank {rank} or more"
        )
    return rank, targets


def _read_modules(path: Path, adapter: AdapterRecord) -> dict[str, dict[str, tuple[int, ...]]]:
    """Shapes of an adapter's matrices A and B, by module; its file holds them and nothing else."""
    what = f"{path.name} of adapter {adapter.name}"
    tensors, data_bytes = _read_header(path, what)
    modules: dict[str, dict[str, tuple[int, ...]]] = {}
    reached = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        found = _TENSOR.fullmatch(name)
        if found is None:
            raise RefusedFilesError(
                f"{what} holds a tensor {name!r}: that is no LoRA matrix as PEFT names it"
            )
        if tensor.dtype not in _FLOAT_BYTES:
            raise RefusedFilesError(
                f"{what}: tensor {name} is of type {tensor.dtype}, not one of {', '.join(_FLOAT_BYTES)}"
            )
        begin, end = tensor.data_offsets
        if len(tensor.shape) != 2 or min(tensor.shape) < 1:
            raise RefusedFilesError(f"{what}: tensor {name} of shape {list(tensor.shape)} is no matrix")
        if begin != reached or end - begin != math.prod(tensor.shape) * _FLOAT_BYTES[tensor.dtype]:
            raise RefusedFilesError(f"{what}: the bytes of tensor {name} are not where its header says")
        reached = end
        modules.setdefault(found["module"], {})[found["side"]] = tensor.shape
    if reached != data_bytes:
        raise RefusedFilesError(
            f"{what} has {data_bytes} bytes of tensors where its header says {reached}: it is cut short, or "
            "something was added"
        )
    return modules


def _check_modules(
    modules: Mapping[str, Mapping[str, tuple[int, ...]]],
    adapter: AdapterRecord,
    rank: int,
    targets: list[str],
) -> None:
    for module, sides in modules.items():
        for side in "AB":
            if side not in sides:
                raise RefusedFilesError(
                    f"adapter {adapter.name} has no lora_{side} for {module} in {WEIGHTS}"
                )
        if sides["A"][0] != rank or sides["B"][1] != rank:
            raise RefusedFilesError(
                f"{CONFIG} of adapter {adapter.name} says rank {rank}, but in {WEIGHTS} the matrices of "
                f"{module} are {list(sides['A'])} and {list(sides['B'])}"
            )
    found = {module.rsplit(".", 1)[-1] for module in modules}
    if found != set(targets):
        raise RefusedFilesError(
            f"adapter {adapter.name}: {CONFIG} targets {', '.join(sorted(set(targets)))}, but {WEIGHTS} has "
            f"matrices for {', '.join(sorted(found)) or 'nothing'}"
        )


def _check_shapes(
    modules: Mapping[str, Mapping[str, tuple[int, ...]]],
    adapter: AdapterRecord,
    shapes: Mapping[str, tuple[int, int]],
) -> None:
    for module, sides in modules.items():
        if module not in shapes:
            raise RefusedFilesError(
                f"adapter {adapter.name} has matrices for {module} in {WEIGHTS}, and base model "
                f"'{adapter.base_model}' has no such module: they would be ignored"
            )
        features = (sides["A"][1], sides["B"][0])
        if features != shapes[module]:
            raise RefusedFilesError(
                f"{WEIGHTS} of adapter {adapter.name} does not fit base model '{adapter.base_model}': its "
                f"matrices of {module} take {features[0]} features to {features[1]}, the module takes "
                f"{shapes[module][0]} to {shapes[module][1]}"
            )
