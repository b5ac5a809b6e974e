"""Classifiers of style and speaker: what they say of whole utterances, and what similarities mean."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from spiritlm_pl.evaluation.classifiers import VoiceClassifier, load_classifier, similarity, similarity_scale
from spiritlm_pl.runtime.checkpoint import save_network


def test_a_classifier_says_what_its_network_says_of_a_batch(kit: Any) -> None:
    network = kit.classifier(("high", "low"))
    classifier = VoiceClassifier(network)
    waveforms = [kit.Said("a", f0).waveform()[: 16_000 + 5_000 * i] for i, f0 in enumerate((100.0, 150.0, 230.0))]
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    with torch.no_grad():
        features, counts = network(pad_sequence(waveforms, batch_first=True), lengths)
        whole = network.utterances(features, counts)
        labels = [classifier.labels[index] for index in network.classify(whole).argmax(-1).tolist()]
    assert [classifier.label(waveform) for waveform in waveforms] == labels
    for waveform, expected in zip(waveforms, whole, strict=True):
        torch.testing.assert_close(classifier.features(waveform), expected, atol=1e-4, rtol=1e-3)


def test_waveforms_of_another_rate_are_resampled(kit: Any) -> None:
    network, waveform = kit.classifier(("a", "b")), kit.Said("a").waveform()
    half = VoiceClassifier(network, sample_rate=8_000).features(waveform[::2])
    whole = VoiceClassifier(network).features(waveform)
    assert similarity(half, whole) > 0.9


def test_the_scale_is_of_all_pairs() -> None:
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    scale = similarity_scale([(east, "ann"), (2 * east, "ann"), (north, "bob"), (east + north, "bob")])
    assert scale.same_speaker is not None and scale.different_speakers is not None
    half = 2**-0.5
    assert scale.same_speaker.value == pytest.approx((1 + 1 + half + half) / 4) and scale.same_speaker.count == 4
    assert scale.different_speakers.value == pytest.approx((half / 2 + half / 2 + 0 + half) / 4)
    alone = similarity_scale([(east, "ann"), (north, "bob")])
    assert alone.same_speaker is None and alone.different_speakers is not None
    assert similarity_scale([(east, "ann")]).different_speakers is None
    assert similarity_scale([]).same_speaker is None


def test_a_classifier_has_labels(kit: Any) -> None:
    folder = save_network(kit.folder / "classifier", kit.classifier(("high", "low")), "style")
    assert load_classifier("style_classifier", folder, "style").labels == ("high", "low")
    save_network(folder, kit.classifier(()), "style")
    with pytest.raises(
        ValueError, match="style_classifier must be a network that tells labels apart, but .* has no labels"
    ):
        load_classifier("style_classifier", folder, "style")
    save_network(folder, kit.vocoder(kit.base), "vocoder")
    with pytest.raises(ValueError, match="must be of stage 'style'"):
        load_classifier("speaker_classifier", folder, "speaker")


def test_a_classifier_tells_what_it_was_trained_for(kit: Any) -> None:
    network = kit.classifier(("ann", "bob"))
    network.config = replace(network.config, target="speaker")
    folder = save_network(kit.folder / "speakers", network, "style")
    assert load_classifier("speaker_classifier", folder, "speaker").labels == ("ann", "bob")
    with pytest.raises(
        ValueError, match="style_classifier must be a network that tells styles apart, but .* tells speakers"
    ):
        load_classifier("style_classifier", folder, "style")
