"""A model is asked as its adapter was tuned: templates go with it into checkpoints, merged models and exports."""

import json
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import AutoTokenizer

from spiritlm_pl.adapters.folder import with_adapter
from spiritlm_pl.adapters.merge import merge_adapter
from spiritlm_pl.conversations.build import build_conversations
from spiritlm_pl.conversations.template import RECORDS, ConversationTemplate, load_template
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.generation import SpiritLM
from spiritlm_pl.generation.asking import trained_templates
from spiritlm_pl.generation.loading import ModelFolders
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.build import LanguageModelConfig, build_network
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.runtime.model_description import DESCRIPTION_FILE, TEMPLATES, stored_templates
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

from .conftest import LLAMA, SETTINGS

ASKED = "the cat"


@pytest.fixture
def told() -> dict[str, Any]:
    """Templates of a base that was tuned before: one that stays, and one that the adapter was tuned otherwise on."""
    return {name: load_template("plain").to_dict() for name in ("asr", RECORDS)}


@pytest.fixture
def model(tmp_path: Path, text: TextTokenizer, told: dict[str, Any]) -> Path:
    vocabulary = Vocabulary.spirit_lm(
        num_text=text.vocab_size, num_units=20, end_of_document=text.eos_id, multiple_of=16
    )
    network = build_network(LanguageModelConfig(config=LLAMA), vocabulary)
    return save_lm(tmp_path / "model", network, vocabulary, text, None, {TEMPLATES: told})


@pytest.fixture
def mine(tmp_path: Path) -> ConversationTemplate:
    path = tmp_path / "mine.yaml"
    path.write_text('roles: {user: {before: "mat"}, assistant: {before: "dog", ends: true}}')
    return load_template(path)


@pytest.fixture
def tuned(model: Path, mine: ConversationTemplate, tmp_path: Path) -> Path:
    """Folder of a run that tuned an adapter on conversations in a template of the user's."""
    records, blocks, run = (tmp_path / name for name in ("records", "blocks", "run"))
    records.mkdir()
    turns = [{"role": role, "parts": [{"text": words}]} for role, words in (("user", ASKED), ("assistant", "a dog"))]
    lines = [json.dumps({"id": f"a{number}", "turns": turns}) + "\n" for number in range(20)]
    (records / "conversations-train.jsonl").write_text("".join(lines))
    options: dict[str, Any] = {"block_tokens": 10_000, "seed": 0, "skipped": Skipped(), "vocabulary_options": {}}
    build_conversations(str(blocks), str(model), [], [str(records)], [], {RECORDS: mine}, splits=("train",), **options)
    module = LanguageModelModule(LanguageModelConfig(checkpoint=str(model)), adapter=SETTINGS)
    stream = {"conversation": StreamConfig(folder=str(blocks))}
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        default_root_dir=run,
        callbacks=[ModelCheckpoint(run, every_n_train_steps=1, filename="{step}")],
    )
    trainer.fit(module, InterleavedDataModule(stream, row_length=32, batch_size=2, num_workers=0))
    module.export(str(run / "export"))
    return run


def test_templates_go_with_an_adapter(
    model: Path, tuned: Path, mine: ConversationTemplate, told: dict[str, Any], tmp_path: Path
) -> None:
    expected = {"asr": told["asr"], RECORDS: mine.to_dict()}
    consolidated = consolidate_checkpoint(tuned / "step=1.ckpt", tmp_path / "consolidated")
    for adapter in (tuned / "export", consolidated):
        assert stored_templates(adapter) == expected
        plain = ConversationTemplate.from_dict(told["asr"])
        assert trained_templates(ModelFolders(model), adapter) == {"asr": plain, "chat": mine}
        (tmp_path / "release" / "speech_tokenizer").mkdir(parents=True, exist_ok=True)
        assert trained_templates(tmp_path / "release", adapter) == {"asr": plain, "chat": mine}
        assert SpiritLM.from_pretrained(model, adapter=adapter).templates == {"asr": plain, "chat": mine}
    assert trained_templates(model)["chat"] == ConversationTemplate.from_dict(told[RECORDS])

    merged = merge_adapter(model, tuned / "export", tmp_path / "merged")
    assert stored_templates(merged) == expected
    tokenizer = AutoTokenizer.from_pretrained(export_lm(merged, tmp_path / "exported"))
    conversation = [{"role": "user", "content": ASKED}]
    written = tokenizer.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    assert written == f"[Text]mat {ASKED}[Text]dog"


def test_a_merge_keeps_the_templates_of_the_base_alone(
    model: Path, tuned: Path, told: dict[str, Any], tmp_path: Path
) -> None:
    (tuned / "export" / DESCRIPTION_FILE).unlink()  # as adapters of other programs have none
    (tuned / "export" / "SHA256SUMS").unlink()
    assert trained_templates(model, tuned / "export")["chat"] == ConversationTemplate.from_dict(told[RECORDS])
    assert stored_templates(merge_adapter(model, tuned / "export", tmp_path / "merged")) == told


def test_an_adapter_is_used_with_a_base_that_computes_as_in_its_training(
    model: Path, tuned: Path, tmp_path: Path
) -> None:
    exported = export_lm(model, tmp_path / "exported", dtype=torch.bfloat16)
    network, _, vocabulary = load_lm(exported)
    with_adapter(network, tuned / "export", exported, vocabulary)
    network, _, vocabulary = load_lm(model)
    network.config.rope_parameters = {**network.config.rope_parameters, "rope_theta": 1e6}
    with pytest.raises(
        ValueError, match="configuration of .*model must be the adapter's, .*10000.0.*, but .*1000000.0"
    ):
        with_adapter(network, tuned / "export", model, vocabulary)
