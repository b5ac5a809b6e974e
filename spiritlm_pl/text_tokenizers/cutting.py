r"""Tokenizers whose ids of a text are those of its parts, where it is cut before single spaces and after line breaks.

A cut stands before one space that has a visible character on both sides, or between a line break and a visible
character other than a slash; where a regular expression cuts texts apart, also before the last of several spaces, and
after letters and around digits. A byte-pair tokenizer gives the parts the ids that they have within the text if nothing
that it does reaches over such a cut:

- its regular expressions match white space only at the start of a match, or after everything else, as those below do;
  or, where it cuts nothing apart, none of its pieces has a space after a visible character, so that no merge can join
  the two sides;
- normalizers change characters one by one, or compose them, which no space takes part in;
- no added token has a space in it, or takes in the spaces around it.

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
        and all(_changes_characters(part) for part in _parts(tokenizer["normalizer"], "normalizers"))
        and _words_are_apart(tokenizer)
    )


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
        return "after" if any(step["type"] == "Split" for step in steps) else "around"
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


def _crosses(content: str, space: str) -> bool:
    """Tell whether a piece has a space after a character that is none."""
    return space in content.lstrip(space)


def _changes_characters(normalizer: dict[str, Any]) -> bool:
    kind = normalizer["type"]
    if kind == "Replace":
        return normalizer["pattern"] == {"String": " "} and normalizer["content"] == SPACE
    return kind == "NFC" or (kind == "Prepend" and normalizer["prepend"] == SPACE)


def _words_are_apart(tokenizer: dict[str, Any]) -> bool:
    """Tell whether all that cuts a text apart cuts it before spaces, or no piece reaches over them."""
    steps = _parts(tokenizer["pre_tokenizer"], "pretokenizers")
    kinds = [step["type"] for step in steps]
    if "ByteLevel" in kinds:
        allowed = all(_cuts_before_spaces(step) for step in steps)
        return allowed and any(step["type"] == "Split" or step.get("use_regex") for step in steps)
    marked = any(part["type"] == "Replace" for part in _parts(tokenizer["normalizer"], "normalizers"))
    if kinds == ["Split"]:  # at spaces, of which the normalizer has left none
        kinds = [] if marked and steps[0]["pattern"] == {"String": " "} else kinds
    if kinds == ["Metaspace"]:
        marked = steps[0]["replacement"] == SPACE
    elif kinds:
        return False
    vocabulary = tokenizer["model"]["vocab"]
    return marked and SPACE in vocabulary and not any(_crosses(piece, SPACE) for piece in vocabulary)


def _cuts_before_spaces(step: dict[str, Any]) -> bool:
    """Tell whether a step before byte-pair encoding always cuts before such a space, whatever stands around it."""
    if step["type"] == "Split":
        known = step["pattern"].get("Regex") in EXPRESSIONS
        return known and step["behavior"] == "Isolated" and not step["invert"]
    if step["type"] == "ByteLevel":
        return not step["add_prefix_space"]
    return step["type"] == "Digits"


def _parts(step: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """Return the steps of a sequence, or the one step, or none."""
    if step is None:
        return []
    if step["type"] == "Sequence":
        return [part for inner in step[name] for part in _parts(inner, name)]
    return [step]
