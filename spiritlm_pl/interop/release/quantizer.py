"""The published unit quantizer (`L11_quantizer_500.pt`): three linear layers, trained by CTC (Gat et al., 2023)."""

from pathlib import Path

from spiritlm_pl.interop.release.files import Weights, fill, part, read_pickle
from spiritlm_pl.tokenizers.mlp_quantizer import MLPQuantizer, MLPQuantizerConfig

LINEAR = (0, 2, 4)  # places of the linear layers, the same as in `MLPQuantizer`


def read_quantizer(path: str | Path) -> MLPQuantizer:
    """Read the quantizer, with sizes from its weights.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if the file holds something else.
    """
    weights: Weights = part(read_pickle(path), "model_weight", path)
    shapes = [part(weights, f"{place}.weight", path).shape for place in LINEAR]
    (first, feature_dim), (second, _), (classes, _) = shapes
    quantizer = MLPQuantizer(
        MLPQuantizerConfig(num_units=classes - 1, feature_dim=feature_dim, hidden=(first, second), wrap=True)
    )
    fill(quantizer.layers, weights, path)
    return quantizer.eval()
