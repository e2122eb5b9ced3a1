"""An adapter loads whole, or is refused in words that say what is wrong with its files."""

import hashlib
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lift_core.errors import ProofError, TransientError
from lift_core.evaluation import loading
from lift_core.evaluation.loading import add_adapter, check_files, fastest_dtype, load_base
from lift_core.training.tiny_model import make_tiny_model

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def base(tiny):
    return load_base(tiny)[0]


@pytest.fixture
def adapter(tiny_model, tmp_path):
    """The files of an adapter that says something else than the base model."""
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(tiny_model, config).save_pretrained(str(tmp_path / "adapter"))
    return tmp_path / "adapter"


def configure(adapter, **changes):
    path = adapter / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(base, adapter):
    with pytest.raises(ProofError) as error:
        add_adapter(base, adapter)
    return str(error.value)


def logits(model):
    with torch.no_grad():
        return model(torch.tensor([[5, 6, 7]])).logits


def test_a_whole_adapter_changes_the_answers_until_it_is_disabled(base, adapter):
    before = logits(base)
    model = add_adapter(base, adapter)
    assert not model.training
    assert not torch.equal(logits(model), before)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)


def test_the_base_model_is_loaded_in_the_precision_that_is_asked_for(tiny, adapter):
    model, tokenizer = load_base(tiny, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert tokenizer.decode(tokenizer.encode("Brindle")) == "Brindle"
    assert logits(add_adapter(model, adapter)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("recipes", "fast_bf16", "cuda", "asked"),
    [
        ("bf16", True, False, torch.bfloat16),
        ("bf16", False, False, torch.float32),
        ("bf16", False, True, torch.bfloat16),
        ("fp32", True, False, torch.float32),
    ],
)
def test_a_model_is_asked_in_the_faster_precision(monkeypatch, recipes, fast_bf16, cuda, asked):
    monkeypatch.setattr(loading, "multiplies_bf16", lambda: fast_bf16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert fastest_dtype(recipes) == asked


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_file_that_is_missing_is_named(base, adapter, name):
    (adapter / name).unlink()
    assert refused(base, adapter) == f"the adapter has no {name}"


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_weights_cut_short_are_said_to_be_so(base, adapter, kept):
    path = adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    assert refused(base, adapter).startswith(f"{WEIGHTS} of the adapter is damaged or cut short: ")


def test_weights_that_are_no_safetensors_are_never_loaded(base, adapter, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    torch.save({"weight": Trap()}, adapter / WEIGHTS)
    assert f"{WEIGHTS} of the adapter is damaged" in refused(base, adapter)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"peft_type": "NOTHING"}', '"text"'])
def test_a_configuration_that_is_none_is_refused(base, adapter, content):
    (adapter / CONFIG).write_text(content)
    assert "the adapter does not load: " in refused(base, adapter)


def test_modules_that_the_base_model_does_not_have_are_named(base, adapter):
    configure(adapter, target_modules=["query_key_value"])
    message = refused(base, adapter)
    assert "query_key_value" in message and "not found in the base model" in message


def test_a_configuration_for_other_modules_than_the_weights_is_refused_with_the_counts(base, adapter):
    configure(adapter, target_modules=["q_proj", "k_proj"])
    # Two layers, of each module A and B.
    assert refused(base, adapter) == ("the adapter's tensors do not fit the base model: 4 missing, 4 unknown")


def test_another_rank_than_that_of_the_weights_is_refused(base, adapter):
    configure(adapter, r=8)
    assert "size mismatch" in refused(base, adapter)


def test_missing_and_unknown_tensors_are_counted(base, adapter):
    tensors = load_file(adapter / WEIGHTS)
    first = sorted(tensors)[0]
    tensors[first.replace("layers.0", "layers.7")] = tensors.pop(first)
    save_file(tensors, adapter / WEIGHTS)
    assert "1 missing, 1 unknown" in refused(base, adapter)


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_files_that_are_the_registered_ones_pass(adapter):
    check_files(adapter, digests(adapter))


def test_a_changed_file_is_named_and_worth_another_try(adapter):
    expected = digests(adapter)
    configure(adapter, r=8)
    with pytest.raises(TransientError, match=rf"{CONFIG} is not the file that was registered"):
        check_files(adapter, expected)


def test_a_registered_file_that_is_not_there_is_named(adapter):
    expected = digests(adapter)
    (adapter / CONFIG).unlink()
    with pytest.raises(ProofError, match=f"the adapter has no {CONFIG}"):
        check_files(adapter, expected)


def test_an_adapter_registered_without_weights_is_refused(adapter):
    expected = {name: digest for name, digest in digests(adapter).items() if name != WEIGHTS}
    with pytest.raises(ProofError, match=f"the adapter has no {WEIGHTS}"):
        check_files(adapter, expected)


def test_gemma_2_keeps_the_soft_cap_of_its_attention(tmp_path):
    make_tiny_model(tmp_path, architecture="gemma2")
    base, _ = load_base(tmp_path)
    eager = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    ).to(base.device)
    ids = torch.arange(5, 80, device=base.device)[None]
    with torch.no_grad():
        torch.testing.assert_close(base(ids).logits, eager(ids).logits)
