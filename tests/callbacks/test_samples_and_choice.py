"""Samples and choice during training: what reaches the trackers, and that training does not notice."""

import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from mlflow.tracking import MlflowClient
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.callbacks.checkpoints import PatientCheckpoint
from spiritlm_pl.callbacks.evaluate_choice import EvaluateChoice
from spiritlm_pl.callbacks.export import ExportNetwork
from spiritlm_pl.callbacks.generate_samples import GenerateSamples
from spiritlm_pl.callbacks.mlflow_logger import MLflowLogger
from spiritlm_pl.callbacks.run_benchmarks import RunBenchmarks
from spiritlm_pl.cli.main import run
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.evaluation.choice import choice_items, score_choices
from spiritlm_pl.generation import GenerationSettings
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

STORIES = (
    "the cat sat down the cat ate",
    "a dog ran off a dog slept",
    "one cow came home one cow sang",
    "my hen got up my hen danced",
)
SETTINGS = GenerationSettings(max_new_tokens=30, min_speech_units=1)


class TinyModule(LightningModule):
    """A Llama whose dropout makes every draw of the random state count."""

    def __init__(self, vocabulary, text_tokenizer):
        super().__init__()
        self.vocabulary, self.text_tokenizer = vocabulary, text_tokenizer

    def configure_model(self):
        torch.manual_seed(0)
        self.network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=self.vocabulary.num_rows,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=128,
                attention_dropout=0.5,
                bos_token_id=None,
                eos_token_id=None,
            )
        )

    def training_step(self, batch, batch_idx):
        noise = torch.randint(2, batch.shape)
        return self.network(input_ids=batch + noise, labels=batch).loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.network(input_ids=batch, labels=batch).loss)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train_text_tokenizer(STORIES * 5, None).save("text")
    utterances = []
    for number, text in enumerate(STORIES):
        words = text.split()
        utterances.append(
            UnitUtterance(
                id=f"stories/{number}",
                text=text,
                num_frames=25 * len(words),
                duration=float(len(words)),
                words=tuple(TimedWord(word, float(i), i + 1.0) for i, word in enumerate(words)),
                units=(np.arange(2 * len(words)) % 20).astype(np.uint16),
                unit_starts=(np.arange(2 * len(words)) * 25 // 2).astype(np.uint32),
                custom={"story": number, "sentence_ends": [4, len(words)]},
            )
        )
    write_part(tmp_path / "units" / "test", 0, utterances, "f")
    finish_folder(
        tmp_path / "units" / "test",
        ["f"],
        layout=SpeechLayout.spirit_lm(num_units=20, frame_rate=25.0),
        provenance={"tokenizer_sha256": "b" * 64},
    )
    config = InverseSTFTConfig(num_units=20, speakers=("a",), embedding_dim=8, hop_length=640)
    save_network("vocoder", InverseSTFTVocoder(config), "vocoder")
    return tmp_path


def train(callbacks, logger=False, **options):
    vocabulary = Vocabulary.spirit_lm(num_text=TextTokenizer.load("text").vocab_size, num_units=20)
    module = TinyModule(vocabulary, "text")
    torch.manual_seed(1)
    data = DataLoader(torch.randint(vocabulary.num_tokens - 1, (8, 12)), batch_size=2)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=4,
        logger=logger,
        callbacks=callbacks,
        val_check_interval=2,
        limit_val_batches=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(module, data, data)
    return trainer, module


def samples(**options):
    return GenerateSamples(
        texts=["the cat"],
        units="units",
        split="test",
        num_utterances=1,
        settings=SETTINGS,
        **{"vocoder": "vocoder", "every_n_steps": 2, **options},
    )


def test_training_is_the_same_bit_for_bit_with_samples_and_choice(folder):
    _, plain = train([])
    trainer, watched = train([samples(), EvaluateChoice("units", split="test", output="choice.json")])
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    metrics = trainer.callback_metrics
    for direction in ("text_to_text", "speech_to_speech", "speech_to_text", "text_to_speech"):
        assert 0 <= metrics[f"val/accuracy_{direction}"] <= 1
    written = json.loads(Path("choice.json").read_text())
    assert written["step"] == 4 and written["results"]["speech_to_text"]["num_items"] == 4


@pytest.fixture
def benchmark_folder(folder):
    features = MFCCFeatures(MFCCConfig())
    quantizer = KMeans(KMeansConfig(num_units=20, feature_dim=features.feature_dim))
    torch.nn.init.normal_(quantizer.centroids, generator=torch.Generator().manual_seed(2))
    PhoneticTokenizer(features, quantizer).save("speech_tokenizer")
    for number in range(6):
        generator = torch.Generator().manual_seed(number)
        save_wav(folder / "words" / "anna" / f"{number}_w.wav", 0.1 * torch.randn(8000, generator=generator))
    return folder


def test_benchmarks_are_run_during_training_which_does_not_notice(benchmark_folder, monkeypatch):
    _, plain = train([])
    encoded, encode = [], PhoneticTokenizer.encode
    monkeypatch.setattr(PhoneticTokenizer, "encode", lambda *given: encoded.append(1) or encode(*given))
    callback = RunBenchmarks({"swuggy": "words"}, "speech_tokenizer", limit=2)
    trainer, watched = train([callback])
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    assert float(trainer.callback_metrics["val/benchmark_swuggy"]) in (0.0, 0.5, 1.0)
    assert len(encoded) <= 4  # once, though there were two validations


def test_benchmarks_that_cannot_be_run_are_told_before_training(benchmark_folder):
    with pytest.raises(ValueError, match="data must be of benchmarks among .*swuggy.*, but has 'wuggy'"):
        RunBenchmarks({"wuggy": "words"})
    with pytest.raises(ValueError, match="lexical/dev/gold.csv"):
        train([RunBenchmarks({"swuggy": {"folder": "units", "split": "dev"}}, "speech_tokenizer")])


def test_samples_are_made_after_whole_steps(folder, monkeypatch):
    made = []
    monkeypatch.setattr(GenerateSamples, "run", lambda self, trainer, module: made.append(trainer.global_step))
    train([samples(on_validation=False, at_end=False)], accumulate_grad_batches=2)
    assert made == [2, 4]


def test_choices_begin_as_training_does(folder, monkeypatch):
    """A published checkpoint has `<s>` and a space before every document."""
    monkeypatch.setattr(TextTokenizer, "opening", (1, 7))
    trainer, module = train([EvaluateChoice("units", "test", output="choice.json")])
    tokenizer = TextTokenizer.load("text")
    items = choice_items(UnitCorpus("units", "test"), tokenizer, module.vocabulary)
    expected, without = (
        {name: result.to_dict() for name, result in results.items()}
        for results in (
            score_choices(module.network.eval(), items, module.vocabulary, opening=opening).results()
            for opening in ((1, 7), ())
        )
    )
    assert json.loads(Path("choice.json").read_text())["results"] == expected != without

    save_lm("lm", module.network, module.vocabulary, tokenizer)  # `spiritlm evaluate choice` says what was logged
    run(["evaluate", "choice", "lm", "units", "evaluated.json", "--split=test"])
    evaluated = json.loads(Path("evaluated.json").read_text())
    assert {name: result["accuracy"] for name, result in evaluated.items()} == {
        name: pytest.approx(float(trainer.callback_metrics[f"val/accuracy_{name}"])) for name in expected
    }
    run(["evaluate", "choice", "lm", "units", "fewer.json", "--split=test", "--items=2"])
    fewer = json.loads(Path("fewer.json").read_text())
    assert {result["num_items"] for result in fewer.values()} == {2} and len(items) > 2


def test_samples_reach_mlflow_under_their_step(folder):
    trainer, _ = train([samples()], MLflowLogger("samples", system_metrics=False))
    client = MlflowClient(trainer.logger.tracking_uri)
    steps = {file.path for file in client.list_artifacts(trainer.logger.run_id, "samples")}
    assert steps == {f"samples/step_000000{step}" for step in (2, 4)}
    names = {Path(file.path).name for file in client.list_artifacts(trainer.logger.run_id, "samples/step_0000004")}
    for direction in ("text_to_text", "text_to_any"):
        assert {f"{direction}_text0.txt", f"{direction}_stories-0.txt"} <= names
    for name in ("text_to_speech_text0", "text_to_speech_stories-0", "speech_to_speech_stories-0"):
        assert {f"{name}.txt", f"{name}.wav", f"{name}.png"} <= names
    assert "speech_to_text_stories-0.txt" in names
    path = client.download_artifacts(trainer.logger.run_id, "samples/step_0000004/text_to_speech_text0.txt")
    text = Path(path).read_text()
    assert re.match(r"prompt: \[Text\]the cat\nanswer \((stop|length)\): \[Speech\]\[Hu", text)


def test_samples_reach_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer, _ = train([samples(on_validation=False, directions=["text_to_speech"])], TensorBoardLogger("tb"))
    events = EventAccumulator(trainer.logger.log_dir)
    events.Reload()
    assert events.Tags()["audio"] == ["samples/text_to_speech_text0", "samples/text_to_speech_stories-0"]
    assert [event.step for event in events.Audio("samples/text_to_speech_text0")] == [2, 4]
    assert "samples/text_to_speech_text0" in events.Tags()["images"]
    assert "samples/text_to_speech_text0/text_summary" in events.Tags()["tensors"]


@pytest.mark.slow
def test_sharded_training_makes_the_same_samples_and_choices(folder, python):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    vocabulary = Vocabulary.spirit_lm(num_text=TextTokenizer.load("text").vocab_size, num_units=20)
    torch.manual_seed(0)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary.num_rows,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=128,
            initializer_range=0.3,
        )
    )
    save_lm("start", network, vocabulary)
    texts, ways = [], ("one", "zero3", "fsdp2")
    for way in ways:
        worker = Path(__file__).with_name("sharded_samples_worker.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([python, worker, way], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        events = EventAccumulator(f"tb/lightning_logs/{way}")
        events.Reload()
        names = [name for name in events.Tags()["tensors"] if name.startswith("samples/")]
        texts.append(
            {name: [(event.step, event.tensor_proto.string_val[0]) for event in events.Tensors(name)] for name in names}
        )
    assert texts[0] == texts[1] == texts[2] and len(texts[0]) == 3 * 3 + 3
    one, two, three = (json.loads(Path(f"choice_{way}.json").read_text()) for way in ways)
    assert one["results"] == two["results"] == three["results"]


def test_wrong_options_and_modules_are_named(folder):
    with pytest.raises(ValueError, match="one is 'sideways'"):
        GenerateSamples(texts=["a"], directions=["sideways"])
    with pytest.raises(ValueError, match="texts, recordings or units must be given"):
        GenerateSamples()
    with pytest.raises(ValueError, match="for GenerateSamples, but LightningModule has no network"):
        GenerateSamples(texts=["a"]).run(Trainer(accelerator="cpu", logger=False), LightningModule())


def test_every_rank_ends_where_rank_zero_refuses_the_vocoder(folder):
    vocabulary = Vocabulary.spirit_lm(num_text=TextTokenizer.load("text").vocab_size, num_units=30)
    module = TinyModule(vocabulary, "text")
    module.configure_model()
    told = []

    def rank(number, broadcast):
        strategy = SimpleNamespace(root_device=torch.device("cpu"), broadcast=broadcast)
        return SimpleNamespace(is_global_zero=number == 0, strategy=strategy, loggers=[])

    with pytest.raises(ValueError, match="num_units .* must be"):
        samples().on_fit_start(rank(0, told.append), module)
    assert len(told) == 1 and "num_units" in told[0]
    with pytest.raises(ValueError, match="num_units"):  # and does not wait for rank zero
        samples().on_fit_start(rank(1, lambda _: told[0]), module)


def test_every_rank_ends_before_training_where_results_cannot_be_written(tmp_path):
    """Of every callback that writes: the other ranks would wait, or end with an error over a lost connection."""
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "below")
    export = ExportNetwork(place)
    checkpoint = PatientCheckpoint(dirpath=place)
    choice = EvaluateChoice("units", output=place)
    kinds = {export: "a folder", checkpoint: "a folder", choice: "a file"}

    def rank(number, broadcast):
        strategy = SimpleNamespace(broadcast=lambda found, src=0: found if found == place else broadcast(found))
        return SimpleNamespace(is_global_zero=number == 0, strategy=strategy, loggers=[], callbacks=[], fast_dev_run=0)

    for callback, kind in kinds.items():
        told = []
        message = rf"^\w+ of {type(callback).__name__} must be {kind} that can be written, but .*below cannot: "
        message = message.replace("Patient", "Model")
        with pytest.raises(ValueError, match=message):
            callback.setup(rank(0, told.append), Exporting(), "fit")
        with pytest.raises(ValueError, match=message):
            callback.setup(rank(1, lambda _, told=told: told[0]), Exporting(), "fit")


