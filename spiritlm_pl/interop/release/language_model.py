"""The published language models: a Llama of `transformers`, with a SentencePiece model that has the speech tokens."""

from pathlib import Path

import sentencepiece
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from spiritlm_pl.interop.release.files import Weights, read_json, read_pickle
from spiritlm_pl.lm.folder import LoadedLM, load_causal_lm
from spiritlm_pl.runtime.foreign_models import WRONG_VALUES
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.text_tokenizers.backends import MODEL_FILE
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

CONFIG = "config.json"
WEIGHTS = "pytorch_model.bin"
BUFFERS = "rotary_emb.inv_freq"  # computed anyway, but old files hold it


def read_vocabulary(folder: str | Path) -> Vocabulary:
    """Read the layout of the token ids from the pieces of the SentencePiece model.

    Raises:
        FileNotFoundError: if the folder has no SentencePiece model.
        ValueError: if the pieces after the text are not [Text], [Speech], units, pitch and style codes, in this order.
    """
    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(f"language model must hold {MODEL_FILE}, but {found_at(path)}")
    text = TextTokenizer.load(path)
    if not text.opening:
        raise ValueError(f"{path} must hold [Text], [Speech] and the speech tokens as pieces, but holds text alone")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    names = [processor.id_to_piece(token) for token in range(text.vocab_size, processor.vocab_size())]
    counts = {kind: sum(name.startswith(f"[{kind}") for name in names[2:]) for kind in ("Hu", "Pi", "St")}
    vocabulary = Vocabulary.spirit_lm(
        num_text=text.vocab_size, num_units=counts["Hu"], num_pitches=counts["Pi"], num_styles=counts["St"]
    )
    for token, found in enumerate(names, start=text.vocab_size):
        wanted = vocabulary.name(token)
        if found != wanted:
            raise ValueError(f"piece {token} of {path} must be {wanted}, but is {found} instead")
    return vocabulary


def read_lm(
    folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, bits: int | None = None
) -> LoadedLM:
    """Load the model in evaluation mode, the text tokenizer and the vocabulary.

    Args:
        folder: folder of the release, `spirit-lm-...-7b`.
        device: device on which the model is placed.
        dtype: type of the parameters; None keeps that of the files.
        bits: 8 or 4 to quantize the weights, see `load_causal_lm`; None to leave them whole.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the files do not fit together.
    """
    folder = Path(folder)
    read_json(folder / CONFIG)
    converted = any(folder.glob("*.safetensors"))
    vocabulary = read_vocabulary(folder) if converted else read_lm_parts(folder)[0]  # which reports damage
    network = load_causal_lm(folder, vocabulary, device, dtype, bits)
    return network, TextTokenizer.load(folder), vocabulary


def read_lm_parts(source: Path) -> tuple[Vocabulary, PreTrainedModel, Weights]:
    """Read the vocabulary, the network on the meta device, and its weights, mapped from the disk.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the model does not fit its tokenizer.
    """
    vocabulary = read_vocabulary(source)
    read_json(source / CONFIG)  # reports faults more clearly than transformers
    try:
        config = AutoConfig.from_pretrained(source)
    except WRONG_VALUES as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{source / CONFIG} must be a model's configuration, but is not: {told}") from error
    weights: Weights = {name: value for name, value in read_pickle(source / WEIGHTS).items() if BUFFERS not in name}
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    check_weights(weights, dict(network.named_parameters()), source / WEIGHTS)
    if config.vocab_size != vocabulary.num_rows:
        raise ValueError(f"vocab_size of {source} must be {vocabulary.num_rows}, but is {config.vocab_size} instead")
    network.config.dtype = next(iter(weights.values())).dtype
    return vocabulary, network, weights


def check_weights(weights: Weights, own: dict[str, torch.nn.Parameter], path: Path) -> None:
    """Compare names and shapes of weights with those of a network.

    Args:
        weights: weights of a file.
        own: parameters of the network, by name.
        path: path of the file, for messages.

    Raises:
        ValueError: if they differ.
    """
    for name, value in own.items():
        if name not in weights:
            raise ValueError(f"{path} must hold all weights of the model, but lacks {name}")
        if weights[name].shape != value.shape:
            raise ValueError(
                f"{name} of {path} must have shape {tuple(value.shape)}, but has {tuple(weights[name].shape)} instead"
            )
    strange = set(weights) - set(own)
    if strange:
        raise ValueError(f"{path} must hold the weights of the model alone, but holds {min(strange)}")
