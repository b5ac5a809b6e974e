from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from spiritlm_pl.contracts.speech_tokenizer import Units
from spiritlm_pl.corpora.manifest import Word, load_cuts, write_cuts
from spiritlm_pl.evaluation.unit_metrics import (
    UnitStatistics,
    frame_phones,
    label_figures,
    phone_figures,
    unit_report,
    unit_table,
)
from spiritlm_pl.tokenizers.features import MFCCConfig
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig, MinibatchKMeans
from spiritlm_pl.tokenizers.mlp_quantizer import MLPQuantizer, MLPQuantizerConfig, ctc_loss, fill_blanks
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer


def test_statistics_of_known_units() -> None:
    phones = [Word("a", 0.0, 0.2), Word("b", 0.2, 0.4)]
    perfect = UnitStatistics(4)
    labels = frame_phones(phones, 10, 25.0)
    perfect.add(Units.from_frames(torch.tensor([0] * 5 + [1] * 5)), 25.0, labels)
    report = perfect.report() | phone_figures(perfect)
    assert report["pnmi"] == pytest.approx(1.0) and report["phone_purity"] == pytest.approx(1.0)
    assert report["codebook_use"] == 0.5 and report["units_per_second"] == pytest.approx(5.0)
    assert report["perplexity"] == pytest.approx(2.0)
    blind = UnitStatistics(4)
    blind.add(Units.from_frames(torch.tensor([2] * 10)), 25.0, labels)
    told = phone_figures(blind)
    assert told["pnmi"] == pytest.approx(0.0) and told["phone_purity"] == pytest.approx(0.5)


def test_figures_of_labels_are_not_called_those_of_phones() -> None:
    speakers = UnitStatistics(4)
    speakers.add(Units.from_frames(torch.tensor([0, 0, 0, 1])), 25.0, ["anna"] * 4)
    speakers.add(Units.from_frames(torch.tensor([1, 1])), 25.0, ["bert"] * 2)
    assert set(speakers.report()) == {"codebook_use", "perplexity", "units_per_second"}
    told = speakers.told()
    assert told is not None and told == label_figures({("anna", 0): 3, ("anna", 1): 1, ("bert", 1): 2}, 4)
    assert told.purity == pytest.approx(5 / 6) and told.cluster_purity == pytest.approx(5 / 6)
    assert 0 < told.information < 1
    with pytest.raises(ValueError, match="argument"):  # one a frame
        speakers.add(Units.from_frames(torch.tensor([1, 1])), 25.0, ["bert"])
    assert UnitStatistics(4).told() is None and phone_figures(UnitStatistics(4)) == {}


def test_report_of_a_corpus(tone_corpus: Path) -> None:
    extractor = MFCCConfig().build()
    features, _ = extractor(torch.randn(1, 160_000), torch.tensor([160_000]))
    quantizer = KMeans(KMeansConfig(num_units=10, feature_dim=39))
    MinibatchKMeans(quantizer).start(features[0])
    tokenizer = PhoneticTokenizer(extractor, quantizer)
    report = unit_report(tokenizer, [tone_corpus], augmented_utterances=1)
    assert {"pnmi", "unit_edit_distance", "speaker_pnmi", "pnmi/tones"} <= set(report)
    (row,) = unit_table({"MFCC": report})
    assert row["tokenizer"] == "MFCC" and 0 <= float(row["pnmi"]) <= 1


def test_reports_are_of_all_of_a_corpus(tone_corpus: Path, make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    extractor = MFCCConfig().build()
    quantizer = KMeans(KMeansConfig(num_units=4, feature_dim=39))
    MinibatchKMeans(quantizer).start(extractor(torch.randn(1, 160_000), torch.tensor([160_000]))[0][0])
    tokenizer = PhoneticTokenizer(extractor, quantizer)

    def report(*corpora: Path, most: int = 100) -> dict[str, float]:
        return unit_report(tokenizer, corpora, split="test", max_utterances=most, augmented_utterances=0)

    corpus = make_corpus(tmp_path / "tones", held_out=8)
    two = report(tone_corpus, corpus)  # of one name, and both count
    assert two["pnmi"] == pytest.approx((two[f"pnmi/{tone_corpus}"] + two[f"pnmi/{corpus}"]) / 2)
    cuts = sorted(load_cuts(corpus, "test"), key=lambda cut: str(cut.supervisions[0].speaker))
    write_cuts(corpus, "test", cuts)
    assert "speaker_pnmi" in report(corpus, most=2)  # one of each speaker, though they lie in their order
    for cut in cuts[4:]:
        cut.supervisions[0].speaker = None
    write_cuts(corpus, "test", cuts)
    assert "speaker_pnmi" not in report(corpus)
    write_cuts(corpus, "test", [])
    with pytest.raises(ValueError, match="corpora must hold utterances in split test, but there are none in .*tones"):
        report(corpus)


def test_blanks_take_the_unit_on_their_left() -> None:
    classes = torch.tensor([[9, 9, 4, 9, 2], [1, 9, 9, 9, 9]])
    assert fill_blanks(classes, 9).tolist() == [[4, 4, 4, 4, 2], [1, 1, 1, 1, 1]]


def test_mlp_learns_by_ctc() -> None:
    torch.manual_seed(0)
    network = MLPQuantizer(MLPQuantizerConfig(num_units=4, feature_dim=4, hidden=(16, 16)))
    frames = torch.randint(4, (8, 6)).repeat_interleave(3, dim=1)
    features = torch.nn.functional.one_hot(frames, 4).float()
    lengths = torch.full((8,), 18)
    targets = [Units.from_frames(row) for row in frames]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = ctc_loss(network, features, lengths, targets)
        loss.backward()
        optimizer.step()
    found = network(features, lengths)
    agreement = [
        torch.equal(Units.from_frames(row).values, units.values) for row, units in zip(found, targets, strict=True)
    ]
    assert loss.item() < 0.5 and sum(agreement) >= 7
