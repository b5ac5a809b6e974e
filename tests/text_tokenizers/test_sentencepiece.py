"""SentencePiece models as text tokenizers: alone, beside a model's configuration, as an export, and for whole texts."""

import json

import pyarrow as pa
import pytest
import sentencepiece
from transformers import AutoTokenizer

from spiritlm_pl.corpora.text_files.flat_texts import WHITE_SPACE
from spiritlm_pl.text_tokenizers.check import check_text_tokenizer
from spiritlm_pl.text_tokenizers.fast_tokenizer import fast_tokenizer
from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.tokenizer import PROBES, TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

LINES = ["the cat sat on the mat", "a dog ran to the park, didn't it?", "3 birds sang in 1984: naïve café"] * 4
TEXTS = (*PROBES, "a  b   c", "x\n\ny\n", "\tz", "1,234.5", "don't  <tool_call>\nrun </tool_call>!", "a<table>b")
SIZES = {"num_units": 20, "multiple_of": 16}


@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no_prefix"])
def test_sentencepiece_models_give_flat_ids(tmp_path, prefix, monkeypatch):
    options = {"model_type": "bpe", "add_dummy_prefix": prefix, "byte_fallback": True, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(tmp_path / "tokenizer"), vocab_size=340, **options
    )
    text = TextTokenizer.load(tmp_path)
    monkeypatch.setattr("spiritlm_pl.text_tokenizers.known_words.MOST_WORDS", 3)
    monkeypatch.setattr("spiritlm_pl.text_tokenizers.known_words.MOST_IDS", 20)
    encoder, texts = FlatEncoder(text), TEXTS
    for _ in range(2):
        counts, ids = encoder.encode(pa.array(texts, pa.large_string()))
        assert encoder.cuts and ids.tolist() == [token for one in texts for token in text.encode(one)]
        assert counts.tolist() == [len(text.encode(one)) for one in texts]
    spaced = [f"a{space}{space}b{space} c{space}" for space in WHITE_SPACE]
    for one in (spaced, ["", *spaced], spaced[:0], [""]):
        counts, ids = encoder.encode(pa.array(one, pa.large_string()))
        expected = [text.encode(string) for string in one]
        assert counts.tolist() == list(map(len, expected)) and ids.tolist() == [
            token for ids in expected for token in ids
        ]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no_prefix"])
def test_sentencepiece_models_keep_their_spaces_and_export(tmp_path, kind, prefix):
    model = tmp_path / "tokenizer"
    options = {"model_type": kind, "add_dummy_prefix": prefix, "byte_fallback": True, "minloglevel": 2}
    size = 340 if kind == "bpe" else 290
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(model), vocab_size=size, **options
    )
    own = sentencepiece.SentencePieceProcessor(model_file=f"{model}.model")
    text = TextTokenizer.load(tmp_path)
    for string in ("the cat sat on the mat", "a dog ran, didn't it?", "naïve 你好 1984"):
        words = text.encode_words(string.split())
        assert text.encode(string) == own.encode(string) == sum(words, [])
        assert text.decode(text.encode(string)) == string
        assert text.encode(string, continuing=True)[-len(words[-1]) :] == words[-1]
    assert own.decode(text.encode("the cat") + text.encode("sat", continuing=True)) == "the cat sat"
    check_text_tokenizer(tmp_path, Vocabulary.spirit_lm(num_text=text.vocab_size, **SIZES))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no_prefix"])
@pytest.mark.parametrize("symbols", [[], ["<b>", "<b>>", "**"]], ids=["plain", "symbols"])
def test_symbols_of_a_sentencepiece_model_stay_whole_and_controls_are_text(tmp_path, kind, prefix, symbols):
    lines = [*LINES, "a <b>dog<b>> ran **off**", "x<s> </s>y <0x41>"]
    options = {"model_type": kind, "add_dummy_prefix": prefix, "byte_fallback": True, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=340 if kind == "bpe" else 295,
        user_defined_symbols=symbols,
        **options,
    )
    vocabulary = Vocabulary.spirit_lm(num_text=TextTokenizer.load(tmp_path).vocab_size, **SIZES)
    text, fast = check_text_tokenizer(tmp_path, vocabulary), fast_tokenizer(TextTokenizer.load(tmp_path), vocabulary)
    first_symbol = 3  # after the unknown, the begin and the end
    assert (first_symbol in text.encode("a<b>c")) is bool(symbols)
    for string in ("a<b>c", "<b>>the **cat** <b>", "<b></s>", "</s>", "the <s>cat</s>", "<0x41>", "<b><0x41>"):
        assert fast.encode(string, split_special_tokens=True) == text.encode(string), string


@pytest.mark.parametrize("model_type", ["gemma", "llama"])
@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "no_prefix"])
def test_a_lone_sentencepiece_model_is_read_as_its_models_type_reads_it(tmp_path, model_type, prefix):
    options = {"model_type": "bpe", "add_dummy_prefix": prefix, "byte_fallback": True, "minloglevel": 2}
    options |= {"remove_extra_whitespaces": False, "normalization_rule_name": "identity", "pad_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(tmp_path / "tokenizer"), vocab_size=340, **options
    )
    alone = TextTokenizer.load(tmp_path)
    assert alone.library == "sentencepiece"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    base, text = AutoTokenizer.from_pretrained(tmp_path), TextTokenizer.load(tmp_path)
    for string in TEXTS:
        assert text.encode(string) == base.encode(string, add_special_tokens=False)
    check_text_tokenizer(tmp_path, Vocabulary.spirit_lm(num_text=text.vocab_size, **SIZES))


def test_a_lone_sentencepiece_model_whose_spaces_its_models_type_loses_is_refused(tmp_path):
    text = train_text_tokenizer(LINES)
    text.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2", "eos_token_id": 2}))
    read = TextTokenizer.load(tmp_path)
    with pytest.raises(
        ValueError, match="must keep the spaces of a text, but .* makes 'thecatsatonthemat' of 'the cat"
    ):
        check_text_tokenizer(tmp_path, Vocabulary.spirit_lm(num_text=read.vocab_size, **SIZES))


@pytest.mark.parametrize(("given", "end"), [(2, 2), ([2, 7], 2), ([10**6], None), (None, None)])
def test_texts_end_as_the_model_of_the_folder_ends_them(tmp_path, given, end):
    options = {"model_type": "bpe", "add_dummy_prefix": False, "byte_fallback": True, "minloglevel": 2, "pad_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=str(tmp_path / "tokenizer"), vocab_size=340, **options
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma", "eos_token_id": given}))
    added = AutoTokenizer.from_pretrained(tmp_path).eos_token_id
    assert added >= 340  # <eos>, where the SentencePiece model has </s>
    assert TextTokenizer.load(tmp_path).eos_id == (added if end is None else end)
