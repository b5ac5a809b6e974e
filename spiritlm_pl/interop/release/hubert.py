"""The published HuBERT (`mhubert_base_25hz.pt`), and HuBERTs in fairseq's own form, as feature extractors.

Both files hold a configuration beside fairseq's weights: under `model_cfg` and `model_weight`, or under `cfg` and
`model`.
"""

import re
from pathlib import Path
from typing import Any

import torch

from spiritlm_pl.interop.release.files import Weights, fill, part, read_pickle, weight_norm_names
from spiritlm_pl.tokenizers.hubert import HubertFeatures, HubertFeaturesConfig

Layers = tuple[tuple[int, int, int], ...]
EXTRACTOR_MODES = {"default": "group_norm", "layer_norm": "layer_norm"}
PRETRAINING = ("mask_emb", "label_embs_concat", "final_proj.")
RENAMED = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"layer_norm\.", "encoder.feature_projection.layer_norm."),
    (r"post_extract_proj\.", "encoder.feature_projection.projection."),
    (r"encoder\.pos_conv\.0\.", "encoder.transformer.pos_conv_embed.conv."),
    (r"encoder\.layer_norm\.", "encoder.transformer.layer_norm."),
    (r"encoder\.layers\.(\d+)\.self_attn\.", r"encoder.transformer.layers.\1.attention."),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.transformer.layers.\1.layer_norm."),
    (r"encoder\.layers\.(\d+)\.fc1\.", r"encoder.transformer.layers.\1.feed_forward.intermediate_dense."),
    (r"encoder\.layers\.(\d+)\.fc2\.", r"encoder.transformer.layers.\1.feed_forward.output_dense."),
    (r"encoder\.layers\.(\d+)\.final_layer_norm\.", r"encoder.transformer.layers.\1.final_layer_norm."),
)
_LAYER = r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)"
_GROUP = re.compile(rf"\[\s*({_LAYER}(?:\s*,\s*{_LAYER})*)\s*,?\s*\]\s*(?:\*\s*(\d+))?")


def conv_layers(text: str) -> Layers:
    """Read channels, kernel and stride of each convolution from a text such as `[(512,10,5)] + [(512,3,2)] * 4`.

    The text is parsed, not evaluated.

    Raises:
        ValueError: if the text has another form.
    """
    layers: list[tuple[int, int, int]] = []
    rest = text.strip()
    while rest:
        group = _GROUP.match(rest)
        if group is None:
            break
        found = [tuple(map(int, layer)) for layer in re.findall(_LAYER, group[1])]
        layers += [(channels, kernel, stride) for channels, kernel, stride in found] * int(group.groups()[-1] or 1)
        rest = rest[group.end() :].lstrip()
        if not rest.startswith("+"):
            break
        rest = rest.removeprefix("+").lstrip() or "+"
    if rest or not layers:
        raise ValueError(
            "conv_feature_layers must be a sum of lists such as [(512,10,5)] + [(512,3,2)] * 4, "
            f"but is {text!r} instead"
        )
    return tuple(layers)


def read_hubert(path: str | Path, layer: int = 11) -> HubertFeatures:
    """Read a HuBERT as an extractor of the features of one layer.

    Args:
        path: path of the published file, or of a file of fairseq.
        layer: number of the layer whose output is the features, counted from 1; the published release uses the 11th.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file holds something else.
    """
    found = read_pickle(path)
    if "model_cfg" in found:
        model, task = found["model_cfg"], part(found, "task_cfg", path)
        weights: Weights = dict(part(found, "model_weight", path))
    else:
        described = part(found, "cfg", path)
        model, task = part(described, "model", path), part(described, "task", path)
        weights = dict(part(found, "model", path))
    if task.get("normalize"):
        raise ValueError(f"normalize of {path} must be false, but is true: such a model is not a base model")
    features = HubertFeatures(_config(model, int(task.get("sample_rate", 16_000)), layer, path))
    fill(features.encoder, _renamed(weights, features.config, path), path)
    return features.eval()


def _config(model: dict[str, Any], sample_rate: int, layer: int, path: str | Path) -> HubertFeaturesConfig:
    layers = conv_layers(part(model, "conv_feature_layers", path))
    widths = {channels for channels, _, _ in layers}
    if len(widths) > 1:
        raise ValueError(f"convolutions must have one number of channels, but have {sorted(widths)} instead")
    mode, activation = model.get("extractor_mode", "default"), model.get("activation_fn", "gelu")
    if mode not in EXTRACTOR_MODES or activation != "gelu":
        raise ValueError(
            f"extractor_mode must be one of {', '.join(EXTRACTOR_MODES)} and activation_fn gelu, "
            f"but they are {mode} and {activation} instead"
        )
    return HubertFeaturesConfig(
        sample_rate=sample_rate,
        kernels=tuple(kernel for _, kernel, _ in layers),
        strides=tuple(stride for _, _, stride in layers),
        channels=widths.pop(),
        extractor_mode=EXTRACTOR_MODES[mode],
        conv_bias=bool(model.get("conv_bias", False)),
        pad_edges=False,
        embed_dim=part(model, "encoder_embed_dim", path),
        num_layers=part(model, "encoder_layers", path),
        num_heads=part(model, "encoder_attention_heads", path),
        feed_forward_dim=part(model, "encoder_ffn_embed_dim", path),
        pos_conv_kernel=model.get("conv_pos", 128),
        pos_conv_groups=model.get("conv_pos_groups", 16),
        layer_norm_first=bool(model.get("layer_norm_first", False)),
        layer=layer,
    )


def _renamed(weights: Weights, config: HubertFeaturesConfig, path: str | Path) -> Weights:
    """Rename weights to those of torchaudio's encoder, without the layers above the features."""
    made: Weights = {}
    for name, value in weights.items():
        if name.startswith(PRETRAINING):
            continue
        new = next((re.sub(f"^{old}", to, name) for old, to in RENAMED if re.match(old, name)), None)
        if new is None:
            raise ValueError(f"{path} must hold the weights of HuBERT alone, but has {name} among them")
        new = weight_norm_names(new)
        above = re.match(r"encoder\.transformer\.layers\.(\d+)\.", new)
        if above is None or int(above[1]) < config.layer:
            made[new] = value
    projection = "encoder.feature_projection.projection"
    if f"{projection}.weight" not in made:  # fairseq has no projection between equal widths
        made[f"{projection}.weight"] = torch.eye(config.embed_dim)
        made[f"{projection}.bias"] = torch.zeros(config.embed_dim)
    return made
