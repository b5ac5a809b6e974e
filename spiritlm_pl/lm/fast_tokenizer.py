"""The tokens of a language model, text and speech, as one tokenizer of `transformers` that needs no code of ours.

Two formats of text: "words", ours, where every word is encoded with the space before it; and "whole", that of the
published checkpoints, where SentencePiece encodes a string with its speech tokens and all.
"""

import re
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from spiritlm_pl.text import MODEL_FILE, SPACE, TextTokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

WHITESPACE = Regex(r"[\s\x1c-\x1f]+")  # as str.split has it
PROBES = ("the cat", " Two  words,\tone\nline: 3.14! ", "naïve Ωμέγα 你好 😀 (a_b) don't", "½ x\u00a0y", "=====", "")
ModelProto: Any = sentencepiece_model_pb2.__dict__["ModelProto"]  # made on import, unseen by type checkers
Piece = ModelProto.SentencePiece


def fast_tokenizer(folder: str | Path, vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """One tokenizer for the text and the speech tokens of a model folder.

    Args:
        folder: with a SentencePiece model or a `transformers` tokenizer.
        vocabulary: layout of the ids.

    Raises:
        ValueError: if the text tokenizer does not fit the vocabulary, or cannot be written in this form.
    """
    text = TextTokenizer.load(folder)
    if text.vocab_size != vocabulary.num_text:
        raise ValueError(
            f"text tokenizer must have the vocabulary's {vocabulary.num_text} pieces, but has {text.vocab_size} instead"
        )
    model = Path(folder) / MODEL_FILE
    if text.opening:
        tokenizer = _of_whole_strings(_sentencepiece(model))
    elif model.is_file():
        tokenizer = _of_words(_sentencepiece(model), vocabulary)
    else:
        tokenizer = _of_transformers(folder, text, vocabulary)
    if vocabulary.begin_of_document is not None:
        _open_with(tokenizer, vocabulary.begin_of_document)
    _check_ids(tokenizer, text, vocabulary)
    return tokenizer


def _of_words(proto: Any, vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """Every word is encoded with its space; a change of modality is a word boundary."""
    tokenizer = _bpe(proto)
    charsmap = proto.normalizer_spec.precompiled_charsmap
    mapped = [_spaces(), normalizers.Precompiled(charsmap)] if charsmap else []
    tokenizer.normalizer = normalizers.Sequence([*mapped, _spaces(), normalizers.Strip(), normalizers.Prepend(" ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [_word_boundaries(), pre_tokenizers.Metaspace(SPACE, prepend_scheme="never", split=False)]
    )
    tokenizer.decoder = decoders.Sequence([*_piece_decoders(), _without_first_space(vocabulary)])
    tokenizer.add_special_tokens(_speech_tokens(vocabulary))
    return _wrapped(tokenizer, proto)


def _of_whole_strings(proto: Any) -> PreTrainedTokenizerFast:
    """A string gets one space before it; speech tokens are pieces like those of text, and cut it before all merging."""
    if proto.normalizer_spec.precompiled_charsmap or proto.normalizer_spec.remove_extra_whitespaces:
        raise ValueError("SentencePiece model of whole strings must not normalise, but does")
    symbols = sorted((piece.piece for piece in proto.pieces if piece.type == Piece.USER_DEFINED), key=len, reverse=True)
    tokenizer = _bpe(proto, ignore_merges=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(map(re.escape, symbols))), "isolated")
    bos = proto.pieces[proto.trainer_spec.bos_id].piece
    first_space = decoders.Replace(Regex(f"(?:^|(?<=^{re.escape(bos)})) "), "")
    tokenizer.decoder = decoders.Sequence([*_piece_decoders(), first_space])
    special = [(bos, proto.trainer_spec.bos_id)]
    tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos} $B", special)
    return _wrapped(tokenizer, proto)


def _of_transformers(folder: str | Path, text: TextTokenizer, vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """A tokenizer of `transformers` that encodes word by word, with the speech tokens after its own."""
    base = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not base.is_fast:
        raise ValueError(f"text tokenizer must be one of the tokenizers library, but is {type(base).__name__} instead")
    tokenizer: Tokenizer = base.backend_tokenizer
    with_space = base.encode(" cat", add_special_tokens=False) == text.encode_word("cat")
    before = [normalizers.Prepend(" ")] if with_space else []  # others add the space themselves
    own = [tokenizer.normalizer] if tokenizer.normalizer else []
    tokenizer.normalizer = normalizers.Sequence([_spaces(), normalizers.Strip(), *before, *own])
    cutting = [tokenizer.pre_tokenizer] if tokenizer.pre_tokenizer else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_word_boundaries(), *cutting])
    joining = [tokenizer.decoder] if tokenizer.decoder else []
    tokenizer.decoder = decoders.Sequence([*joining, decoders.Fuse(), _without_first_space(vocabulary)])
    tokenizer.post_processor = processors.Sequence([])  # a prompt begins with its modality token
    tokenizer.add_special_tokens(_speech_tokens(vocabulary))
    return _with_special(tokenizer, base.bos_token, base.eos_token, base.unk_token, base.pad_token)


def _sentencepiece(model: Path) -> Any:
    proto = ModelProto.FromString(model.read_bytes())
    if proto.trainer_spec.model_type != type(proto.trainer_spec).BPE:
        kind = proto.trainer_spec.ModelType.Name(proto.trainer_spec.model_type)
        raise ValueError(f"{model} must be a BPE model, but is {kind} instead")
    return proto


def _bpe(proto: Any, ignore_merges: bool = False) -> Tokenizer:
    """SentencePiece's BPE: of the neighbours that make a piece, those of the best piece merge first."""
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == Piece.NORMAL}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in sorted(scores, key=lambda piece: -scores[piece])
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    return Tokenizer(
        BPE(
            {piece.piece: token for token, piece in enumerate(proto.pieces)},
            merges,
            unk_token=proto.pieces[proto.trainer_spec.unk_id].piece,
            fuse_unk=True,
            byte_fallback=proto.trainer_spec.byte_fallback,
            ignore_merges=ignore_merges,
        )
    )


