"""Start of a vocoder from another one, with other voices, or with pitch and style beside the units.

Weights that both have are copied, those of voices by their names. A new voice begins as the mean of the old ones. A new
stream begins with weights of 0 in the generator's first layer, so that the new vocoder first speaks like the old one.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from spiritlm_pl.runtime.checkpoint import is_own_class, load_network, read_config
from spiritlm_pl.runtime.model_description import SPEECH_TOKENIZER
from spiritlm_pl.tokenizers.expressive import speech_fingerprint
from spiritlm_pl.tokenizers.phonetic import tokenizer_fingerprint
from spiritlm_pl.vocoder.config import VocoderConfig
from spiritlm_pl.vocoder.vocoder import Vocoder, place_of

TOKENIZER_SHA256 = "tokenizer_sha256"  # key in the description of an exported vocoder
SPEAKERS, STYLES = "speaker_embedding.weight", "style_embedding.weight"


def with_voices(folder: str | Path, speakers: Sequence[str], like: str | None = None) -> Vocoder:
    """Load an exported vocoder with other voices in place of its own.

    Of its global styles, which describe its own recordings, only the default one stays.

    Args:
        folder: folder of the exported vocoder.
        speakers: names of the voices; those that the exported vocoder has keep their weights.
        like: voice of the exported vocoder as which new ones begin; None for its default voice.
    """
    old = exported(folder)
    like = old.config.speakers[old.config.default_speaker] if like is None else like
    styles = old.config.styles[old.config.default_global_style :][:1]
    config = replace(old.config, speakers=tuple(speakers), default_speaker=0, styles=styles, default_global_style=0)
    network = type(old)(config)
    copy_weights(network, old, folder, like)
    return network.eval()


def exported(folder: str | Path) -> Vocoder:
    """Load an exported vocoder.

    Raises:
        ValueError: if the folder holds something else, also another kind of vocoder, which cannot be trained.
    """
    found = load_network(folder, "vocoder")
    if not isinstance(found, Vocoder):
        raise ValueError(f"initial must be a unit vocoder, but {folder} holds a {type(found).__name__} instead")
    return found


def other_tokenizer(folder: str | Path, units_of: str | None) -> str | None:
    """Return why units may not be those of an exported vocoder; None if they are, or nothing is known.

    A vocoder records the tokenizer of its units; for older and imported ones, the tokenizer beside them in a model
    folder is taken.

    Args:
        folder: folder of the exported vocoder.
        units_of: fingerprint of the tokenizer that made the units; None where it is not recorded.
    """
    beside = Path(folder).resolve().parent / SPEECH_TOKENIZER
    known = {read_config(folder, "vocoder").get(TOKENIZER_SHA256)} - {None}
    if not known and beside.is_dir():
        with suppress(OSError, ValueError):  # the folder holds something else
            known = {speech_fingerprint(beside)} | (set() if is_own_class(beside) else {tokenizer_fingerprint(beside)})
    if units_of is None or not known or units_of in known:
        return None
    return (
        f"units must be of the tokenizer that the vocoder {folder} was trained with, but come from one with other "
        "weights: the same unit may be another sound"
    )


def start_from(network: Vocoder, folder: str | Path, like: str | None = None) -> None:
    """Copy the weights of an exported vocoder.

    Args:
        network: vocoder whose weights are set.
        folder: folder of the exported vocoder.
        like: voice of the exported vocoder as which new ones begin; None for the mean of all.

    Raises:
        ValueError: if the exported vocoder has another generator, other sizes or other units.
    """
    copy_weights(network, exported(folder), folder, like)


@torch.no_grad()
def copy_weights(network: Vocoder, earlier: Vocoder, folder: str | Path, like: str | None = None) -> None:
    """Copy the weights of a vocoder to one with other voices, other styles or further streams.

    Args:
        network: vocoder whose weights are set.
        earlier: vocoder that gives them.
        folder: folder that it was loaded from, for messages.
        like: voice of the earlier vocoder as which new ones begin; None for the mean of all.

    Raises:
        ValueError: if the earlier vocoder has another generator, other sizes or other units, or no voice `like`.
    """
    if type(earlier) is not type(network):
        raise ValueError(
            f"initial must be a {type(network).__name__}, but {folder} holds a {type(earlier).__name__} instead"
        )
    new, old = network.config, earlier.config
    for name in ("num_units", "embedding_dim", "sample_rate", "hop_length"):
        if getattr(new, name) != getattr(old, name):
            raise ValueError(
                f"{name} of initial must be {getattr(new, name)}, but of {folder} is {getattr(old, name)} instead"
            )
    for name in ("num_pitches", "num_styles"):
        if getattr(old, name) not in (0, getattr(new, name)):
            raise ValueError(
                f"{name} of initial must be 0 or {getattr(new, name)}, but of {folder} is {getattr(old, name)} instead"
            )
    given = earlier.state_dict()
    new_voice = None if like is None else given[SPEAKERS][place_of("initial_speaker", like, old.speakers)]
    for name, weight in network.state_dict().items():  # tensors that share memory with the network
        if name == SPEAKERS:
            weight.copy_(named_rows(given[name], old.speakers, new.speakers, new_voice))
        elif name == STYLES and name in given:
            weight.copy_(named_rows(given[name], old.styles, new.styles))
        elif name in given and given[name].shape == weight.shape:
            weight.copy_(given[name])
        elif name in given and weight.ndim == 3 and weight.shape[1] == new.conditioning_dim:
            weight.copy_(input_channels(given[name], old, new))
        elif name in given and not name.endswith("_embedding.weight"):
            shapes = f"{tuple(weight.shape)}, but of {folder} is {tuple(given[name].shape)}"
            raise ValueError(f"shape of {name} of initial must be {shapes} instead")


def named_rows(rows: Tensor, known: tuple[str, ...], wanted: tuple[str, ...], new: Tensor | None = None) -> Tensor:
    """Return embeddings of the wanted voices or global styles, found by name.

    Args:
        rows: embeddings of the known names.
        known: names of the rows.
        wanted: names whose embeddings are returned.
        new: embedding for a name that is not known; None for the mean of all.
    """
    new = rows.mean(0) if new is None else new
    return torch.stack([rows[known.index(name)] if name in known else new for name in wanted])


def input_channels(weight: Tensor, old: VocoderConfig, new: VocoderConfig) -> Tensor:
    """Arrange weights (O, C, K) of the generator's first layer by streams; those of new streams are 0."""
    blocks = dict(zip(old.streams, weight.split(old.embedding_dim, dim=1), strict=True))
    silent = torch.zeros_like(blocks["units"])
    return torch.cat([blocks.get(stream, silent) for stream in new.streams], dim=1)
