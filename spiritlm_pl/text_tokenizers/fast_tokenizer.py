"""Text and speech tokens of a language model as one tokenizer of `transformers` that needs no code of this package.

There are three kinds of text tokenizers. A tokenizer of `transformers` stays as it is, with the speech tokens after its
own. A SentencePiece model encodes word by word. The SentencePiece models of the published checkpoints encode a string
together with its speech tokens. After a modality token, the first two give the same ids as for a text on its own: if
they put no space before a text, the string must hold it (`[Speech][Hu3][Text] the mat`).
"""

import json
import re
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

from spiritlm_pl.text_tokenizers.backends import SPACE, HuggingFace, Published, SentencePiece
from spiritlm_pl.text_tokenizers.model_proto import WRITTEN, ModelProto, Piece
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

WHITESPACE = Regex(r"[\s\x1c-\x1f]+")  # white space as str.split defines it
NEVER = -1e6  # score that keeps a control piece out of every text


def fast_tokenizer(text: TextTokenizer, vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """Make one tokenizer for the text and the speech tokens of a model; `check.check_ids` tries it.

    Args:
        text: text tokenizer of the model.
        vocabulary: vocabulary of the model, which lays out the ids.

    Raises:
        ValueError: if the text tokenizer does not fit the vocabulary, or cannot be written in this form.
    """
    names = vocabulary.names()
    speech = list(names.values())
    openers = [names[token] for token, modality in vocabulary.opened_by().items() if modality is Modality.TEXT]
    backend = text.backend
    if isinstance(backend, HuggingFace):
        tokenizer = _of_transformers(backend, speech, openers)
    else:
        assert isinstance(backend, SentencePiece)
        proto = ModelProto.FromString(backend.model)
        whole = isinstance(backend, Published)
        tokenizer = _of_whole_strings(proto) if whole else _of_words(proto, backend.prefixes, speech, openers)
    if vocabulary.begin_of_document is not None:
        _open_with(tokenizer, vocabulary.begin_of_document)
    _check_ids(tokenizer, names)
    return tokenizer


def _of_words(proto: Any, prefixes: bool, speech: list[str], openers: list[str]) -> PreTrainedTokenizerFast:
    """Convert a SentencePiece model that encodes words with their space; a change of modality is a word boundary.

    Args:
        proto: SentencePiece model.
        prefixes: whether every text has a space before it.
        speech: names of the speech and modality tokens in the order of their ids.
        openers: names of the tokens after which text stands.
    """
    unigram = proto.trainer_spec.model_type == proto.trainer_spec.UNIGRAM
    tokenizer = _unigram(proto) if unigram else _bpe(proto, ignore_merges=bool(user_defined(proto)))
    charsmap = proto.normalizer_spec.precompiled_charsmap
    mapped = [_spaces(), normalizers.Precompiled(charsmap)] if charsmap else []
    first = [normalizers.Strip(), normalizers.Prepend(" ")] if prefixes else [normalizers.Strip(left=False)]
    tokenizer.normalizer = normalizers.Sequence([*mapped, _spaces(), *first])
    spaces = pre_tokenizers.Metaspace(SPACE, prepend_scheme="never", split=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_word_boundaries(), spaces, *_symbol_boundaries(proto, unigram)])
    shown = [_without_first_space(openers)] if prefixes else []
    tokenizer.decoder = decoders.Sequence([*_piece_decoders(), *shown])
    tokenizer.add_special_tokens(_special(speech))
    return _wrapped(tokenizer, proto)


def _of_whole_strings(proto: Any) -> PreTrainedTokenizerFast:
    """Convert a published SentencePiece model.

    A string gets one space before it. Speech tokens are pieces like those of text, and cut the string before any merge.
    """
    if proto.normalizer_spec.precompiled_charsmap or proto.normalizer_spec.remove_extra_whitespaces:
        raise ValueError("SentencePiece model of whole strings must not normalise, but does")
    tokenizer = _bpe(proto, ignore_merges=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.pre_tokenizer = _around(user_defined(proto))
    bos = proto.pieces[proto.trainer_spec.bos_id].piece
    first_space = decoders.Replace(Regex(f"(?:^|(?<=^{re.escape(bos)})) "), "")
    tokenizer.decoder = decoders.Sequence([*_piece_decoders(), first_space])
    special = [(bos, proto.trainer_spec.bos_id)]
    tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos} $B", special)
    return _wrapped(tokenizer, proto)


def _of_transformers(backend: HuggingFace, speech: list[str], openers: list[str]) -> PreTrainedTokenizerFast:
    """Extend the base model's tokenizer by the speech tokens after its own; `_of_words` describes the arguments."""
    base = backend.tokenizer
    values = json.loads(base.backend_tokenizer.to_str())
    values["post_processor"] = None  # no opening is added, since a prompt begins with its modality token
    if backend.prefixes:  # the space must stand before every text, not only the first
        values["pre_tokenizer"] = _always_prefixing(values["pre_tokenizer"])
    _fill_holes(values, backend.vocab_size)
    values["added_tokens"] = [token for token in values["added_tokens"] if token["id"] < backend.vocab_size]
    tokenizer: Tokenizer = Tokenizer.from_str(json.dumps(values))
    if backend.prefixes:
        joining = [tokenizer.decoder] if tokenizer.decoder else []
        tokenizer.decoder = decoders.Sequence([*joining, decoders.Fuse(), _without_first_space(openers)])
    tokenizer.add_special_tokens(_special(speech))
    end = None if backend.eos_id is None else base.convert_ids_to_tokens(backend.eos_id)  # the end token of the model
    return _with_special(tokenizer, base.bos_token, end, base.unk_token, base.pad_token)


