"""Encoders with packed weights give what the networks themselves give, whatever the batch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from spiritlm_pl.runtime.inference import prepare
from spiritlm_pl.tokenizers import packed_encoder as module
from spiritlm_pl.tokenizers.encoders import (
    TorchaudioEncoder,
    TorchaudioEncoderConfig,
    TransformersEncoder,
    TransformersEncoderConfig,
)
from spiritlm_pl.tokenizers.hubert import HubertFeatures, HubertFeaturesConfig
from spiritlm_pl.tokenizers.packed_encoder import packed_encoder

CONVOLUTIONS = [(10, 5), (3, 2), (3, 2), (2, 2), (2, 2)]  # 80 samples
SIZES: dict[str, Any] = {
    "kernels": tuple(kernel for kernel, _ in CONVOLUTIONS),
    "strides": tuple(stride for _, stride in CONVOLUTIONS),
    "channels": 16,
    "embed_dim": 32,
    "num_layers": 3,
    "num_heads": 2,
    "feed_forward_dim": 48,
    "pos_conv_kernel": 16,
    "pos_conv_groups": 4,
}
FOREIGN: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 5,
    "conv_kernel": SIZES["kernels"],
    "conv_stride": SIZES["strides"],
    "num_feat_extract_layers": 5,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
TORCHAUDIO: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(16, kernel, stride) for kernel, stride in CONVOLUTIONS],
    "extractor_conv_bias": True,
    "encoder_embed_dim": 32,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 15,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 48,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": None,
}


def hubert(**changed: Any) -> HubertFeatures:
    return HubertFeatures(HubertFeaturesConfig(**(SIZES | {"layer": 2} | changed)))


def transformers(layer: int = 2, **changed: Any) -> TransformersEncoder:
    model = {"model_type": "wav2vec2", **FOREIGN, **changed}
    return TransformersEncoder(TransformersEncoderConfig(model=model, layer=layer))


def torchaudio(**changed: Any) -> TorchaudioEncoder:
    return TorchaudioEncoder(TorchaudioEncoderConfig(model=TORCHAUDIO | changed, normalize=True))


PACKED = {
    "convolutions": lambda: hubert(),
    "biases and no edges": lambda: hubert(conv_bias=True, pad_edges=False, pos_conv_kernel=7),
    "mel": lambda: hubert(extractor_mode="mel", channels=40, strides=(5, 4, 4, 4, 2), kernels=(10, 4, 4, 4, 2)),
    "layer norm in the convolutions": lambda: hubert(extractor_mode="layer_norm", normalize=True),
    "wav2vec2 of transformers": lambda: transformers(),
    "hubert of transformers": lambda: transformers(model_type="hubert"),
    "torchaudio": lambda: torchaudio(),
}
PLAIN = {
    "norm first": lambda: hubert(layer_norm_first=True),
    "norm first, of transformers": lambda: transformers(do_stable_layer_norm=True, feat_extract_norm="layer"),
    "another activation": lambda: transformers(hidden_act="relu"),
    "norm first, of torchaudio": lambda: torchaudio(encoder_layer_norm_first=True),
    "wavlm": lambda: transformers(model_type="wavlm"),
}


def both(make: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    plain = make().eval()
    with torch.no_grad():
        for weight in plain.parameters():  # norms and biases, too, must matter
            weight.add_(torch.randn_like(weight) * 0.05)
    prepared = make().eval()  # a copy would share the class whose weight norm is folded
    prepared.load_state_dict(plain.state_dict())
    prepare(prepared, "cpu")
    return plain, prepared


def network(features: Any) -> Any:
    return features.encoder if isinstance(features, HubertFeatures) else features.network


def audio() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    lengths = torch.tensor([12_000, 5_000, 20, 12_000, 0, 1_500])
    waveforms = torch.randn(6, 12_000) * torch.linspace(0.01, 0.3, 12_000) + 0.05  # louder and louder, and no zero mean
    return waveforms * (torch.arange(12_000) < lengths[:, None]), lengths


@pytest.mark.parametrize("name", PACKED)
def test_gives_the_features_of_the_network(name: str) -> None:
    plain, prepared = both(PACKED[name])
    waveforms, lengths = audio()
    with torch.inference_mode():
        assert packed_encoder(network(prepared), waveforms.device) is not None
        wanted, counts = plain(waveforms, lengths)
        found, found_counts = prepared(waveforms, lengths)
        assert found_counts.tolist() == counts.tolist() and found.shape[-1] == wanted.shape[-1]
        for row, count in enumerate(counts.tolist()):
            torch.testing.assert_close(found[row, :count], wanted[row, :count], rtol=1e-4, atol=1e-4)
        nothing, none = prepared(waveforms[2:3, :20], lengths[2:3])
    assert nothing.shape[1] == 0 and none.tolist() == [0]


@pytest.mark.parametrize("name", PACKED)
def test_gives_nearly_the_same_in_bfloat16(name: str) -> None:
    plain, prepared = both(PACKED[name])
    waveforms, lengths = audio()
    with torch.inference_mode():
        wanted, counts = plain(waveforms, lengths)
        with torch.autocast("cpu", torch.bfloat16):
            assert packed_encoder(network(prepared), waveforms.device) is not None
            found, _ = prepared(waveforms, lengths)
    count = int(counts[0])
    error = (found[0, :count].float() - wanted[0, :count]).square().mean() / wanted[0, :count].square().mean()
    assert 0 < float(error) < 1e-3


@pytest.mark.parametrize("layer", [-4, -3, -1, 0, 3])
def test_layers_of_older_folders_are_counted_as_the_network_counts(layer: int) -> None:
    plain, prepared = both(lambda: transformers(layer))
    waveforms, lengths = 0.1 * torch.randn(1, 4_000), torch.tensor([4_000])
    with torch.inference_mode():
        wanted = plain.network(plain.scaled(waveforms), output_hidden_states=True).hidden_states[layer]
        for one in (plain, prepared):
            torch.testing.assert_close(one(waveforms, lengths)[0], wanted, rtol=1e-4, atol=1e-4)
    assert prepared.config.layer == layer % 4


@pytest.mark.parametrize("layer", [-5, 4])
def test_layers_that_do_not_exist_are_refused(layer: int) -> None:
    with pytest.raises(ValueError, match=rf"layer must be in \[1, 3\], but is {layer} instead"):
        transformers(layer)


@pytest.mark.parametrize("layer", [-1, 0, 3])
def test_layers_of_torchaudio_that_do_not_exist_are_refused(layer: int) -> None:
    with pytest.raises(ValueError, match=rf"layer must be in \[1, 2\], but is {layer} instead"):
        TorchaudioEncoder(TorchaudioEncoderConfig(model=TORCHAUDIO, layer=layer))


@pytest.mark.parametrize("name", PLAIN)
def test_leaves_what_is_built_otherwise_to_the_network(name: str) -> None:
    plain, prepared = both(PLAIN[name])
    waveforms, lengths = audio()
    with torch.inference_mode():
        assert packed_encoder(network(prepared), waveforms.device) is None
        for found, wanted in zip(prepared(waveforms, lengths), plain(waveforms, lengths), strict=True):
            torch.testing.assert_close(found, wanted)


def test_packs_for_inference_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, prepared = both(PACKED["convolutions"])
    cpu, names = torch.device("cpu"), plain.state_dict().keys()
    with torch.no_grad():
        assert packed_encoder(network(plain), cpu) is None  # may be trained yet
        assert packed_encoder(network(prepared), torch.device("meta")) is None
        packed = packed_encoder(network(prepared), cpu)
        assert packed is not None and packed is packed_encoder(network(prepared), cpu)
    assert packed_encoder(network(prepared), cpu) is None  # gradients are asked for
    assert len(prepared.state_dict()) == len(names) - 1  # the weight of the positions is folded, and nothing is added
    monkeypatch.setattr(module, "has_products", lambda dtype: False)
    another = both(PACKED["convolutions"])[1]
    with torch.no_grad():
        assert packed_encoder(network(another), cpu) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_loaded_later_are_packed_anew(dtype: torch.dtype) -> None:
    prepared, other = both(PACKED["convolutions"])[1], hubert().eval()
    prepare(other, "cpu")
    waveforms, lengths = audio()
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        before = prepared(waveforms, lengths)[0]
        prepared.load_state_dict(other.state_dict())
        found, wanted = prepared(waveforms, lengths)[0], other(waveforms, lengths)[0]
    assert torch.equal(found, wanted) and not torch.equal(found, before)


@pytest.mark.parametrize("name", ["convolutions", "wav2vec2 of transformers", "torchaudio"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_type_after_a_call_is_left_to_the_network(name: str, dtype: torch.dtype) -> None:
    plain, prepared = both(PACKED[name])
    waveforms, lengths = 0.1 * torch.randn(1, 4_000), torch.tensor([4_000])
    with torch.inference_mode():
        prepared(waveforms, lengths)
        prepared.to(dtype), plain.to(dtype)
        found, wanted = prepared(waveforms.to(dtype), lengths)[0], plain(waveforms.to(dtype), lengths)[0]
        assert packed_encoder(network(prepared), waveforms.device) is None and found.dtype == dtype
        torch.testing.assert_close(found, wanted, rtol=0.1 if dtype == torch.bfloat16 else 1e-6, atol=0.1)
        prepared.float(), plain.float()  # what bfloat16 rounded stays so
        assert packed_encoder(network(prepared), waveforms.device) is not None
        found, wanted = prepared(waveforms, lengths)[0], plain(waveforms, lengths)[0]
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.05)


def test_first_norm_of_silence_and_of_a_constant() -> None:
    plain, prepared = both(PACKED["biases and no edges"])
    with torch.inference_mode():
        for value in (0.0, 0.5):
            waveforms, lengths = torch.full((1, 4_000), value), torch.tensor([4_000])
            torch.testing.assert_close(
                prepared(waveforms, lengths), plain(waveforms, lengths), rtol=1e-3, atol=1e-3
            )  # the network's own norm of a constant rounds
