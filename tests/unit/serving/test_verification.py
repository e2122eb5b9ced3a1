"""An adapter is refused, with the file and the cause, unless it is what was registered and fits its base."""

import json
import pickle
import shutil
from datetime import UTC, datetime

import pytest
import torch
from safetensors.torch import load, save_file

from lift_core.errors import RefusedFilesError
from lift_core.records import AdapterRecord, LoraRecipe, Recipe, TrainingResult
from lift_core.serving.verification import (
    CONFIG,
    WEIGHTS,
    AlteredFilesError,
    base_name,
    is_adapter_name,
    module_shapes,
    verify_adapter,
)
from lift_core.training.adapter_files import save_adapter, sha256_files

BASE = "tiny-random"
RECIPE = Recipe(base_model=BASE, lora=LoraRecipe(rank=8, alpha=16))
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def base(tiny):
    """The base model that the adapters are made for."""
    return tiny


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    """An adapter's folder as the trainer leaves it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    shape = RECIPE.lora
    config = LoraConfig(r=shape.rank, lora_alpha=shape.alpha, target_modules=list(shape.targets))
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    result = TrainingResult(
        steps=1, pairs=1, tokens=1, seconds=1.0, first_loss=1.0, final_loss=1.0, losses=(1.0,)
    )
    folder = tmp_path_factory.mktemp("adapter") / "trained"
    save_adapter(model, RECIPE, result, folder)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(trained, tmp_path / "report-v1")


def record(folder, **changes):
    """An adapter registered with the files as they are now."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    made = AdapterRecord(
        name="report-v1",
        aliases=(),
        bucket="inbox",
        document="report.md",
        slug="report",
        version=1,
        title="Report",
        base_model=BASE,
        base_revision="1",
        recipe=RECIPE.digest,
        state="candidate",
        prefix="jobs/1/adapter/000001/",
        files=sha256_files(folder),
        created_at=at,
        activated_at=None,
        scores={},
        tags={},
    )
    return made.model_copy(update=changes)


def verify(folder, adapter, base, max_rank=16):
    verify_adapter(folder, adapter, base_model=str(base), max_rank=max_rank, shapes=module_shapes(str(base)))


def refusal(folder, base, error=RefusedFilesError, max_rank=16, **changes):
    """The message with which a folder is refused that was registered as it is now."""
    with pytest.raises(error) as caught:
        verify(folder, record(folder, **changes), base, max_rank)
    assert changes.get("name", "report-v1") in str(caught.value)
    return str(caught.value)


def change_config(folder, **values):
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_tensors(folder, change):
    tensors = load((folder / WEIGHTS).read_bytes())
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


# --- what is served ---------------------------------------------------------------------------


def test_what_the_trainer_writes_is_served(folder, base):
    verify(folder, record(folder), base, max_rank=8)


def test_base_models_are_compared_by_their_own_names(folder):
    for served in (BASE, f"owner/{BASE}", f"/models/{BASE}/", f"/hub/models--owner--{BASE}/snapshots/0a1b2c"):
        verify_adapter(folder, record(folder), base_model=served)
    assert base_name("/hub/models--owner--a-model/snapshots/0a1b2c") == "a-model"


# --- the files that were registered -----------------------------------------------------------


def test_one_changed_byte_is_seen(folder, base):
    adapter = record(folder)
    body = bytearray((folder / WEIGHTS).read_bytes())
    body[-1] ^= 1
    (folder / WEIGHTS).write_bytes(body)
    with pytest.raises(AlteredFilesError, match=rf"{WEIGHTS} of adapter report-v1 is not the file that was"):
        verify(folder, adapter, base)


