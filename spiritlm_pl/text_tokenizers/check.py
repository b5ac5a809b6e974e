"""Checks that a text tokenizer keeps its ids through training blocks, training and export, before any of it is done.

An export is opened as its users open it, by `AutoTokenizer` from its files: the class of `transformers` that reads them
depends on the model's type, and some classes ignore parts of a `tokenizer.json`.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from spiritlm_pl.runtime.model_description import CONFIG_FILE, DESCRIPTION_FILE
from spiritlm_pl.text_tokenizers.backends import SPACE, SentencePiece
from spiritlm_pl.text_tokenizers.fast_tokenizer import fast_tokenizer, user_defined
from spiritlm_pl.text_tokenizers.model_proto import ModelProto
from spiritlm_pl.text_tokenizers.tokenizer import PROBES, TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

MOST_ADDED = 32  # number of added tokens that are tried
SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
FRESH = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], local_files_only=True)
strings, names = json.load(sys.stdin)
print(json.dumps([[tokenizer.encode(string) for string in strings], [getattr(tokenizer, name) for name in names]]))
"""


def check_text_tokenizer(
    path: str | Path,
    vocabulary: Vocabulary,
    config: str | None = None,
    fingerprint: str | None = None,
    text: TextTokenizer | None = None,
) -> TextTokenizer:
    """Load a text tokenizer, and try to save and export it as later stages will.

    Args:
        path: path of the tokenizer's file or folder.
        vocabulary: vocabulary of the model and its data.
        config: contents of the model's `config.json`; None for those of the tokenizer's folder, if it has this file.
        fingerprint: fingerprint of the tokenizer that the data was made with; None if it is not known.
        text: the tokenizer of this path if it is loaded already, which takes long; None to load it.

    Raises:
        FileNotFoundError: if there is no tokenizer.
        ValueError: if it is another tokenizer than that of the vocabulary or the data, encodes a text differently than
            its words, or would give other ids once it is saved or exported.
    """
    text = text or TextTokenizer.load(path)
    text.check_fits(path, vocabulary, fingerprint)
    _check_words(text, path)
    own = Path(path) / CONFIG_FILE
    if config is None and own.is_file():
        config = own.read_text(encoding="utf-8")
    with TemporaryDirectory() as temporary:
        kept, export = Path(temporary) / "lm", Path(temporary) / "export"
        text.save(kept)
        (kept / DESCRIPTION_FILE).write_text(
            "{}\n", encoding="utf-8"
        )  # the file marks the folder of a model of this package
        saved = TextTokenizer.load_fitting(kept, vocabulary, text.fingerprint)
        tokenizer = fast_tokenizer(saved, vocabulary)
        check_ids(tokenizer, text, vocabulary)
        tokenizer.save_pretrained(export)
        if config is not None:
            (export / CONFIG_FILE).write_text(config, encoding="utf-8")
        check_export(export, tokenizer, text, vocabulary)
    return text


def check_ids(tokenizer: PreTrainedTokenizerFast, text: TextTokenizer, vocabulary: Vocabulary) -> None:
    """Check that a tokenizer of `fast_tokenizer` gives the same ids as the text tokenizer that it was made from.

    Args:
        tokenizer: tokenizer of text and speech tokens.
        text: text tokenizer of this package that it was made from.
        vocabulary: vocabulary of the model.

    Raises:
        ValueError: if it gives other ids; the message names the first such string with both ids.
    """
    for string, ids in probes(text, vocabulary).items():
        _check_probe(string, ids, tokenizer.encode(string))


