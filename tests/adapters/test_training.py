"""Training of an adapter: resumed and divided over ranks it is the same; its checkpoints hold the adapter alone."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import lightning
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from spiritlm_pl.adapters.checkpoint import check_base, check_same
from spiritlm_pl.adapters.folder import WEIGHTS_FILE, AdapterDescription, with_adapter
from spiritlm_pl.adapters.settings import LoRA
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.folder import load_lm
from spiritlm_pl.lm.identity import weights_hash
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

from .conftest import LLAMA, SETTINGS, make_base

WORKER = Path(__file__).with_name("lora_worker.py")


Train = Callable[..., dict[int, list[float]]]


@pytest.fixture
def train(start_ranks: Callable[..., Callable[..., str]]) -> Train:
    """Trains; returns loss and gradient norm after every step."""

    def train(
        folder: Path, base: Path, engine: str = "auto", ranks: int = 1, steps: tuple[int, int] = (0, 4), *more: Path
    ) -> dict[int, list[float]]:
        folder.mkdir()
        start_ranks(WORKER, folder, engine, ranks, *steps, base, *more)()
        return {int(step): pair for step, pair in json.loads((folder / "losses.json").read_text()).items()}

    return train


def module_of(base: Path, vocabulary: Vocabulary, adapter: LoRA | None = SETTINGS) -> LanguageModelModule:
    module = LanguageModelModule(LanguageModelConfig(checkpoint=str(base)), vocabulary, adapter=adapter)
    module.vocabulary, module.base_hash = vocabulary, weights_hash(base)
    module.configure_model()
    return module


def description_of(module: LanguageModelModule) -> AdapterDescription:
    found = module._adapter_description()
    assert found is not None
    return found


def test_checkpoints_of_another_adapter_or_base_are_refused(
    tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary
):
    base, other = (make_base(tmp_path / f"base{seed}", text, vocabulary, seed=seed) for seed in (0, 1))
    module = module_of(base, vocabulary)
    saved = description_of(module).to_dict()
    check_same(saved, description_of(module))
    check_same(None, None)
    module.check_export(str(tmp_path / "new"))
    for changed, found, message in (
        (module, None, "adapter must be as in the run of the checkpoint, with no adapter, but there is one"),
        (module_of(base, vocabulary, None), saved, "with one, but there is no adapter"),
        (module_of(other, vocabulary), saved, "must be the base model of the adapter, .*base0 with .*, but is .*base1"),
        (module_of(base, vocabulary, LoRA(rank=8, alpha=8)), saved, "with .*r.*4.*, but is with .*8"),
    ):
        with pytest.raises(ValueError, match=message):
            check_same(found, changed._adapter_description())
    with pytest.raises(ValueError, match="must not hold a whole model, but .*base0 does"):
        module.check_export(str(base))


def test_what_cannot_be_trained_is_told(tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary):
    with pytest.raises(ValueError, match="network must have a checkpoint where an adapter is trained, but has none"):
        check_base(LanguageModelConfig(config=LLAMA), vocabulary)
    base = make_base(tmp_path / "base", text, vocabulary)
    module = LanguageModelModule(LanguageModelConfig(checkpoint=str(base)), vocabulary, adapter=LoRA(bits=4))
    module.trainer = lightning.Trainer(accelerator="cpu", strategy=FSDP2Strategy(), logger=False)
    with pytest.raises(ValueError, match="strategy must be auto or ddp with bits 4, but is FSDP2Strategy"):
        module._check_adapter()
    if find_spec("bitsandbytes") is None:
        module.vocabulary = vocabulary
        with pytest.raises(ModuleNotFoundError, match="bits 4 needs bitsandbytes: pip install bitsandbytes"):
            module.configure_model()


def test_a_base_that_is_run_otherwise_than_its_folder_says_is_refused(
    tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary
):
    base = make_base(tmp_path / "base", text, vocabulary)
    same = {**LLAMA, "attention_dropout": 0.1}  # dropout is of training alone
    assert check_base(LanguageModelConfig(checkpoint=str(base), config=same), vocabulary) == weights_hash(base)
    for changed, found in (
        ({"rope_theta": 5e4}, "'rope_theta': 50000.0"),
        ({"config": {"rms_norm_eps": 0.1}}, "rms_norm_eps=0.1"),
    ):
        settings = LanguageModelConfig(checkpoint=str(base), **changed)
        with pytest.raises(ValueError, match=f"must have the configuration of .*base .*but is with .*{found}"):
            check_base(settings, vocabulary)
        module = LanguageModelModule(settings, vocabulary, adapter=SETTINGS)
        module.trainer = lightning.Trainer(accelerator="cpu", logger=False)
        with pytest.raises(ValueError, match="leave rope_theta and config out"):
            module.setup("validate")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("bits", [4, 8])
def test_beside_quantized_weights_it_resumes_to_the_bit(
    train: Train, tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary, bits: int
):
    base = make_base(tmp_path / "base", text, vocabulary)
    train(tmp_path / "whole", base, f"bits{bits}")
    checkpoint = tmp_path / "whole" / "step=2.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert state and all("lora_" in name or name.endswith(".rows") for name in state)
    train(tmp_path / "again", base, f"bits{bits}", 1, (2, 4), checkpoint)
    ours, theirs = (load_file(tmp_path / run / "export" / WEIGHTS_FILE) for run in ("whole", "again"))
    assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.slow
def test_one_process_resumes_to_the_bit(train: Train, tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary):
    base = make_base(tmp_path / "base", text, vocabulary)
    whole = train(tmp_path / "whole", base, steps=(0, 6))
    assert whole[6][0] < whole[1][0] - 0.1
    checkpoint = tmp_path / "whole" / "step=4.ckpt"
    resumed = train(tmp_path / "again", base, "auto", 1, (4, 6), checkpoint)
    assert {step: resumed[step] for step in (5, 6)} == {step: whole[step] for step in (5, 6)}
    ours, theirs = (load_file(tmp_path / run / "export" / WEIGHTS_FILE) for run in ("whole", "again"))
    assert_close(ours, theirs, rtol=0, atol=0)

    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert state and all("lora_" in name or name.endswith(".rows") for name in state)
    consolidate_checkpoint(tmp_path / "whole" / "step=6.ckpt", tmp_path / "adapter")
    assert_close(load_file(tmp_path / "adapter" / WEIGHTS_FILE), ours, rtol=0, atol=0)
    with pytest.raises(ValueError, match="must be a whole language model, but .*step=6.ckpt is of an adapter"):
        export_lm(tmp_path / "whole" / "step=6.ckpt", tmp_path / "out", str(base))
    network, _, _ = load_lm(base)
    with_adapter(network, tmp_path / "adapter", base, vocabulary)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "tied"), [("zero3", True), ("fsdp2", False)])
def test_two_ranks_agree_with_one(
    train: Train, tmp_path: Path, text: TextTokenizer, vocabulary: Vocabulary, engine: str, tied: bool
):
    base = make_base(tmp_path / "base", text, vocabulary, tied)
    expected, measured = train(tmp_path / "one", base), train(tmp_path / "two", base, engine, 2)
    assert sorted(measured) == [1, 2, 3, 4]
    for step, pair in expected.items():
        assert_close(torch.tensor(measured[step]), torch.tensor(pair), rtol=1e-3, atol=0)
    ours, theirs = (load_file(tmp_path / run / "export" / WEIGHTS_FILE) for run in ("two", "one"))
    assert_close(ours, theirs, rtol=1e-2, atol=1e-3)
    again = train(tmp_path / "again", base, engine, 2, (2, 4), tmp_path / "two" / "step=2.ckpt")
    assert {step: again[step] for step in (3, 4)} == {step: measured[step] for step in (3, 4)}
    assert_close(load_file(tmp_path / "again" / "export" / WEIGHTS_FILE), ours, rtol=0, atol=0)
    consolidate_checkpoint(tmp_path / "two" / "step=4.ckpt", tmp_path / "adapter")
    assert_close(load_file(tmp_path / "adapter" / WEIGHTS_FILE), ours, rtol=0, atol=0)