def test_a_file_that_was_cut_short_is_seen(folder, base):
    adapter = record(folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(AlteredFilesError, match="cut short"):
        verify(folder, adapter, base)


def test_a_missing_file_is_named(folder, base):
    adapter = record(folder)
    (folder / "training_record.json").unlink()
    with pytest.raises(AlteredFilesError, match=r"report-v1 lacks its file training_record\.json"):
        verify(folder, adapter, base)


def test_a_file_that_was_not_registered_is_not_loaded_beside_the_others(folder, base):
    adapter = record(folder)
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(AlteredFilesError, match=r"adapter_model\.bin', which was not registered"):
        verify(folder, adapter, base)


def test_a_link_is_not_followed(folder, base, tmp_path):
    adapter = record(folder)
    (folder / WEIGHTS).rename(tmp_path / "elsewhere")
    (folder / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlteredFilesError, match=f"lacks its file {WEIGHTS}"):
        verify(folder, adapter, base)


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../report-v1", "report", "report-v1/..", "Report-v1", "report-v1\n", "", "a" * 127 + "-v1"]
)
def test_a_name_that_lift_does_not_write_becomes_no_path(folder, base, name):
    assert not is_adapter_name(name)
    with pytest.raises(RefusedFilesError, match="is not the name of an adapter"):
        verify(folder, record(folder, name=name), base)


@pytest.mark.parametrize(
    "file",
    ["../adapter_model.safetensors", "other.safetensors", "adapter_model.bin", "x.pt", "a/b.json", ".json"],
)
def test_a_file_name_that_lift_does_not_write_is_refused(folder, base, file):
    files = sha256_files(folder) | {file: "0" * 64}
    assert f"has a file {file!r}, which is never loaded" in refusal(folder, base, files=files)


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG])
def test_an_adapter_without_weights_or_configuration_is_refused(folder, base, file):
    (folder / file).unlink()
    assert f"has no {file}" in refusal(folder, base)


# --- safetensors ------------------------------------------------------------------------------


def test_a_pickle_under_the_name_of_safetensors_is_refused(folder, base):
    torch.save(load((folder / WEIGHTS).read_bytes()), folder / WEIGHTS)
    assert "not a safetensors file" in refusal(folder, base)
    (folder / WEIGHTS).write_bytes(pickle.dumps({"a": 1}))
    assert "not a safetensors file" in refusal(folder, base)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x02\x00",
        (10**6).to_bytes(8, "little") + b"{}",
        (6).to_bytes(8, "little") + b"nojson",
        (2).to_bytes(8, "little") + b"[]",
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
    ],
)
def test_a_header_that_is_none_is_refused(folder, base, body):
    (folder / WEIGHTS).write_bytes(body)
    assert "not a safetensors file" in refusal(folder, base)


def test_a_file_that_was_registered_cut_short_or_with_something_after_it_is_refused(folder, base):
    whole = (folder / WEIGHTS).read_bytes()
    for body in (whole[:-100], whole + b"more"):
        (folder / WEIGHTS).write_bytes(body)
        assert "bytes of tensors where its header says" in refusal(folder, base)


def test_tensors_that_overlap_are_refused(folder, base):
    body = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(body[:8], "little")
    header = json.loads(body[8 : 8 + length])
    names = [name for name in header if name.endswith("q_proj.lora_A.weight")]
    header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]
    new = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(new).to_bytes(8, "little") + new + body[8 + length :])
    assert "are not where its header says" in refusal(folder, base)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("base_model.model.lm_head.weight", torch.zeros(2, 2), "no LoRA matrix as PEFT names it"),
        (
            "base_model.model.model.embed_tokens.lora_embedding_A",
            torch.zeros(8, 2),
            "no LoRA matrix as PEFT names it",
        ),
        (
            "model.layers.0.self_attn.q_proj.lora_A.weight",
            torch.zeros(8, 64),
            "no LoRA matrix as PEFT names it",
        ),
        (f"{Q_PROJ}.lora_A.weight", torch.zeros(8, 64, dtype=torch.int8), "is of type I8"),
        (f"{Q_PROJ}.lora_A.weight", torch.zeros(8), r"of shape \[8\] is no matrix"),
        (f"{Q_PROJ}.lora_A.weight", torch.zeros(0, 64), r"of shape \[0, 64\] is no matrix"),
    ],
)
def test_a_tensor_that_is_no_lora_matrix_is_refused(folder, base, name, tensor, message):
    change_tensors(folder, lambda tensors: tensors.update({name: tensor}))
    with pytest.raises(RefusedFilesError, match=message):
        verify(folder, record(folder), base)


