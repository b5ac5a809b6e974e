"""The published language models: Llama of `transformers`, and a SentencePiece model with the speech tokens in it."""

from pathlib import Path

import sentencepiece
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from spiritlm_pl.interop.release.files import Weights, read_json, read_pickle
from spiritlm_pl.lm.folder import LoadedLM, load_causal_lm
from spiritlm_pl.text_tokenizers.backends import MODEL_FILE
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

CONFIG = "config.json"
WEIGHTS = "pytorch_model.bin"
BUFFERS = "rotary_emb.inv_freq"  # old files hold what is computed anyway


def read_vocabulary(folder: str | Path) -> Vocabulary:
    """Layout of the token ids, read off the pieces of the SentencePiece model.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if its pieces after the text are not [Text], [Speech], units, pitch and style codes.
    """
    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(f"language model must hold {MODEL_FILE}, but {path} does not exist")
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
    """Model in evaluation mode, text tokenizer and vocabulary.

    Args:
        folder: one of the release's `spirit-lm-...-7b`.
        device: where the model goes.
        dtype: of the parameters; as stored by default.
        bits: see `load_causal_lm`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or they do not fit together.
    """
    folder = Path(folder)
    read_json(folder / CONFIG)
    converted = any(folder.glob("*.safetensors"))
    vocabulary = read_vocabulary(folder) if converted else read_lm_parts(folder)[0]  # which tells what is damaged
    network = load_causal_lm(folder, vocabulary, device, dtype, bits)
    return network, TextTokenizer.load(folder), vocabulary


def read_lm_parts(source: Path) -> tuple[Vocabulary, PreTrainedModel, Weights]:
    """Vocabulary, network on the meta device, and its weights, mapped from the disk.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or the model does not fit its tokenizer.
    """
    vocabulary = read_vocabulary(source)
    read_json(source / CONFIG)  # says more clearly what is wrong
    config = AutoConfig.from_pretrained(source)
    weights: Weights = {name: value for name, value in read_pickle(source / WEIGHTS).items() if BUFFERS not in name}
    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    check_weights(weights, dict(network.named_parameters()), source / WEIGHTS)
    if config.vocab_size != vocabulary.num_rows:
        raise ValueError(f"vocab_size of {source} must be {vocabulary.num_rows}, but is {config.vocab_size} instead")
    network.config.dtype = next(iter(weights.values())).dtype
    return vocabulary, network, weights


def check_weights(weights: Weights, own: dict[str, torch.nn.Parameter], path: Path) -> None:
    """Compare names and shapes with those of a network.

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
