"""The published language models: Llama of `transformers`, and a SentencePiece model with the speech tokens in it."""

from pathlib import Path

import sentencepiece
import torch

from spiritlm_pl.lm.folder import LoadedLM, load_causal_lm
from spiritlm_pl.text import MODEL_FILE, TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

CONFIG = "config.json"


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
    vocabulary = Vocabulary(
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
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"language model must hold {CONFIG}, but {folder / CONFIG} does not exist")
    vocabulary = read_vocabulary(folder)
    network = load_causal_lm(folder, vocabulary, device, dtype, bits)
    return network, TextTokenizer.load(folder), vocabulary
