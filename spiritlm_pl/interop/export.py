"""Export of a language model as a plain Hugging Face directory, for tools that do not know this package.

The exported tokenizer writes speech as `[Speech][Hu3][Hu7]` and gives the same ids as this package's own encoding.
`spiritlm.json` stays in the directory, so that this package can still read it.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast

from spiritlm_pl.conversations.chat_template import chat_templates
from spiritlm_pl.interop.deepspeed import consolidate_checkpoint
from spiritlm_pl.interop.model_card import model_card
from spiritlm_pl.lm.folder import GENERATION_FILE, load_lm, write_model
from spiritlm_pl.runtime.checksums import record_all
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.runtime.model_description import (
    CONFIG_FILE,
    DESCRIPTION_FILE,
    TEMPLATES,
    read_description,
    read_vocabulary,
)
from spiritlm_pl.runtime.provenance import code_version
from spiritlm_pl.text_tokenizers.backends import MODEL_FILE
from spiritlm_pl.text_tokenizers.check import check_export, check_ids, special_ids
from spiritlm_pl.text_tokenizers.fast_tokenizer import fast_tokenizer
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

EXPORT_KEY = "exported_by"  # key in spiritlm.json by which an export is told from a folder of training


def export_lm(
    source: str | Path,
    output: str | Path,
    text_tokenizer: str | None = None,
    dtype: torch.dtype | None = None,
    max_shard_size: str = "5GB",
    padding: bool = True,
    fresh_process: bool = False,
) -> Path:
    """Write a model that `AutoModelForCausalLM` and `AutoTokenizer` can open.

    An earlier export at `output` stays whole until the new one is complete.

    Args:
        source: language model folder, or a trainer's checkpoint (a file, or the shards of ZeRO-3).
        output: directory to write, which must be new, empty or an earlier export.
        text_tokenizer: SentencePiece model or folder of the text tokenizer, needed for a checkpoint, which holds none.
        dtype: type of the weights; None keeps that of the source.
        max_shard_size: largest size of a weight file, such as "5GB".
        padding: whether to keep the rows that only pad the embedding, which some readers refuse.
        fresh_process: whether to try the exported tokenizer in a process that has loaded nothing of this package.

    Raises:
        ValueError: if `max_shard_size` is no size, `source` is not a language model, its text tokenizer does not fit or
            gives other ids when `AutoTokenizer` opens the export, or `output` holds other files.
    """
    if re.fullmatch(r"\d+(\.\d+)?[KMGT]B", max_shard_size) is None:
        raise ValueError(f"max_shard_size must be a number with KB, MB, GB or TB, but is {max_shard_size!r} instead")
    given = source = Path(source)
    output = Path(output)
    _check_free(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(output) as temporary:
        if not (source / DESCRIPTION_FILE).is_file():
            if text_tokenizer is None:
                raise ValueError(
                    f"source must be a language model folder, or a checkpoint with a text_tokenizer, but is {source}"
                )
            source = consolidate_checkpoint(source, temporary / "lm", text_tokenizer, dtype or torch.float32)
            if not (source / CONFIG_FILE).is_file():
                raise ValueError(
                    f"source must be a whole language model, but {given} is of an adapter: spiritlm consolidate writes "
                    "it as a folder, and spiritlm merge-adapter puts it into its base model"
                )
        new = temporary / "new"
        new.mkdir()
        _write(source, new, dtype, max_shard_size, padding, fresh_process)
        if output.exists():
            output.rename(temporary / "old")
        new.rename(output)
    return output


def _write(
    source: Path, new: Path, dtype: torch.dtype | None, max_shard_size: str, padding: bool, fresh_process: bool
) -> None:
    description = read_description(source)
    text, own = TextTokenizer.load(source), read_vocabulary(source)
    tokenizer = fast_tokenizer(text, own)
    check_ids(tokenizer, text, own)  # before the weights are read, which takes longer
    if templates := description.get(TEMPLATES):
        tokenizer.chat_template = chat_templates(templates, text, own)
    network, text, vocabulary = load_lm(source, dtype=dtype)
    if not padding:
        vocabulary = replace(vocabulary, multiple_of=1)
        network.resize_token_embeddings(vocabulary.num_rows)
        description = {**description, "vocabulary": vocabulary.to_dict()}
    end = vocabulary.end_of_document
    special = _ending_with(end, special_ids(tokenizer, network.generation_config, network.config))
    network.config.update(_ending_with(end, special_ids(tokenizer, network.config)))
    meaningless = list(range(vocabulary.num_tokens, vocabulary.num_rows))
    network.generation_config = GenerationConfig(**special, suppress_tokens=meaningless or None)
    write_model(new, network, max_shard_size)
    _save_tokenizer(tokenizer, new)
    if (source / MODEL_FILE).is_file():  # this package reads it
        shutil.copy(source / MODEL_FILE, new)
        _add_to_sentencepiece(new, tokenizer, vocabulary, whole_strings=bool(text.opening))
    check_export(new, tokenizer, text, vocabulary, fresh_process)
    _write_json(new / DESCRIPTION_FILE, {**description, EXPORT_KEY: code_version()})
    card = model_card(description, tokenizer, text)
    card_file = new / "README.md"
    card_file.write_text(card, encoding="utf-8")
    record_all(new, [card_file.name, GENERATION_FILE])
    for path in new.iterdir():
        path.chmod(0o644)


def _ending_with(end: int | None, special: dict[str, Any]) -> dict[str, Any]:
    """Add the token that ended documents in training to the ids that end an answer."""
    given = special["eos_token_id"]
    ids = given if isinstance(given, list) else [] if given is None else [given]
    if end is None or end in ids:
        return special
    return {**special, "eos_token_id": [end, *ids] if ids else end}


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    # every version of transformers knows this name
    _change_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


def _add_to_sentencepiece(
    folder: Path, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, whole_strings: bool
) -> None:
    """Tell readers that use the SentencePiece model alone (llama.cpp's converter) which tokens are those of speech.

    Where strings are encoded whole, llama.cpp must put no space after a speech token, and so it puts none at the start
    of a string either; the prompt has it. Version 4 of `transformers` splits strings at the tokens of
    `added_tokens.json` before anything else, unless `tokenizer_config.json` lists the added tokens.
    """
    speech = range(vocabulary.num_text, vocabulary.num_tokens)
    _write_json(folder / "added_tokens.json", {str(vocabulary.name(token)): token for token in speech})
    values: dict[str, Any] = {"add_bos_token": False}
    if whole_strings:
        added = {str(token): value.__getstate__() for token, value in tokenizer.added_tokens_decoder.items()}
        values = {"add_prefix_space": False, "added_tokens_decoder": added}
    _change_json(folder / "tokenizer_config.json", values)


def _change_json(path: Path, values: dict[str, Any]) -> None:
    _write_json(path, {**json.loads(path.read_text(encoding="utf-8")), **values})


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _check_free(output: Path) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    description = output / DESCRIPTION_FILE
    if not description.is_file() or EXPORT_KEY not in json.loads(description.read_text(encoding="utf-8")):
        raise ValueError(f"output must be a new folder or one of an earlier export, but {output} holds something else")