def probes(text: TextTokenizer, vocabulary: Vocabulary) -> dict[str, list[int]]:
    """Return prompts for checking an export, each with the ids that it must give."""
    added = text.added
    if isinstance(text.backend, SentencePiece) and not text.opening:
        symbols = user_defined(ModelProto.FromString(text.backend.model))
        added = tuple(symbol for symbol in symbols if SPACE not in symbol and not re.search(r"\s", symbol))
    texts = [*PROBES, *(f"a{token}b {token} c{token}{token}" for token in added[:MOST_ADDED])]
    opening = [*text.opening, *vocabulary.opening, vocabulary.text_marker]
    found = {f"[Text]{probe}": [*opening, *text.encode(probe)] for probe in texts}
    if not text.opening:
        unit, _ = vocabulary.speech_bounds
        spoken = [*vocabulary.opening, vocabulary.speech_marker, unit, vocabulary.text_marker]
        found |= {
            f"[Speech]{vocabulary.name(unit)}[Text]{probe}": [*spoken, *text.encode(probe)]
            for probe in (" the mat", "the mat")
        }
    return found


def _check_probe(string: str, expected: list[int], found: list[int]) -> None:
    """Refuse other ids than the expected ones; the message names the string and both ids."""
    if found != expected:
        raise ValueError(
            f"text tokenizer must give the ids {expected} for {string!r} when it is exported, but gives {found}: "
            "take another tokenizer, or a model_type that transformers reads it for"
        )


def check_export(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    text: TextTokenizer,
    vocabulary: Vocabulary,
    fresh_process: bool = False,
) -> None:
    """Open an exported tokenizer from its files, and check that it gives the same ids as the text tokenizer.

    Args:
        folder: path of the export.
        tokenizer: tokenizer that was saved there.
        text: text tokenizer of this package that it was made from.
        vocabulary: vocabulary of the model.
        fresh_process: whether to open it in a new process without this package's code, which takes some 3 seconds.

    Raises:
        ValueError: if it gives other ids; the message names the first such string with both ids.
    """
    expected = probes(text, vocabulary)
    found, special = (_ids_in_fresh_process if fresh_process else _ids)(folder, list(expected))
    for (string, ids), read in zip(expected.items(), found, strict=True):
        _check_probe(string, ids, read)
    for name, read in zip(SPECIAL_IDS, special, strict=True):
        if read != getattr(tokenizer, name):
            raise ValueError(f"{name} must be {getattr(tokenizer, name)} when the model is exported, but is {read}")


def _ids(folder: Path, strings: list[str]) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return [[tokenizer.encode(string) for string in strings], [getattr(tokenizer, name) for name in SPECIAL_IDS]]


def _ids_in_fresh_process(folder: Path, strings: list[str]) -> Any:
    asked = json.dumps([strings, SPECIAL_IDS])
    command = [sys.executable, "-c", FRESH, str(folder)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ValueError(f"export must open with AutoTokenizer, but {folder} does not: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def _check_words(text: TextTokenizer, path: str | Path) -> None:
    """Refuse a tokenizer that loses spaces, or whose tokens reach across them, so that spans of words cannot be cut."""
    kept = text.decode(text.encode(PROBES[0]))
    if len(kept.split()) != len(PROBES[0].split()):
        raise ValueError(
            f"text_tokenizer must keep the spaces of a text, but {path} makes {kept!r} of {PROBES[0]!r}: take another "
            "tokenizer, or a model_type whose class reads this one, or save it as tokenizer.json"
        )
    for probe in PROBES:
        words = probe.split()
        if text.opening or " ".join(words) != probe:
            continue
        whole, apart = text.encode(probe), [token for ids in text.encode_words(words) for token in ids]
        if whole != apart:
            raise ValueError(
                f"text_tokenizer must give a text the pieces of its words, but {path} gives {probe!r} the ids {whole}, "
                f"and its words {apart}: take a tokenizer whose pieces end at spaces"
            )


def special_ids(tokenizer: PreTrainedTokenizerFast, *settings: Any) -> dict[str, Any]:
    """Return the ids that begin, end and pad a text.

    Args:
        tokenizer: exported tokenizer, whose ids are used where no settings give them.
        settings: objects with attributes such as `bos_token_id`; the first that names a special token counts.
    """
    known = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    chosen = {}
    for name in SPECIAL_IDS:
        given = [ids for values in settings if (ids := getattr(values, name, None)) is not None]
        fitting = (ids for ids in given if known.issuperset(ids if isinstance(ids, list) else [ids]))
        chosen[name] = next(fitting, getattr(tokenizer, name))
    return chosen
