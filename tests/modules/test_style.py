"""Style training: styles are learnt, the speaker's gradient is turned round, codes are learnt from clusters."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lhotse.utils import fastcopy
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from spiritlm_pl.contracts.batches import LabelledBatch
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import load_cuts, make_cut, save_corpus, write_cuts
from spiritlm_pl.datamodules.features import FeatureDataModule
from spiritlm_pl.datamodules.labelled import LabelledDataModule
from spiritlm_pl.modules.quantizer import KMeansModule
from spiritlm_pl.modules.skipped_steps import TrainingDivergedError
from spiritlm_pl.modules.style import StyleCodeModule, StyleModule, reverse_gradient, second_loss
from spiritlm_pl.runtime.checkpoint import load_network, save_network
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.hubert import HubertConfig, HubertLayer, HubertNetwork
from spiritlm_pl.tokenizers.kmeans import KMeansConfig
from spiritlm_pl.tokenizers.mlp_quantizer import LinearQuantizer, LinearQuantizerConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.prosody import ProsodyConfig
from spiritlm_pl.tokenizers.style import StyleEncoder, StyleFeatures

pytestmark = [pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")]
StartRanks = Callable[..., Callable[..., str]]  # the fixture
MFCC = MFCCConfig(normalize=False)
PITCHES = {"dark": 200, "bright": 1500, "": 800}


def styled_corpus(folder: Path, styles: tuple[str, ...] = ("dark", "bright"), speakers: int = 2) -> Path:
    """Two tones: the lower one says the style, the upper one the speaker."""
    cuts: dict[str, list[Any]] = {"train": [], "validation": [], "test": []}
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 12), ("validation", 8), ("test", 2)):
        for index in range(count):
            style, speaker = styles[index % len(styles)], index // 2 % speakers
            samples = torch.arange(20_000 + 1_000 * index)
            tones = (PITCHES[style], (3_000, 5_000)[speaker])
            tone = 0.2 * sum(torch.sin(2 * math.pi * pitch * samples / 16_000) for pitch in tones)
            path = folder / "audio" / f"{split}{index}.wav"
            length = save_wav(path, tone + 0.01 * torch.randn(len(samples), generator=generator))
            names = {"speaker": f"speaker{speaker}", "custom": {"style": style}, "text": "", "words": []}
            cuts[split].append(
                make_cut(f"{folder.name}-{split}{index}", path, sample_rate=16_000, num_samples=length, **names)
            )
    save_corpus(folder, cuts, name=folder.name, source="test", licence="none")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return styled_corpus(tmp_path_factory.mktemp("corpora") / "styled")


def fit(module: Any, data: Any, folder: Path, steps: int, ckpt_path: str | None = None) -> dict[str, float]:
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(folder, "{step}", every_n_train_steps=4, save_top_k=-1)],
        use_distributed_sampler=False,
        default_root_dir=folder,
    )
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def train_features(corpus: Path, folder: Path, steps: int = 60, **options: Any) -> tuple[StyleModule, dict[str, float]]:
    seed_everything(0, verbose=False)
    module = StyleModule(MFCC, projection_dim=8, learning_rate=1e-2, **options)
    data = LabelledDataModule([str(corpus)], batch_seconds=10.0, crop_seconds=1.2)
    return module, fit(module, data, folder, steps)


def test_styles_are_told_apart_and_the_classifier_is_exported(corpus: Path, tmp_path: Path) -> None:
    module, figures = train_features(corpus, tmp_path)
    assert figures["val/accuracy_style"] == 1.0 and 0 <= figures["val/accuracy_speaker"] <= 1
    assert figures["val/commonest_speaker"] == 0.5
    module.export(str(tmp_path / "style"))
    classifier = load_network(tmp_path / "style", "style")
    assert isinstance(classifier, StyleEncoder) and classifier.config.labels == ("bright", "dark")
    assert classifier.config.target == "style"
    tone = 0.2 * torch.sin(2 * math.pi * 200 * torch.arange(16_000) / 16_000)[None]
    features, counts = classifier(tone, torch.tensor([16_000]))
    likeliest = int(classifier.classify(classifier.utterances(features, counts)).argmax())
    assert classifier.config.labels[likeliest] == "dark"


def test_a_corpus_without_labels_is_told(corpus: Path, tmp_path: Path) -> None:
    plain = styled_corpus(tmp_path / "plain", styles=("",))
    data = LabelledDataModule([str(corpus), str(plain)])
    told = "corpora: .*plain has no usable utterance in the split '{}' and is left out"
    with (
        pytest.warns(UserWarning, match=told.format("train")),
        pytest.warns(UserWarning, match=told.format("validation")),
    ):
        data.setup("fit")


def test_audio_of_another_rate_is_refused(corpus: Path, tmp_path: Path) -> None:
    data = LabelledDataModule([str(corpus)], batch_seconds=10.0, sample_rate=8_000)
    with pytest.raises(ValueError, match="sample_rate of the data must be the network's 16000, but is 8000 instead"):
        fit(StyleModule(MFCC), data, tmp_path, 1)


def test_prosody_is_learnt_from_whole_utterances(corpus: Path, tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    encoder = ProsodyConfig(f0="yin", channels=16, dropout=0.0)
    module = StyleModule(encoder, whole=True, balanced=False, encoder_learning_rate=1e-2, learning_rate=1e-2)
    data = LabelledDataModule([str(corpus)], batch_seconds=10.0, crop_seconds=None)
    assert fit(module, data, tmp_path, 40)["val/accuracy_style"] == 1.0


@pytest.mark.parametrize("whole", [False, True])
def test_the_loss_is_of_seconds_or_of_wholes(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """A second that tells nothing costs something; where the whole counts, another may make up for it."""
    module = StyleModule(MFCC, whole=whole, balanced=False)
    scores = torch.tensor([[[0.0, 0.0], [8.0, 0.0]]])  # of one utterance of two seconds
    found = (scores, torch.zeros(1, 2, 1), scores.mean(1), torch.zeros(1, 1), torch.ones(1, 2, dtype=torch.bool))
    monkeypatch.setattr(module, "_scores", lambda batch: found)
    monkeypatch.setattr(module, "log_dict", lambda *args, **kwargs: None)
    label = torch.zeros(1, dtype=torch.long)
    batch = LabelledBatch(waveforms=torch.zeros(1, 1), lengths=label, ids=["a"], styles=label, speakers=label)
    expected = math.log1p(math.exp(-4)) if whole else (math.log(2) + math.log1p(math.exp(-8))) / 2
    assert float(module.training_step(batch, 0)) == pytest.approx(expected, rel=1e-4)


def test_the_speaker_is_driven_out(corpus: Path, tmp_path: Path) -> None:
    """Against its gradient the projection loses what the second head could read."""
    _, plain = train_features(corpus, tmp_path / "a", steps=150)
    _, driven = train_features(corpus, tmp_path / "b", steps=150, adversarial_weight=1.0)
    assert driven["val/accuracy_style"] == 1.0
    assert driven["val/accuracy_speaker"] < plain["val/accuracy_speaker"]


def test_rare_labels_count_as_much_as_frequent_ones() -> None:
    scores = torch.zeros(3, 2, 2)
    inside = torch.tensor([[True, True], [True, False], [True, True]])
    plain = second_loss(scores, torch.tensor([0, 1, -1]), inside)
    assert float(plain) == pytest.approx(math.log(2))  # three seconds of known label
    weighted = second_loss(scores, torch.tensor([0, 1, -1]), inside, torch.tensor([0.5, 2.0]))
    assert float(weighted) == pytest.approx(math.log(2) * (2 * 0.5 + 1 * 2.0) / 3)


def test_gradients_are_turned_round() -> None:
    values = torch.ones(3, requires_grad=True)
    turned = reverse_gradient(values, 0.5)
    torch.testing.assert_close(turned, values)
    (turned * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [-0.5, -1.0, -1.5]


def test_speakers_can_be_the_target(corpus: Path, tmp_path: Path) -> None:
    _, figures = train_features(corpus, tmp_path, steps=150, target="speaker")
    assert figures["val/accuracy_speaker"] == 1.0 and "val/accuracy_style" not in figures


def test_what_nobody_held_out_is_known_of_has_no_figure(tmp_path: Path) -> None:
    corpus = styled_corpus(tmp_path / "styled")
    cuts = [
        fastcopy(cut, supervisions=[fastcopy(cut.supervisions[0], speaker="new")])
        for cut in load_cuts(corpus, "validation")
    ]
    write_cuts(corpus, "validation", cuts)
    _, figures = train_features(corpus, tmp_path, steps=2)
    assert "val/accuracy_style" in figures and "val/accuracy_speaker" not in figures


def with_dropout(folder: Path) -> HubertLayer:
    """An encoder that has weights and dropout."""
    torch.manual_seed(0)
    config = HubertConfig(
        extractor_mode="mel", channels=20, embed_dim=16, num_layers=2, num_heads=2, feed_forward_dim=32, dropout=0.2,
        pos_conv_kernel=9, pos_conv_groups=4, num_classes=5, final_dim=8, layer_norm_first=True,
    )  # fmt: skip
    save_network(folder, HubertNetwork(config), "hubert")
    return HubertLayer(folder=str(folder), layer=2)


def test_a_resumed_run_is_the_same(corpus: Path, tmp_path: Path) -> None:
    encoder = with_dropout(tmp_path / "hubert")
    data = {"batch_seconds": 10.0, "crop_seconds": 1.2}
    seed_everything(0, verbose=False)
    whole, resumed = (StyleModule(encoder, projection_dim=8, adversarial_weight=0.5) for _ in range(2))
    fit(whole, LabelledDataModule([str(corpus)], **data), tmp_path, 8)
    seed_everything(1, verbose=False)
    ckpt_path = str(tmp_path / "step=4.ckpt")
    fit(resumed, LabelledDataModule([str(corpus)], **data), tmp_path, 8, ckpt_path)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_clusters_and_the_encoder_that_learns_them(corpus: Path, tmp_path: Path) -> None:
    module, _ = train_features(corpus, tmp_path)
    module.export(str(tmp_path / "style"))
    features = FeatureDataModule([str(corpus)], StyleFeatures(style=str(tmp_path / "style")), batch_seconds=60.0)
    clusters = KMeansModule(KMeansConfig(num_units=2, feature_dim=8), start_frames=20)
    fit(clusters, features, tmp_path, 2)
    clusters.export(str(tmp_path / "clusters"))
    teacher = PhoneticTokenizer.load(tmp_path / "clusters")
    assert teacher.frame_rate == 1
    seed_everything(0, verbose=False)
    source = StyleFeatures(style=str(tmp_path / "style"))
    student = StyleCodeModule(source, str(tmp_path / "clusters"), projection_dim=8, learning_rate=1e-2)
    data = LabelledDataModule([str(corpus)], needed="nothing", batch_seconds=10.0, crop_seconds=None)
    figures = fit(student, data, tmp_path, 100)
    assert figures["val/accuracy"] > 0.95 and figures["val/codes_used"] == 1 and figures["val/codes_entropy"] > 0.5
    assert figures["val/purity_styles"] > 0.95 and figures["val/purity_speakers"] < 0.8
    student.export(str(tmp_path / "tokenizer"))
    tokenizer = PhoneticTokenizer.load(tmp_path / "tokenizer")
    assert tokenizer.encode(torch.zeros(1, 40_000), torch.tensor([40_000]))[0].num_frames == 3


def test_a_step_without_a_finite_gradient_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    class Broken(LabelledDataModule):
        def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            return replace(batch, waveforms=batch.waveforms * float("nan")) if self.trainer.training else batch

    seed_everything(0, verbose=False)
    module = StyleModule(MFCC, projection_dim=8)
    found: list[Tensor] = []
    module.on_train_start = lambda: found.append(module.network.head.weight.detach().clone())
    with pytest.raises(TrainingDivergedError, match="not in any of the 3 steps: nothing was trained"):
        fit(module, Broken([str(corpus)], batch_seconds=10.0, crop_seconds=1.2), tmp_path, 3)
    assert torch.equal(found[0], module.network.head.weight)
    assert module.skipped.total == 3


def test_one_style_or_one_speaker_is_told(tmp_path: Path) -> None:
    single = styled_corpus(tmp_path / "single", styles=("dark",), speakers=1)
    with pytest.raises(ValueError, match=r"data must have at least two styles to tell apart, but has \['dark'\]"):
        train_features(single, tmp_path)
    lonely = styled_corpus(tmp_path / "lonely", speakers=1)
    with pytest.raises(ValueError, match=r"adversarial_weight must be 0 with one speaker, but is 0.1 instead"):
        train_features(lonely, tmp_path, adversarial_weight=0.1)
    assert train_features(lonely, tmp_path)[1]["val/accuracy_style"] == 1.0


def test_a_teacher_gives_one_code_a_second(corpus: Path, tmp_path: Path) -> None:
    data = FeatureDataModule([str(corpus)], MFCC, batch_seconds=60.0)
    clusters = KMeansModule(KMeansConfig(num_units=2, feature_dim=39), start_frames=20)
    fit(clusters, data, tmp_path, 2)
    clusters.export(str(tmp_path / "units"))
    with pytest.raises(ValueError, match="teacher must give one code a second, but gives 25 instead"):
        fit(StyleCodeModule(MFCC, str(tmp_path / "units")), LabelledDataModule([str(corpus)]), tmp_path, 1)


@pytest.mark.slow
def test_two_processes_stay_equal(start_ranks: StartRanks, corpus: Path, tmp_path: Path) -> None:
    module, _ = train_features(corpus, tmp_path, steps=4)
    extractor: Any = module.network
    quantizer = LinearQuantizer(LinearQuantizerConfig(num_units=3, feature_dim=8))
    PhoneticTokenizer(extractor, quantizer).save(tmp_path / "teacher")
    with_dropout(tmp_path / "hubert")
    start_ranks(Path(__file__).with_name("run_style_ddp.py"), tmp_path, corpus, tmp_path / "teacher")()
    for name, figure in (("style", "val/accuracy_speaker"), ("codes", "val/codes_entropy")):
        one, other = (torch.load(tmp_path / f"{name}{rank}.pt") for rank in (0, 1))
        assert one["figures"] == other["figures"] and figure in one["figures"]
        for key, value in one["weights"].items():
            assert torch.equal(value, other["weights"][key]), key
