"""Text tokenizers: words and texts agree, any text goes there and back, training fits the corpus."""

from pathlib import Path

import pytest

from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer

TEXTS = ["the cat sat on the mat", "a dog ran by the old mat", "the dog and the cat sat by the man"] * 4


def test_a_text_is_its_words(tmp_path: Path) -> None:
    tokenizer = train_text_tokenizer(TEXTS)
    text = "the cat and  a žebra 🦓 ran"
    assert tokenizer.encode(text) == sum((tokenizer.encode_word(word) for word in text.split()), [])
    assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.split())
    tokenizer.save(tmp_path / "folder")
    for path in (tmp_path / "folder", tmp_path / "folder" / "tokenizer.model"):
        loaded = TextTokenizer.load(path)
        assert loaded.vocab_size == tokenizer.vocab_size
        assert loaded.encode(text) == tokenizer.encode(text)


def test_the_json_of_a_tokenizer_leads_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"but is .*tokenizer\.json instead; name its folder"):
        TextTokenizer.load(tmp_path / "tokenizer.json")


def test_size_is_automatic_or_checked() -> None:
    largest = train_text_tokenizer(TEXTS).vocab_size
    assert 256 < largest < 1_000
    assert train_text_tokenizer(TEXTS, largest - 5).vocab_size == largest - 5
    with pytest.raises(ValueError, match=f"vocab_size must be at most {largest} .* but is 5000 instead"):
        train_text_tokenizer(TEXTS, 5_000)
    with pytest.raises(ValueError, match=r"vocab_size must be at least \d+ .* but is 100 instead"):
        train_text_tokenizer(TEXTS, 100)
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 1_100)]  # a script of more letters than pieces are usual
    assert train_text_tokenizer(letters).vocab_size == 3 + 256 + len(letters) + 1  # the space as well
    with pytest.raises(ValueError, match=r"vocab_size must be at least 1360 .* but is 1000 instead"):
        train_text_tokenizer(letters, 1_000)
    with pytest.raises(ValueError, match="text must hold words, but is empty"):
        train_text_tokenizer(["", "  \n"])


def refuses_half_pairs(tokenizer: TextTokenizer) -> None:
    half = "the \ud83d cat"
    for encode in (
        tokenizer.encode,
        tokenizer.encode_word,
        lambda text: tokenizer.encode_batch(["the", text]),
        lambda text: tokenizer.encode_words(text.split()),
        lambda text: tokenizer.encode_following(text.split()),
    ):
        with pytest.raises(ValueError, match="must consist of whole characters, but .*ud83d.* has half a surrogate"):
            encode(half)


def test_half_a_surrogate_pair_is_refused() -> None:
    refuses_half_pairs(train_text_tokenizer(TEXTS))


@pytest.mark.parametrize("kind", ["byte_level", "metaspace"])
def test_transformers_tokenizers_encode_words_with_their_space(tmp_path: Path, kind: str) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    if kind == "byte_level":
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        inner.decoder = decoders.Metaspace()
    inner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=100, show_progress=False))
    PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(tmp_path / "hf")
    tokenizer = TextTokenizer.load(tmp_path / "hf")
    whole = inner.encode("the cat sat").ids
    assert tokenizer.encode("the cat sat") == whole
    assert tokenizer.decode(whole) == "the cat sat"
    refuses_half_pairs(tokenizer)
    tokenizer.save(tmp_path / "copy")
    assert TextTokenizer.load(tmp_path / "copy").encode("the cat sat") == whole


def test_what_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="text_tokenizer must be .*nowhere instead"):
        TextTokenizer.load(tmp_path / "nowhere")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="bad.model is not"):
        TextTokenizer.load(tmp_path / "bad.model")
