"""From records and units to blocks, from blocks to a tuned model: what is learnt, and how a run goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from spiritlm_pl.cli.build_conversations import build_conversations
from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.data.blocks import read_manifest
from spiritlm_pl.data.conversations import open_conversations
from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

TEXT = train_text_tokenizer(["User: the cat sat Assistant: a dog ran to the park <START Transcript> <END> stop"] * 4)
VOCABULARY = Vocabulary.spirit_lm(num_text=TEXT.vocab_size, num_units=7, end_of_document=TEXT.eos_id, multiple_of=64)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY.num_rows,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=None,
    )
    return save_lm(tmp_path / "lm", LlamaForCausalLM(config), VOCABULARY, TEXT)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("validation", 4)):
        utterances = []
        for number in range(count):
            length = int(rng.integers(3, 9))
            utterances.append(
                UnitUtterance(
                    id=f"u{number}",
                    text="" if number == 3 else "the cat sat",
                    duration=1.0,
                    units=((np.arange(length) + number) % 7).astype(np.uint16),
                    unit_starts=np.arange(length, dtype=np.uint32),
                    num_frames=length,
                    custom={"label": 0, "style": "happy"},
                )
            )
        write_part(tmp_path / "units" / split, 0, utterances, "test")
        layout = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0)
        finish_folder(tmp_path / "units" / split, ["test"], layout=layout, provenance={})
    return tmp_path / "units"


def datamodule(blocks: Path, **options) -> InterleavedDataModule:
    values = {"row_length": 64, "batch_size": 2, "num_workers": 0, **options}
    return InterleavedDataModule({"conversation": StreamConfig(folder=str(blocks))}, **values)


def fit(module: LanguageModelModule, data: InterleavedDataModule, folder: Path, **options) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=6,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1, filename="{step}")],
    )
    trainer.fit(module, data, weights_only=False, **options)
    return trainer


class Watched(LanguageModelModule):
    """Keeps the batches and their losses."""

    def on_fit_start(self) -> None:
        self.seen: list[tuple[TokenBatch, torch.Tensor]] = []

    def training_step(self, batch: TokenBatch, batch_index: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_index)
        self.seen.append((batch, loss.detach().clone()))
        return loss


def tuned(model: Path) -> Watched:
    torch.manual_seed(1)
    return Watched(LanguageModelConfig(checkpoint=str(model)), optimizer=OptimizerSettings(lr=1e-2))


def test_records_of_a_task_have_its_published_form(model, units, tmp_path):
    turns = [{"role": "user", "parts": [{"utterance": "u1"}]}, {"role": "assistant", "parts": [{"text": "a dog"}]}]
    said = {}
    for name, info, template in (
        ("chat", {}, None),
        ("task", {"arguments": {"task": "intent"}}, None),
        ("own", {"arguments": {"task": "intent"}}, "plain"),
    ):
        records, out = tmp_path / name, tmp_path / f"blocks_{name}"
        records.mkdir()
        (records / "corpus.json").write_text(json.dumps(info))
        (records / "conversations-train.jsonl").write_text(json.dumps({"id": "a", "turns": turns}) + "\n")
        build_conversations([str(units)], str(model), str(out), records=[str(records)], template=template)
        manifest = read_manifest(out / "train" / "conversation")
        assert list(manifest.sources["templates"]) == ["records" if name == "chat" else "intent"]
        tokens = open_conversations(out / "train" / "conversation", manifest.blocks[0]).tokens.tolist()
        said[name] = TEXT.decode([token for token in tokens if token < TEXT.vocab_size])
    assert said["chat"].startswith("User:") and "Assistant: a dog" in said["chat"]
    assert said["task"].startswith("A: a dog") and said["own"].startswith("a dog")


def test_tasks_and_records_become_blocks(model, units, tmp_path, capsys):
    records = tmp_path / "chat"
    records.mkdir()
    turns = [
        {"role": "user", "parts": [{"utterance": "u1"}]},
        {"role": "assistant", "parts": [{"text": "a dog"}, {"tokens": "[Hu1][Hu2]"}]},
    ]
    lines = [
        {"id": "a", "turns": turns},
        {"id": "b", "turns": [{"role": "narrator", "parts": [{"text": "x"}]}, turns[1]]},
        {"id": "c", "turns": [{"role": "user", "parts": [{"utterance": "nobody"}]}, turns[1]]},
        {"id": "d", "turns": [turns[0], {"role": "assistant", "parts": [{"tokens": "[Hu9]"}]}]},
    ]
    (records / "conversations-train.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\nnonsense\n")
    out = tmp_path / "blocks"
    mine = out / ".conversations" / "mine"
    mine.parent.mkdir(parents=True)
    mine.touch()
    build_conversations(
        [str(units)], str(model), str(out), records=[str(records)], tasks=["asr", "tts", "intent"], block_tokens=300
    )
    assert mine.is_file() and {path.name for path in out.glob(".*")} == {".conversations"}
    told = capsys.readouterr().out
    for line in (
        "2 x utterance without what",  # both kinds that need a transcript are told apart
        "role must be one of system, user, assistant, but is 'narrator' instead",
        "utterance that is in none of the units",
        "speech tokens that the vocabulary lacks",
        "conversations-train.jsonl:5",
    ):
        assert line.replace("2 x utterance without what", "utterance without what asr needs") in told
    manifest = read_manifest(out / "train" / "conversation")
    assert manifest.num_documents == 23 * 2 + 24 + 1 and len(manifest.blocks) > 2
    assert set(manifest.sources["templates"]) == {"asr", "tts", "intent", "records"}
    tables = [open_conversations(out / "train" / "conversation", entry) for entry in manifest.blocks]
    said = {TEXT.decode([token for token in table.tokens.tolist() if token < TEXT.vocab_size]) for table in tables}
    assert not any("happy" in one for one in said) and any("A: 0" in one for one in said)
    kinds = [set(open_conversations(out / "train" / "conversation", entry).turn_counts) for entry in manifest.blocks]
    assert kinds[0] == {2}

    assert "seconds" not in manifest.sources  # as tokens that were given have no length
    before = manifest.sha256
    units, records = (path.rename(tmp_path / f"moved_{path.name}") for path in (units, records))
    build_conversations(
        [str(units)], str(model), str(out), records=[str(records)], tasks=["asr", "tts", "intent"], block_tokens=300
    )
    assert read_manifest(out / "train" / "conversation").sha256 == before


def test_the_loss_is_that_of_what_is_learnt_piece_by_piece(model, units, tmp_path):
    build_conversations([str(units)], str(model), str(tmp_path / "blocks"), tasks=["asr", "tts"])
    module = tuned(model)
    fit(module, datamodule(tmp_path / "blocks"), tmp_path / "run")
    [(batch, loss), *_] = module.seen
    plain = LlamaForCausalLM.from_pretrained(model).requires_grad_(False)
    [entry] = read_manifest(tmp_path / "blocks" / "train" / "conversation").blocks
    table = open_conversations(tmp_path / "blocks" / "train" / "conversation", entry)
    masks = {
        tuple(table.tokens[a:b].tolist()): table.learnt[a:b].astype(bool)
        for a, b in zip(table.starts[:-1], table.starts[1:], strict=True)
    }
    expected, bounds = 0.0, batch.cu_seqlens.tolist()
    for start, end in zip(bounds[:-1], bounds[1:], strict=True):
        tokens = batch.tokens.flatten()[start:end]
        mask = masks.get(tuple(tokens.tolist()))
        if mask is None:
            assert (batch.segment_ids.flatten()[start:end] == -1).all()
            continue
        logits = plain(input_ids=tokens[None]).logits[0]
        losses = F.cross_entropy(logits[:-1], tokens[1:], reduction="none")
        expected += float(losses[torch.from_numpy(mask[1:])].sum())
    assert loss.item() * batch.tokens.numel() == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_run_goes_on_bit_by_bit_and_its_export_has_the_templates(model, units, tmp_path):
    build_conversations([str(units)], str(model), str(tmp_path / "blocks"), tasks=["asr", "tts"])
    whole = tuned(model)
    trainer = fit(whole, datamodule(tmp_path / "blocks"), tmp_path / "whole")
    again = tuned(model)
    fit(again, datamodule(tmp_path / "blocks"), tmp_path / "whole", ckpt_path=tmp_path / "whole" / "step=3.ckpt")
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    whole.trainer = trainer
    whole.export(str(tmp_path / "tuned"))
    export_lm(tmp_path / "tuned", tmp_path / "exported")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert set(tokenizer.chat_template) == {"default", "asr", "tts"}
    messages = [
        {"role": "user", "content": [{"type": "speech", "tokens": "[Hu1][Hu2]"}]},
        {"role": "assistant", "content": "the cat sat"},
    ]
    said = tokenizer.apply_chat_template(messages, chat_template=tokenizer.chat_template["asr"], tokenize=False)
    assert said == "[Speech][Hu1][Hu2][Text]<START Transcript> the cat sat <END></s>"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "records or tasks must say where conversations come from, but both are empty"),
        (
            {"records": ["nowhere"]},
            FileNotFoundError,
            "records must be folders of `spiritlm prepare conversations`, but",
        ),
        ({"tasks": ["asr", "tss"]}, ValueError, "tasks must be among asr, tts, intent, but one is 'tss'"),
        ({"tasks": ["asr", "asr"]}, ValueError, "tasks must name each once, but are asr, asr"),
        ({"tasks": ["asr"], "template": "song"}, FileNotFoundError, "template must be one of chat, plain"),
        ({"tasks": ["asr"], "end_of_document": False}, ValueError, "end_of_document must be token"),
    ],
)
def test_what_does_not_fit_is_refused(model, units, tmp_path, options, error, message):
    with pytest.raises(ValueError, match="units must name every corpus once, but .*units is named twice"):
        build_conversations([str(units), f"{units}/../units"], str(model), str(tmp_path / "blocks"), tasks=["asr"])
    with pytest.raises(error, match=message):
        build_conversations([str(units)], str(model), str(tmp_path / "blocks"), **options)
    assert not (tmp_path / "blocks" / "train").exists()


def test_given_tokens_are_as_a_tokenizer_gives_them(model, tmp_path):
    records = tmp_path / "chat"
    records.mkdir()
    turns = [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "assistant", "parts": [{"tokens": "[Hu3][Hu3] [Hu5]"}]},
    ]
    (records / "conversations-train.jsonl").write_text(json.dumps({"id": "a", "turns": turns}))
    build_conversations([], str(model), str(tmp_path / "blocks"), records=[str(records)], template="plain")
    folder = tmp_path / "blocks" / "train" / "conversation"
    [entry] = read_manifest(folder).blocks
    first = VOCABULARY.speech_bounds[0]
    assert open_conversations(folder, entry).tokens[-3:].tolist() == [first + 3, first + 5, TEXT.eos_id]


def test_one_task_has_one_template(model, units, tmp_path):
    for name in ("chat", "plain"):
        build_conversations([str(units)], str(model), str(tmp_path / name), tasks=["asr"], template=name)
    streams = {name: StreamConfig(folder=str(tmp_path / name), kind="conversation") for name in ("chat", "plain")}
    data = InterleavedDataModule(streams, row_length=64, num_workers=0)
    with pytest.raises(ValueError, match="streams must be built with one template for asr, but have two"):
        _ = data.templates
