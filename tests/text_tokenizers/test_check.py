"""Base models' tokenizers: our ids are those of `AutoTokenizer`, from the base folder to an export, or are refused."""

import base64
import json
import sys
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast, Qwen2Config

from spiritlm_pl.cli.export_lm import export_lm
from spiritlm_pl.cli.extend_vocab import extend_vocab
from spiritlm_pl.lm.folder import load_lm
from spiritlm_pl.text_tokenizers.check import check_text_tokenizer
from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.tokenizer import PROBES, TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

from .layouts import byte_level_of

LINES = ["the cat sat on the mat", "a dog ran to the park, didn't it?", "3 birds sang in 1984: naïve café"] * 4
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = (*PROBES, "a  b   c", "x\n\ny\n", "\tz", "1,234.5", "don't  <tool_call>\nrun </tool_call>!", "a<table>b")
END = "<|endoftext|>"
SIZES = {"num_units": 20, "multiple_of": 16}


def written(folder: Path, tokenizer: Tokenizer, model_type: str, **special: str) -> Path:
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    return folder


def byte_level(folder, regex=None, normalizer=None, added=(), model_type="llama", hole=0, size=290, digits=False):
    tokenizer = byte_level_of(LINES, size, regex, normalizer, digits)
    if hole:
        values = json.loads(tokenizer.to_str())
        values["model"]["vocab"][END] = len(values["model"]["vocab"]) + hole
        tokenizer = Tokenizer.from_str(json.dumps(values))
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    tokenizer.add_tokens(list(added))
    return written(folder, tokenizer, model_type, eos_token=END)


