from pathlib import Path

import pytest
import torch
from torchaudio.models.wav2vec2.components import LogitGenerator, _compute_logits

from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.tokenizers.hubert import (
    STAGE,
    HubertConfig,
    HubertFeatures,
    HubertFeaturesConfig,
    HubertNetwork,
    labels_at_frames,
    start_from,
)


def test_published_layouts() -> None:
    config = HubertConfig()
    assert (config.hop_length, config.frame_rate, config.receptive_field) == (640, 25.0, 720)
    fifty = HubertConfig(kernels=(10, 3, 3, 3, 3, 2, 2), strides=(5, 2, 2, 2, 2, 2, 2))
    assert (fifty.hop_length, fifty.frame_rate, fifty.receptive_field) == (320, 50.0, 400)


def test_logits_are_torchaudios() -> None:
    torch.manual_seed(0)
    config = HubertConfig(
        kernels=(20, 8, 8, 8),
        strides=(10, 4, 4, 4),
        channels=8,
        embed_dim=16,
        num_layers=1,
        num_heads=2,
        feed_forward_dim=16,
        pos_conv_kernel=3,
        pos_conv_groups=2,
        num_classes=7,
        final_dim=5,
        dropout=0.0,
    )
    network = HubertNetwork(config)
    prediction = network(torch.randn(2, 16_000), torch.tensor([16_000, 12_000]))
    assert prediction.logits.shape == (2, 25, 7) and prediction.inside.sum(1).tolist() == [25, 18]
    assert bool(prediction.masked.any()) and not bool((prediction.masked & ~prediction.inside).any())
    reference = LogitGenerator(16, 7, 5, False, False)
    hidden, labels = torch.randn(9, 16), torch.randint(7, (9,))
    ours = torch.nn.functional.normalize(reference.final_proj(hidden), dim=-1)
    ours = ours @ torch.nn.functional.normalize(reference.label_embeddings, dim=-1).T / config.temperature
    theirs = _compute_logits(reference.final_proj(hidden), labels, reference.label_embeddings)
    # torchaudio puts the right class first and its copy at minus infinity.
    expected = torch.nn.functional.cross_entropy(theirs, torch.zeros(9, dtype=torch.long))
    torch.testing.assert_close(torch.nn.functional.cross_entropy(ours, labels), expected)


def test_logits_are_not_rounded_under_autocast() -> None:
    torch.manual_seed(0)
    network = HubertNetwork(
        HubertConfig(extractor_mode="mel", channels=40, embed_dim=16, num_layers=1, num_heads=2, feed_forward_dim=16,
                     pos_conv_kernel=3, pos_conv_groups=2, num_classes=7, final_dim=5)
    )  # fmt: skip
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(1, 16_000), torch.tensor([16_000])).logits
    assert logits.dtype == torch.float32 and not torch.equal(logits, logits.bfloat16().float())


def test_next_iteration_has_classes_of_its_own(tmp_path: Path) -> None:
    config = HubertConfig(extractor_mode="mel", channels=40, embed_dim=16, num_layers=1, num_heads=2,
                          feed_forward_dim=16, pos_conv_kernel=3, pos_conv_groups=2, num_classes=7)  # fmt: skip
    earlier, network = HubertNetwork(config), HubertNetwork(config)
    save_network(tmp_path, earlier, STAGE)
    drawn = network.classes.clone()
    start_from(network, str(tmp_path))
    assert torch.equal(network.classes, drawn)
    assert torch.equal(network.projection.weight, earlier.projection.weight)


def test_labels_of_another_rate() -> None:
    fast = torch.arange(8)[None]  # 100 Hz
    assert labels_at_frames(fast, 100.0, 3, 25.0).tolist() == [[2, 6, -1]]
    slow = torch.tensor([[5, 6]])  # 25 Hz
    assert labels_at_frames(slow, 25.0, 5, 50.0).tolist() == [[5, 5, 6, 6, -1]]


def test_smoothed_frames_hold_their_neighbours_whatever_the_batch() -> None:
    torch.manual_seed(0)
    network = HubertNetwork(
        HubertConfig(extractor_mode="mel", channels=40, embed_dim=16, num_layers=1, num_heads=2, feed_forward_dim=16,
                     pos_conv_kernel=3, pos_conv_groups=2, num_classes=7)
    ).eval()  # fmt: skip
    plain, smooth = (HubertFeatures.from_network(network, 1, smoothing=share) for share in (0.0, 0.25))
    waveforms, lengths = torch.randn(2, 16_000), torch.tensor([16_000, 6_400])
    with torch.no_grad():
        frames, counts = plain(waveforms, lengths)
        found, _ = smooth(waveforms, lengths)
        alone, _ = smooth(waveforms[1:, :6_400], lengths[1:])
        single, _ = smooth(waveforms[:1, :640], torch.tensor([640]))
        unsmoothed, _ = plain(waveforms[:1, :640], torch.tensor([640]))
    assert counts.tolist() == [25, 10]
    torch.testing.assert_close(found[0, 5], frames[0, 4:7].T @ torch.tensor([0.25, 0.5, 0.25]))
    torch.testing.assert_close(found[1, 9], frames[1, 8:10].T @ torch.tensor([1 / 3, 2 / 3]))  # the last one
    torch.testing.assert_close(alone[0], found[1, :10])
    torch.testing.assert_close(single, unsmoothed)
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1/3\], but is 0.5 instead"):
        HubertFeaturesConfig(smoothing=0.5)
