"""Texts are cut where nothing that their tokenizer does reaches over the cut, and nowhere else."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from spiritlm_pl.text_tokenizers.cutting import LLAMA_3
from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

from .layouts import byte_level_of

WHITE = ["a" + white + after for white in ("  ", "\n\n", " \n", "\n ") for after in ("1", "<", "é", "")] * 30
LINES = [*["the cat sat on the mat", "a dog ran to the park, didn't it?"] * 4, *WHITE, *["▁▁the"] * 30]
GEMMA = normalizers.Replace(" ", "▁")
PREPEND = normalizers.Sequence([normalizers.Prepend("▁"), GEMMA])
ALWAYS = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=False)


def written(folder: Path, tokenizer: Tokenizer, added: list[AddedToken]) -> Path:
    tokenizer.add_tokens(added)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=tokenizer.model.unk_token).save_pretrained(folder)
    return folder


def byte_level(folder, regex=None, normalizer=None, added=(), digits=False):
    tokenizer = byte_level_of(LINES, 340, regex, normalizer, digits)
    return written(folder, tokenizer, list(added))


def pieces_with_spaces(folder, normalizer=None, before=None, added=()):
    """As Gemma's and Llama 2's."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁*[^▁]*"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator([line.replace(" ", "▁") for line in LINES], trainer)
    values = json.loads(tokenizer.to_str()) | {"pre_tokenizer": None}
    tokenizer = Tokenizer.from_str(json.dumps(values))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if before is not None:
        tokenizer.pre_tokenizer = before
    tokenizer.decoder = decoders.Replace("▁", " ")
    return written(folder, tokenizer, list(added))


def as_it_stands(*contents, normalized=False):
    return [AddedToken(content, normalized=normalized) for content in contents]


REACHING = {  # what reaches over a cut: a tokenizer, and texts in which it does
    "digits": (lambda folder: byte_level(folder, digits=True), ["a  1", "a\n\n1", "a  ²", "½", "cat\n 1984"]),
    "added": (lambda folder: byte_level(folder, added=as_it_stands("<x>")), ["a  <x>", "a\n\n<x>", "<x>"]),
    "added line breaks": (lambda folder: byte_level(folder, added=as_it_stands("\n\n", "\t")), ["a\n\nthe", "a\n\tb"]),
    "added and spaces": (lambda folder: byte_level(folder, added=as_it_stands(" dog", "Ġa")), ["the dog aĠa dog the"]),
    "piece": (lambda folder: pieces_with_spaces(folder, GEMMA), ["a▁ the", "the ▁cat", "▁ ▁"]),
}


@pytest.mark.parametrize("kind", REACHING)
def test_no_text_is_cut_where_something_may_reach_over(tmp_path, kind):
    """What cuts texts apart before the regular expression, and the character that stands for a space."""
    make, texts = REACHING[kind]
    text = TextTokenizer.load(make(tmp_path))
    encoder = FlatEncoder(text)
    assert encoder.cuts
    for _ in range(2):
        _, ids = encoder.encode(pa.array(texts, pa.large_string()))
        assert ids.tolist() == sum(text.encode_batch(texts), [])


def changed(folder: Path, change) -> TextTokenizer:
    """Load a tokenizer after a change of its description."""
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return TextTokenizer.load(folder)


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
MARK = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def steps(*order):
    """Return a change of what a tokenizer does before byte-pair encoding; None is the step that is there first."""

    def change(values):
        first = values["pre_tokenizer"]["pretokenizers"][0]
        values["pre_tokenizer"]["pretokenizers"] = [first if step is None else step for step in order]

    return change


@pytest.mark.parametrize(
    "change",
    [
        steps(BYTES, None),
        steps(BYTES | {"use_regex": False}, None),
        steps(DIGITS, None, BYTES | {"use_regex": False}),
        steps(BYTES, DIGITS),
        lambda values: values.update(normalizer=MARK),
        lambda values: values.update(normalizer={"type": "Prepend", "prepend": "▁"}),
    ],
)
def test_texts_are_not_cut_where_the_order_of_steps_is_another(tmp_path, change):
    assert not FlatEncoder(changed(byte_level(tmp_path, LLAMA_3), change)).cuts


def test_texts_are_not_cut_where_added_tokens_or_whole_words_are_sought_first(tmp_path):
    composed = byte_level(tmp_path / "nfc", LLAMA_3, normalizers.NFC(), as_it_stands("a!é", normalized=True))
    assert not FlatEncoder(TextTokenizer.load(composed)).cuts
    probed = pieces_with_spaces(tmp_path / "probed", None, ALWAYS, as_it_stands("cat"))
    assert not FlatEncoder(TextTokenizer.load(probed)).cuts
    twice = {"type": "Prepend", "prepend": "▁"}
    inverted = {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": True}
    changes = [
        (GEMMA, lambda values: values["model"].update(ignore_merges=True)),
        (PREPEND, lambda values: values["normalizer"]["normalizers"].insert(0, twice)),
        (GEMMA, lambda values: values.update(pre_tokenizer=inverted)),
    ]
    for number, (normalizer, change) in enumerate(changes):
        folder = pieces_with_spaces(tmp_path / f"{number}", normalizer)
        assert FlatEncoder(TextTokenizer.load(folder)).cuts and not FlatEncoder(changed(folder, change)).cuts