class Exporting(LightningModule):
    """Module that can be exported."""

    def export(self, folder):
        raise AssertionError


class FinishVocoder(Callback):
    """Put the folder of a vocoder in place after two steps, as a training beside this one does."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            Path("elsewhere").rename("vocoder")


def test_a_vocoder_that_trains_beside_is_used_once_it_is_there(folder, monkeypatch):
    heard = []
    monkeypatch.setattr("spiritlm_pl.callbacks.generate_samples.log_audio", lambda *given: heard.append(given[-1]))
    Path("vocoder").rename("elsewhere")
    every_step = samples(vocoder_later=True, directions=["text_to_speech"], every_n_steps=1, on_validation=False)
    train([every_step, FinishVocoder()])
    assert sorted(set(heard)) == [3, 4]
    Path("vocoder").rename("elsewhere")
    with pytest.raises(ValueError, match=r"config\.json"):
        train([samples()])
    with pytest.raises(ValueError, match="vocoder must be given for vocoder_later"):
        GenerateSamples(texts=["a"], vocoder_later=True)


@pytest.mark.parametrize("later", [False, True])
def test_a_vocoder_that_is_no_folder_is_refused_at_once(folder, later):
    Path("file").touch()
    with pytest.raises(ValueError, match="vocoder must be a folder, but file is a file instead"):
        train([samples(vocoder="file", vocoder_later=later)])


@pytest.mark.parametrize("wrong", ["units", "size", "file"])
def test_a_vocoder_of_an_earlier_training_does_not_speak_and_stops_nothing(folder, monkeypatch, wrong):
    heard = []
    monkeypatch.setattr("spiritlm_pl.callbacks.generate_samples.log_audio", lambda *given: heard.append(given[-1]))
    size = {"units": 20, "size": 10, "file": 20}[wrong]
    config = InverseSTFTConfig(num_units=size, speakers=("a",), embedding_dim=8, hop_length=640)
    made_of = "a" * 64 if wrong == "units" else "b" * 64
    save_network("vocoder", InverseSTFTVocoder(config), "vocoder", extra={"tokenizer_sha256": made_of})
    if wrong == "file":
        Path("vocoder/model.safetensors").write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="logged as units while the vocoder cannot be used") as told:
        train([samples(vocoder_later=True, directions=["text_to_speech"])])
    assert not heard and len([one for one in told if "logged as units" in str(one.message)]) == 1


def test_an_unknown_voice_is_told_before_training(folder):
    with pytest.raises(ValueError, match="speaker must be"):
        train([samples(speaker="nobody", every_n_steps=None, on_validation=False, at_end=False)])