def pieces_with_spaces(folder, own, added=(), model_type="llama"):
    """As Gemma's and Llama 2's: `own` are the values of normalizer, pre-tokenizer and decoder."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [space + word for line in LINES for word in line.split() for space in ("▁", "")]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    values = json.loads(tokenizer.to_str()) | {"pre_tokenizer": None}
    values["added_tokens"] = values["added_tokens"][:3]  # the bytes are pieces of text
    tokenizer = Tokenizer.from_str(json.dumps(values))
    for name, value in own.items():
        setattr(tokenizer, name, value)
    tokenizer.add_tokens(list(added))
    return written(folder, tokenizer, model_type, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def metaspace(scheme):
    joined = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return {
        "pre_tokenizer": pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False),
        "decoder": decoders.Sequence([joined, decoders.Strip(" ", 1, 0)]) if scheme != "never" else joined,
    }


def as_it_stands(*contents, normalized=False):
    return [AddedToken(content, normalized=normalized) for content in contents]


GEMMA = {"normalizer": normalizers.Replace(" ", "▁"), "decoder": metaspace("never")["decoder"]}
PREPEND = {  # as Llama 2's first fast one
    "normalizer": normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
    "decoder": metaspace("first")["decoder"],
}
SPACES = as_it_stands(*(" " * number for number in range(8, 1, -1)), normalized=True)
TOOLS = as_it_stands("<tool_call>", "</tool_call>")
MAKERS = {
    "gpt2": lambda folder: byte_level(folder),
    "qwen2": lambda folder: byte_level(folder, QWEN, normalizers.NFC(), TOOLS, "qwen2"),
    "qwen3": lambda folder: byte_level(folder, QWEN, normalizers.NFC(), TOOLS, "qwen3"),
    "smollm2": lambda folder: byte_level(folder, digits=True),
    "mistral_tekken": lambda folder: byte_level(folder, TEKKEN, model_type="mistral"),
    "llama3": lambda folder: byte_level(folder, LLAMA3),
    "gpt_neox": lambda folder: byte_level(folder, None, normalizers.NFC(), SPACES, "gpt_neox"),
    "holes": lambda folder: byte_level(folder, hole=7),
    "gemma": lambda folder: pieces_with_spaces(folder, GEMMA, as_it_stands("\n\n", "<table>")),
    "llama2": lambda folder: pieces_with_spaces(folder, metaspace("first")),
    "llama2_prepend": lambda folder: pieces_with_spaces(folder, PREPEND),
    "mistral": lambda folder: pieces_with_spaces(folder, metaspace("first"), model_type="mistral"),
    "always": lambda folder: pieces_with_spaces(folder, metaspace("always"), as_it_stands("<table>")),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_ids_are_those_of_the_base_models_own_tokenizer(tmp_path, kind):
    folder = MAKERS[kind](tmp_path / "base")
    base, text = AutoTokenizer.from_pretrained(folder), TextTokenizer.load(folder)
    for string in TEXTS:
        assert text.encode(string) == base.encode(string, add_special_tokens=False)
        words = string.split()
        assert sum(text.encode_words(words), []) == base.encode(" ".join(words), add_special_tokens=False)
    assert text.decode(text.encode("the cat sat\non 1 mat")) == "the cat sat\non 1 mat"
    assert text.vocab_size == max(base.get_vocab().values()) + 1 and text.eos_id == base.eos_token_id < text.vocab_size
    check_text_tokenizer(folder, Vocabulary.spirit_lm(num_text=text.vocab_size, **SIZES))
    text.save(tmp_path / "copy")
    assert TextTokenizer.load(tmp_path / "copy").fingerprint == text.fingerprint


DOCUMENTS = (
    "def f(x):\n    if x > 1:\n        return [x, 2 ** 10]\n\n\n    return None\n",
    "# Title\n\n* one\n* two  \n\n1. first\r\n2. second\n\n\tcode\n\n  \n",
    "\n\n  begins with space, ends with it \n ",
    "a" * 500 + " " * 33 + "1234567890" * 9 + "\n" * 7,
    "naïve café 你好，世界。\nПривет 😀👩‍👩‍👧 don't WE'LL I'm",
)


@pytest.mark.parametrize("kind", MAKERS)
def test_batches_of_whole_documents_have_the_ids_of_the_base_models_own_tokenizer(tmp_path, kind):
    """Line breaks, runs of spaces and indentation included, whatever else is in the batch."""
    folder = MAKERS[kind](tmp_path / "base")
    base, text = AutoTokenizer.from_pretrained(folder), TextTokenizer.load(folder)
    documents = [*DOCUMENTS, *TEXTS, "\n\n".join(DOCUMENTS)]
    expected = base(documents, add_special_tokens=False)["input_ids"]
    assert text.encode_batch(documents) == expected == [text.encode(document) for document in documents]
    assert text.keeps_line_breaks and text.encode_batch([]) == []
    words = " ".join(DOCUMENTS).split()
    whole = base.encode(" ".join(words), add_special_tokens=False)
    for _ in range(2):  # words are kept for the second time
        assert sum(text.encode_words(words), []) == whole
    assert (
        sum(text.encode_words(words[:40]), []) + [token for word in words[40:] for token in text.encode_word(word)]
        == whole
    )  # cut at a word, and gone on with


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    return {kind: TextTokenizer.load(MAKERS[kind](tmp_path_factory.mktemp(kind))) for kind in MAKERS}


PIECES = ["the", "cat", "a", "Don't,", "it's", "1984", "3.14!", " ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000"]
PIECES += [
    "é",
    "e\u0301",
    "\u0301",
    "你好",
    "😀",
    "<table>",
    "<tool_call>",
    "<s>",
    END,
    "▁",
    "_",
    "(",
    ".",
    "\x1c",
    "\u180e",
    "\u200b",
    "Ω",
    "½",
]
ANY = st.lists(st.one_of(st.sampled_from(PIECES), st.characters(codec="utf-8")), max_size=20).map("".join)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(ANY, max_size=4))
def test_texts_that_are_cut_at_spaces_have_the_ids_of_whole_texts(tokenizers, texts):
    for kind, text in tokenizers.items():
        encoder = ENCODERS.setdefault(kind, FlatEncoder(text))
        with patch("spiritlm_pl.corpora.text_files.flat_texts.CACHED", 16):  # several parts
            counts, ids = encoder.encode(pa.array(texts, pa.large_string()))
        whole = text.encode_batch(texts)
        assert [len(one) for one in whole] == counts.tolist(), kind
        assert sum(whole, []) == ids.tolist(), kind


ENCODERS: dict[str, FlatEncoder] = {}  # with the words of earlier examples


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "gemma"])
def test_pieces_of_white_space_are_those_of_whole_texts(tmp_path, monkeypatch, kind):
    """Spaces and line breaks that merge at the end of a text, but not before what follows."""
    ends = ["a \n\n", "cat \n", "\n\n\n", ".\n", "x.\n\n", " \n"] * 9
    monkeypatch.setattr(sys.modules[__name__], "LINES", [*LINES, *ends])
    text = TextTokenizer.load(MAKERS[kind](tmp_path))
    texts = ["the cat.\n\nThe dog \nran\n\n\n1984\r\n\r\nit's", "cat", "cat\n", "\ncat", ".\n/the", "a\n 1", "(the)\n"]
    encoder = FlatEncoder(text)
    for _ in range(2):
        _, ids = encoder.encode(pa.array(texts, pa.large_string()))
        assert ids.tolist() == sum(text.encode_batch(texts), [])


def test_an_added_token_is_not_cut(tmp_path):
    added = as_it_stands("<tool_call>", "x1y", "\nz")
    text = TextTokenizer.load(byte_level(tmp_path, LLAMA3, added=added))
    texts = ["a<tool_call>b ax1yb x1 y", "the\nzoo the\ncat"]
    _, ids = FlatEncoder(text).encode(pa.array(texts, pa.large_string()))
    assert ids.tolist() == sum(text.encode_batch(texts), []) and {290, 291, 292} & set(ids.tolist())


def test_texts_are_cut_where_nothing_reaches_over_a_space(tokenizers, tmp_path):
    cut = {kind for kind, text in tokenizers.items() if FlatEncoder(text).cuts}
    assert cut == set(MAKERS)
    lost = pieces_with_spaces(tmp_path / "lost", PREPEND, as_it_stands("<table>"))  # a space before the added token
    assert not FlatEncoder(TextTokenizer.load(lost)).cuts
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.decoder = normalizers.Replace(" ", "▁"), decoders.Replace("▁", " ")
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    assert not FlatEncoder(TextTokenizer.load(written(tmp_path / "over", tokenizer, "llama"))).cuts
    other = byte_level(tmp_path / "other", r"\w+ \w+|.")
    assert not FlatEncoder(TextTokenizer.load(other)).cuts
    spaced = byte_level(tmp_path / "spaced", LLAMA3, added=[AddedToken("a b")])
    assert not FlatEncoder(TextTokenizer.load(spaced)).cuts
    greedy = byte_level(tmp_path / "greedy", LLAMA3, added=[AddedToken("<x>", lstrip=True)])
    assert not FlatEncoder(TextTokenizer.load(greedy)).cuts


def test_a_tokenizer_that_cuts_texts_off_does_not_cut_documents_off(tmp_path):
    folder = byte_level(tmp_path)
    values = json.loads((folder / "tokenizer.json").read_text())
    values["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    values["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": END,
    }
    (folder / "tokenizer.json").write_text(json.dumps(values))
    text = TextTokenizer.load(folder)
    assert text.encode_batch([DOCUMENTS[0], "a"]) == [text.encode(DOCUMENTS[0]), text.encode("a")]
    assert len(text.encode_batch([DOCUMENTS[0]])[0]) > 20 and len(text.encode_batch(["a"])[0]) == 1


def test_names_of_special_tokens_in_a_document_are_text(tmp_path):
    text = TextTokenizer.load(byte_level(tmp_path))
    assert text.eos_id not in text.encode_batch([f"a{END}b"])[0]


def test_a_hole_is_no_unit(tmp_path):
    folder = byte_level(tmp_path, hole=7)
    base = AutoTokenizer.from_pretrained(folder)
    assert (len(base), base.eos_token_id, TextTokenizer.load(folder).vocab_size) == (291, 297, 298)


def test_pieces_over_spaces_and_added_tokens_that_move_are_refused(tmp_path):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.decoder = normalizers.Replace(" ", "▁"), decoders.Replace("▁", " ")
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    over_spaces = written(tmp_path / "over", tokenizer, "llama")
    with pytest.raises(ValueError, match=r"pieces of its words, but .*over gives 'the cat .*' the ids \[.*\]"):
        check_text_tokenizer(over_spaces, Vocabulary(num_text=TextTokenizer.load(over_spaces).vocab_size))
    moved = pieces_with_spaces(tmp_path / "moved", metaspace("first"), as_it_stands("<table>"))
    with pytest.raises(ValueError, match=r"must give the ids \[.*\] for '\[Text\]a<table>b.* when it is exported, but"):
        check_text_tokenizer(moved, Vocabulary(num_text=TextTokenizer.load(moved).vocab_size))


def test_a_tokenizer_that_is_loaded_already_must_fit_as_well(tmp_path):
    text = train_text_tokenizer(LINES)
    size = text.vocab_size
    assert check_text_tokenizer(tmp_path, Vocabulary.spirit_lm(num_text=size, **SIZES), text=text) is text
    with pytest.raises(ValueError, match=f"must have the {size + 1} text tokens of the vocabulary, but .* has {size}"):
        check_text_tokenizer(tmp_path, Vocabulary.spirit_lm(num_text=size + 1, **SIZES), text=text)
    with pytest.raises(ValueError, match="must be the one that the blocks were built with"):
        check_text_tokenizer(tmp_path, Vocabulary.spirit_lm(num_text=size, **SIZES), fingerprint="0", text=text)


def test_a_model_type_whose_class_reads_other_ids_is_refused(tmp_path):
    text = train_text_tokenizer(LINES)
    text.save(tmp_path)
    check_text_tokenizer(tmp_path, Vocabulary.spirit_lm(num_text=text.vocab_size, **SIZES), '{"model_type": "llama"}')
    with pytest.raises(ValueError, match="when it is exported, but gives .*: take another tokenizer, or a model_type"):
        check_text_tokenizer(
            tmp_path, Vocabulary.spirit_lm(num_text=text.vocab_size, **SIZES), '{"model_type": "qwen2"}'
        )


def test_what_lies_beside_tokenizer_json_does_not_count(tmp_path):
    folder = byte_level(tmp_path / "base", LLAMA3)
    ids = TextTokenizer.load(folder).encode("the cat\n\n 1984")
    train_text_tokenizer(LINES).save(tmp_path / "other")
    for model in (
        (tmp_path / "other" / "tokenizer.model").read_bytes(),
        b"".join(base64.b64encode(bytes([byte])) + f" {byte}\n".encode() for byte in range(256)),  # tiktoken's format
    ):
        (folder / "tokenizer.model").write_bytes(model)
        assert TextTokenizer.load(folder).encode("the cat\n\n 1984") == ids
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "tokenizer.model").write_bytes(model)
    with pytest.raises(ValueError, match="must be a SentencePiece model, but .*alone/tokenizer.model is not"):
        TextTokenizer.load(tmp_path / "alone")


def make_base(folder, rows=None):
    """A Qwen 2 of one layer and its tokenizer, with `rows` in the embedding."""
    byte_level(folder, QWEN, normalizers.NFC(), TOOLS, "qwen2")
    text = TextTokenizer.load(folder)
    config = Qwen2Config(
        vocab_size=rows or text.vocab_size + 5,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=None,
        eos_token_id=text.eos_id,
    )
    network = AutoModelForCausalLM.from_config(config)
    network.generation_config = GenerationConfig(eos_token_id=[text.eos_id, text.eos_id], pad_token_id=text.eos_id)
    network.save_pretrained(folder)
    return text, network


def test_from_a_base_model_to_an_export(tmp_path, capsys):
    """Every file means by its special ids what the base model means; ids are tried in a fresh process."""
    text, network = make_base(tmp_path / "base")
    extend_vocab(str(tmp_path / "base"), tmp_path / "lm", num_units=20, multiple_of=16)
    export_lm(tmp_path / "lm", tmp_path / "out")
    out, base = AutoTokenizer.from_pretrained(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "base")
    speech = load_lm(tmp_path / "out")[2]
    for string in TEXTS:
        assert out.encode(f"[Text]{string}") == [speech.text_marker, *base.encode(string, add_special_tokens=False)]
    for folder in (tmp_path / "lm", tmp_path / "out"):
        assert TextTokenizer.load(folder).vocab_size == text.vocab_size == speech.num_text
        assert json.loads((folder / "config.json").read_text())["eos_token_id"] == text.eos_id
        generation = json.loads((folder / "generation_config.json").read_text())
        assert generation["eos_token_id"] == [text.eos_id] * 2 and generation["pad_token_id"] == text.eos_id
        assert AutoTokenizer.from_pretrained(folder).eos_token == base.eos_token == END
    rows = load_lm(tmp_path / "out")[0].get_input_embeddings().weight[: text.vocab_size]
    torch.testing.assert_close(rows, network.get_input_embeddings().weight[: text.vocab_size])


def test_added_tokens_without_rows_get_some_and_other_tokenizers_are_refused(tmp_path, capsys):
    text, network = make_base(tmp_path / "base")
    make_base(tmp_path / "short", rows=text.vocab_size - 2)
    extend_vocab(str(tmp_path / "short"), tmp_path / "lm", num_units=20, multiple_of=16)
    said = f"has {text.vocab_size - 2} rows for the {text.vocab_size} tokens of its text tokenizer"
    assert said in capsys.readouterr().err
    matrix = load_lm(tmp_path / "lm")[0].get_input_embeddings().weight
    assert matrix[text.vocab_size - 2 : text.vocab_size].std() > 0
    make_base(tmp_path / "shorter", rows=100)
    with pytest.raises(ValueError, match="must have at most the 100 pieces that .*shorter has rows for, but has 290"):
        extend_vocab(str(tmp_path / "shorter"), tmp_path / "none")
    byte_level(tmp_path / "small", QWEN, normalizers.NFC(), model_type="qwen2", size=270)
    with pytest.raises(ValueError, match=f"must have the eos_token_id {text.eos_id} of .*base, but has"):
        extend_vocab(str(tmp_path / "base"), tmp_path / "none", text_tokenizer=str(tmp_path / "small"))
    assert not (tmp_path / "none").exists()