def _always_prefixing(values: Any) -> Any:
    """Make a pre-tokenizer put a space before every text, if it puts one only at the start of a string."""
    if isinstance(values, list):
        return [_always_prefixing(value) for value in values]
    if isinstance(values, dict):
        changed = {name: _always_prefixing(value) for name, value in values.items()}
        return {**changed, "prepend_scheme": "always"} if changed.get("prepend_scheme") == "first" else changed
    return values


def _fill_holes(values: dict[str, Any], size: int) -> None:
    """Give each unused id below the size a token, in place; else added tokens would take the ids of these gaps."""
    vocabulary = values["model"]["vocab"]
    taken = {token["id"] for token in values["added_tokens"]}
    if isinstance(vocabulary, dict):
        taken |= set(vocabulary.values())
        vocabulary |= {f"<|no token {token}|>": token for token in range(size) if token not in taken}


def _bpe(proto: Any, ignore_merges: bool = False) -> Tokenizer:
    """Convert SentencePiece's BPE: of adjacent pieces that form a piece, those that form the best one merge first."""
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


def _unigram(proto: Any) -> Tokenizer:
    """Convert SentencePiece's unigram model: pieces with the highest sum of scores, but never control pieces."""
    pieces = [(piece.piece, piece.score if piece.type in WRITTEN else NEVER) for piece in proto.pieces]
    return Tokenizer(Unigram(pieces, proto.trainer_spec.unk_id, proto.trainer_spec.byte_fallback))


def _special(names: list[str]) -> list[AddedToken]:
    return [AddedToken(name, special=True, normalized=False) for name in names]


def _spaces() -> normalizers.Normalizer:
    return normalizers.Replace(WHITESPACE, " ")


def _word_boundaries() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(" ", "merged_with_next")


def _symbol_boundaries(proto: Any, unigram: bool) -> list[pre_tokenizers.PreTokenizer]:
    """Make cuts that keep a SentencePiece model's user-defined symbols whole and break up names of control pieces."""
    symbols, controls = user_defined(proto), _controls(proto)
    around = [_around(symbols)] if symbols else []
    if unigram:  # a control whose characters are all pieces is kept out by its score
        signs = {piece.piece for piece in proto.pieces if piece.type in WRITTEN}
        controls = [control for control in controls if not signs.issuperset(control)]
    elif not symbols:  # no merge results in a control
        return []
    return [*around, _within(controls, alone=not unigram)] if controls else around


def _around(symbols: tuple[str, ...]) -> pre_tokenizers.PreTokenizer:
    """Cut a string around symbols, preferring the longest."""
    longest_first = sorted(symbols, key=len, reverse=True)
    return pre_tokenizers.Split(Regex("|".join(map(re.escape, longest_first))), "isolated")


def _controls(proto: Any) -> list[str]:
    """Return the pieces that no text is cut into, such as `</s>` and `<0x0A>`, even if it contains their names."""
    return [piece.piece for piece in proto.pieces if piece.type not in WRITTEN and len(piece.piece) > 1]


def _within(strings: list[str], alone: bool) -> pre_tokenizers.PreTokenizer:
    """Cut strings after their first character, so that none is taken for a piece.

    Args:
        strings: names of pieces to cut.
        alone: whether to cut only strings that stand alone, instead of all.
    """
    start, end = (r"\A", r"\z") if alone else ("", "")
    found = "|".join(f"{re.escape(string[0])}(?={re.escape(string[1:])}{end})" for string in strings)
    return pre_tokenizers.Split(Regex(f"{start}(?:{found})"), "isolated")


def _piece_decoders() -> list[decoders.Decoder]:
    return [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]


def _without_first_space(openers: list[str]) -> decoders.Decoder:
    """Make a decoder that drops the space before the first word of each stretch of text."""
    markers = "|".join(map(re.escape, openers))
    return decoders.Replace(Regex(f"(?:^|(?<={markers})) "), "")


def _wrapped(tokenizer: Tokenizer, proto: Any) -> PreTrainedTokenizerFast:
    controls = [piece.piece for piece in proto.pieces if piece.type in (Piece.CONTROL, Piece.UNKNOWN)]
    tokenizer.add_special_tokens(_special(controls))
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
        pad_token=pad or unk or eos,  # the unknown token is free for padding, since byte fallback encodes any text
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _open_with(tokenizer: PreTrainedTokenizerFast, token: int) -> None:
    """Put a token before every string, as it stood before every document in training."""
    name = tokenizer.convert_ids_to_tokens(token)
    template = processors.TemplateProcessing([name, "$A"], [name, "$A", name, "$B"], [(name, token)])
    tokenizer.backend_tokenizer.post_processor = template


def _check_ids(tokenizer: PreTrainedTokenizerFast, names: dict[int, str]) -> None:
    """Refuse a tokenizer whose speech and modality tokens have other ids than the vocabulary's."""
    ids = [tokenizer.convert_tokens_to_ids(name) for name in names.values()]
    if ids != list(names) or len(tokenizer) != max(names) + 1:
        raise ValueError(
            f"speech tokens must follow the text in their order up to {max(names) + 1} tokens, "
            f"but have the ids {ids[:3]} ... of {len(tokenizer)} instead"
        )


def user_defined(proto: Any) -> tuple[str, ...]:
    """Return the symbols that a SentencePiece model keeps as whole pieces, cutting a string around them first."""
    return tuple(piece.piece for piece in proto.pieces if piece.type == Piece.USER_DEFINED)
