"""The published style encoder (`config.json`, `pytorch_model.bin`): wav2vec 2.0, a projection, a classifier.

It is a `Wav2Vec2ForSequenceClassification` of `transformers`. Here it is split in two: features averaged over seconds,
and a linear quantizer.
"""

from pathlib import Path

from transformers import Wav2Vec2Config

from spiritlm_pl.interop.release.files import Weights, fill, part, read_json, read_pickle, weight_norm_names
from spiritlm_pl.tokenizers.encoders import TransformersEncoder, TransformersEncoderConfig
from spiritlm_pl.tokenizers.mlp_quantizer import LinearQuantizer, LinearQuantizerConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.tokenizers.style import StyleEncoder

CONFIG, WEIGHTS = "config.json", "pytorch_model.bin"
ENCODER = "wav2vec2."


def read_style(folder: str | Path) -> PhoneticTokenizer:
    """Read the style tokenizer, which gives one code per second.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the folder holds something else.
    """
    folder = Path(folder)
    described = read_json(folder / CONFIG)
    if described.get("model_type") != "wav2vec2":
        raise ValueError(f"model_type of {folder} must be wav2vec2, but is {described.get('model_type')!r} instead")
    config = Wav2Vec2Config(**{**described, "apply_spec_augment": False})
    settings = {**config.to_diff_dict(), "model_type": config.model_type}
    path = folder / WEIGHTS
    weights: Weights = read_pickle(path)
    projection, classifier = (part(weights, f"{name}.weight", path) for name in ("projector", "classifier"))
    encoder = TransformersEncoder(TransformersEncoderConfig(model=settings))
    own = encoder.network.state_dict()
    network = {name: value for name, value in own.items() if name == "masked_spec_embed"}  # unused without masks
    network |= {
        weight_norm_names(name.removeprefix(ENCODER)): value
        for name, value in weights.items()
        if name.startswith(ENCODER)
    }
    fill(encoder.network, network, path)
    features = StyleEncoder.on(encoder, projection_dim=len(projection), normalize=False)
    quantizer = LinearQuantizer(LinearQuantizerConfig(num_units=len(classifier), feature_dim=classifier.shape[1]))
    for layer, name in ((features.projection, "projector"), (quantizer.layer, "classifier")):
        fill(layer, {end: weights[f"{name}.{end}"] for end in ("weight", "bias")}, path)
    return PhoneticTokenizer(features, quantizer).eval()
