r"""Tokenizers whose ids of a text are those of its parts, where it is cut before single spaces and after line breaks.

A cut stands before one space that has a visible character on both sides, or between a line break and a visible
character; where a regular expression cuts texts apart, also before the last of several spaces that a visible character
follows, and after letters and around digits. A byte-pair tokenizer gives the parts the ids that they have within the
text if nothing that it does reaches over such a cut:

- its regular expression is one of those below, which match white space only at the start of a match, or after
  everything else, and it is the only thing that cuts texts apart, but for a step before it that isolates digits; or,
  where nothing is cut apart, none of its pieces has a space after a visible character, so that no merge can join the
  two sides, and no piece is taken without merges;
- normalizers change characters one by one, or compose them, which no space takes part in;
- no added token has a space after a visible character, takes in the spaces around it, or is sought in normalized text.

What cuts a text apart before its regular expression, as added tokens do, makes the white space before it the end of a
text, which stays together. Therefore no text is cut after a line break, or before the last of several spaces, if such a
thing may follow.

This is decided from the tokenizer's own description. A tokenizer that is not known to be so encodes texts whole.
"""

from typing import Any

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXPRESSIONS = (LLAMA_3, LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}"), TEKKEN)  # of Llama 3, Qwen 2 and 3, Mistral Nemo
SPACE = "\u2581"  # the space of pieces that are not bytes
SPACE_OF_BYTES = "\u0120"
ABSENT = (None, "", 0, 0.0)


def can_be_cut(tokenizer: dict[str, Any]) -> bool:
    """Tell whether the ids of a text are those of its parts.

    Args:
        tokenizer: contents of a `tokenizer.json`.
    """
    return (
        _model_is_plain(tokenizer["model"])
        and all(_is_apart(token) for token in tokenizer["added_tokens"])
        and not (tokenizer["normalizer"] and any(map(_is_sought_in_normalized_text, _added(tokenizer))))
        and all(_changes_characters(part) for part in _parts(tokenizer["normalizer"], "normalizers"))
        and _words_are_apart(tokenizer)
    )


def never_cut_before(tokenizer: dict[str, Any]) -> bytes:
    """Return bytes of visible characters before which no text is cut, but for a single space between.

    Args:
        tokenizer: contents of a `tokenizer.json`, of which `can_be_cut` is true.
    """
    found = b"/"  # which some expressions take to the line breaks before it
    found += b"".join(token["content"].encode()[:1] for token in _added(tokenizer))
    if any(step["type"] == "Digits" for step in _parts(tokenizer["pre_tokenizer"], "pretokenizers")):
        found += b"0123456789" + bytes(range(0x80, 0x100))  # digits of other scripts, too
    return found


def cut_at_line_breaks(tokenizer: dict[str, Any]) -> str:
    """Tell where such a tokenizer allows to cut texts at a line break that a visible character follows.

    Args:
        tokenizer: contents of a `tokenizer.json`, of which `can_be_cut` is true.

    Returns:
        "after" the line break; "around" it, since it is a part by itself; or "none", where it is not known.
    """
    if any(_goes_on(token["content"]) for token in tokenizer["added_tokens"]):
        return "none"
    if is_cut_between_kinds(tokenizer):
        steps = _parts(tokenizer["pre_tokenizer"], "pretokenizers")
        if any(step["type"] == "Split" for step in steps):
            return "after"
        return "none" if any("\n" in token["content"] for token in _added(tokenizer)) else "around"
    model = tokenizer["model"]
    known = "\n" in model["vocab"] or (model.get("byte_fallback") and "<0x0A>" in model["vocab"])
    # Several unknown characters may become one token.
    return "after" if known and not any(map(_goes_on, model["vocab"])) else "none"


def cut_in_spaces(tokenizer: dict[str, Any]) -> bool:
    """Tell whether such a tokenizer allows to cut before the last of several spaces, if a visible character follows.

    Args:
        tokenizer: contents of a `tokenizer.json`, of which `can_be_cut` is true.
    """
    spaces = any(" " in token["content"] for token in tokenizer["added_tokens"])
    return is_cut_between_kinds(tokenizer) and not spaces  # its regular expression leaves the last one to what follows