# --- configuration ----------------------------------------------------------------------------


def test_an_adapter_of_another_base_model_is_refused(folder, base):
    assert "ask a server that has its base model" in refusal(folder, base, base_model="other")
    change_config(folder, base_model_name_or_path="other")
    assert f"{CONFIG} of adapter report-v1 names base model 'other'" in refusal(folder, base)


def test_a_rank_that_is_not_the_tensors_is_refused(folder, base):
    change_config(folder, r=4)
    assert "says rank 4, but in" in refusal(folder, base)


def test_a_rank_above_the_servers_is_refused_with_what_to_do(folder, base):
    message = refusal(folder, base, max_rank=4)
    assert "has rank 8, and this server takes at most 4" in message
    assert "--max-lora-rank 8" in message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "LOHA"}, "only LORA is served"),
        ({"modules_to_save": ["lm_head"]}, "uses modules_to_save"),
        ({"use_dora": True}, "uses use_dora"),
        ({"rank_pattern": {"q_proj": 4}}, "uses rank_pattern"),
        ({"bias": "all"}, "uses bias"),
        ({"r": "8"}, "both must be numbers"),
        ({"r": True}, "both must be numbers"),
        ({"r": 0}, "both must be numbers"),
        ({"lora_alpha": None}, "both must be numbers"),
        ({"target_modules": "all-linear"}, "a list of names is needed"),
        ({"target_modules": ["q_proj"]}, "targets q_proj, but"),
        ({"target_modules": [*RECIPE.lora.targets, "extra_proj"]}, "targets .*extra_proj.*, but"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(folder, base, values, message):
    change_config(folder, **values)
    with pytest.raises(RefusedFilesError, match=message):
        verify(folder, record(folder), base)


@pytest.mark.parametrize("body", ["", "[]", "{", "\xff", "[" * 100_000])
def test_a_configuration_that_is_no_json_object_is_refused(folder, base, body):
    (folder / CONFIG).write_text(body, encoding="latin-1")
    assert f"{CONFIG} of adapter report-v1 is not" in refusal(folder, base)


# --- the base model's modules -----------------------------------------------------------------


def test_shapes_are_read_from_the_base_models_own_files(base):
    shapes = module_shapes(str(base))
    assert shapes["model.layers.0.self_attn.q_proj"] == (64, 64)
    assert shapes["model.layers.1.mlp.down_proj"] == (128, 64)


def test_a_module_without_one_of_its_matrices_is_refused(folder, base):
    change_tensors(folder, lambda tensors: tensors.pop(f"{Q_PROJ}.lora_B.weight"))
    assert "has no lora_B for model.layers.0.self_attn.q_proj" in refusal(folder, base)


@pytest.mark.parametrize(
    "other", ["model.layers.7.self_attn.q_proj", "language_model.model.layers.0.self_attn.q_proj"]
)
def test_matrices_that_would_be_ignored_are_refused(folder, base, other):
    def rename(tensors):
        for side in "AB":
            name = f"base_model.model.{other}.lora_{side}.weight"
            tensors[name] = tensors.pop(f"{Q_PROJ}.lora_{side}.weight")

    change_tensors(folder, rename)
    assert f"has matrices for {other}" in refusal(folder, base)


def test_matrices_of_another_size_than_the_module_are_refused(folder, base):
    change_tensors(folder, lambda tensors: tensors.update({f"{Q_PROJ}.lora_B.weight": torch.zeros(96, 8)}))
    message = refusal(folder, base)
    assert "take 64 features to 96, the module takes 64 to 64" in message


@pytest.mark.parametrize("key", ["quantization_config", "text_config"])
def test_a_base_model_whose_files_do_not_tell_leaves_sizes_unchecked(base, tmp_path, key):
    other = shutil.copytree(base, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {key: {}}))
    assert module_shapes(str(other)) is None
    assert module_shapes("owner/name") is None