def _names(vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.name(token) or "" for token in range(vocabulary.num_text, vocabulary.num_tokens)]


def _speech_tokens(vocabulary: Vocabulary) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in _names(vocabulary)]


def _spaces() -> normalizers.Normalizer:
    return normalizers.Replace(WHITESPACE, " ")


def _word_boundaries() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(" ", "merged_with_next")


def _piece_decoders() -> list[decoders.Decoder]:
    return [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]


def _without_first_space(vocabulary: Vocabulary) -> decoders.Decoder:
    """A piece of text is written without the space before its first word."""
    openers = [token for token, modality in vocabulary.opened_by().items() if modality is Modality.TEXT]
    markers = "|".join(re.escape(vocabulary.name(token) or "") for token in openers)
    return decoders.Replace(Regex(f"(?:^|(?<={markers})) "), "")


def _wrapped(tokenizer: Tokenizer, proto: Any) -> PreTrainedTokenizerFast:
    controls = [piece.piece for piece in proto.pieces if piece.type in (Piece.CONTROL, Piece.UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in controls])
    ids = (proto.trainer_spec.bos_id, proto.trainer_spec.eos_id, proto.trainer_spec.unk_id)
    return _with_special(tokenizer, *(proto.pieces[token].piece if token >= 0 else None for token in ids))


def _with_special(
    tokenizer: Tokenizer, bos: str | None, eos: str | None, unk: str | None, pad: str | None = None
) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        pad_token=pad or unk or eos,  # text is never unknown where bytes stand in for it
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _open_with(tokenizer: PreTrainedTokenizerFast, token: int) -> None:
    """Put a token before every string, as it stood before every document in training."""
    name = tokenizer.convert_ids_to_tokens(token)
    template = processors.TemplateProcessing([name, "$A"], [name, "$A", name, "$B"], [(name, token)])
    tokenizer.backend_tokenizer.post_processor = template


def _check_ids(tokenizer: PreTrainedTokenizerFast, text: TextTokenizer, vocabulary: Vocabulary) -> None:
    """Refuse a tokenizer that gives other ids than our own encoding."""
    ids = [tokenizer.convert_tokens_to_ids(name) for name in _names(vocabulary)]
    if ids != list(range(vocabulary.num_text, vocabulary.num_tokens)) or len(tokenizer) != vocabulary.num_tokens:
        raise ValueError(
            f"speech tokens must follow the text in their order up to {vocabulary.num_tokens} tokens, "
            f"but have the ids {ids[:3]} ... of {len(tokenizer)} instead"
        )
    for probe in PROBES:
        expected = [*text.opening, *vocabulary.opening, vocabulary.text_marker, *text.encode(probe)]
        found = tokenizer.encode(f"[Text]{probe}")
        if found != expected:
            raise ValueError(f"text tokenizer must give {expected} for {probe!r} when exported, but gives {found}")