def is_cut_between_kinds(tokenizer: dict[str, Any]) -> bool:
    """Tell whether such a tokenizer cuts words after letters and around digits itself, by its regular expression.

    Args:
        tokenizer: contents of a `tokenizer.json`, of which `can_be_cut` is true.
    """
    return any(step["type"] == "ByteLevel" for step in _parts(tokenizer["pre_tokenizer"], "pretokenizers"))


def _goes_on(content: str) -> bool:
    """Tell whether a piece has something after a line break."""
    return "\n" in content.rstrip("\n")


def _model_is_plain(model: dict[str, Any]) -> bool:
    """Tell whether a model is byte-pair encoding without marks of words and without chance."""
    unusual = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    return model["type"] == "BPE" and all(model.get(name) in ABSENT for name in unusual)


def _is_apart(token: dict[str, Any]) -> bool:
    """Tell whether an added token has no space after a visible character, and does not ask what stands beside it."""
    beside = token.get("lstrip") or token.get("rstrip") or token.get("single_word")
    return not beside and not _crosses(token["content"], " ")


def _is_sought_in_normalized_text(token: dict[str, Any]) -> bool:
    """Tell whether an added token may stand for other characters of a text than its own, which no space is."""
    return bool(token["normalized"]) and not token["content"].isspace()


def _added(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the added tokens that may occur in a text; names of special ones are text."""
    return [token for token in tokenizer["added_tokens"] if not token["special"]]


def _crosses(content: str, space: str) -> bool:
    """Tell whether a piece has a space after a character that is none."""
    return space in content.lstrip(space)


def _changes_characters(normalizer: dict[str, Any]) -> bool:
    kind = normalizer["type"]
    if kind == "Replace":
        return normalizer["pattern"] == {"String": " "} and normalizer["content"] == SPACE
    return kind == "NFC" or (kind == "Prepend" and normalizer["prepend"] == SPACE)


def _words_are_apart(tokenizer: dict[str, Any]) -> bool:
    """Tell whether what cuts a text apart always cuts it before spaces, or no piece reaches over them."""
    steps = _parts(tokenizer["pre_tokenizer"], "pretokenizers")
    kinds = [step["type"] for step in steps]
    changes = {part["type"] for part in _parts(tokenizer["normalizer"], "normalizers")}
    if "ByteLevel" in kinds:
        if steps[-1].get("add_prefix_space") or changes & {"Replace", "Prepend"}:
            return False
        if kinds == ["Split", "ByteLevel"]:
            return _is_known(steps[0]) and not steps[1]["use_regex"]
        return kinds in (["ByteLevel"], ["Digits", "ByteLevel"]) and steps[-1]["use_regex"]
    marked = "Replace" in changes
    if kinds == ["Metaspace"]:
        marked = steps[0]["replacement"] == SPACE
    elif kinds and not (kinds == ["Split"] and marked and _cuts_nothing(steps[0])):
        return False
    model = tokenizer["model"]
    return (
        marked
        and not model.get("ignore_merges")
        and SPACE in model["vocab"]
        and not any(_crosses(piece, SPACE) for piece in model["vocab"])
    )


def _is_known(split: dict[str, Any]) -> bool:
    """Tell whether a step cuts texts apart by one of the expressions above."""
    return split["pattern"].get("Regex") in EXPRESSIONS and split["behavior"] == "Isolated" and not split["invert"]


def _cuts_nothing(split: dict[str, Any]) -> bool:
    """Tell whether a step cuts at spaces, of which the normalizer has left none."""
    return split["pattern"] == {"String": " "} and not split["invert"]


def _parts(step: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """Return the steps of a sequence, or the one step, or none."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [part for inner in step[name] for part in _parts(inner, name)]
    return [step]
