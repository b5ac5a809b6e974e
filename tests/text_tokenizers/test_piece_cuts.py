"""Words are cut where no piece of a SentencePiece model reaches over the cut, and nowhere else."""

from io import BytesIO

import pyarrow as pa
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.model_proto import ModelProto, Piece
from spiritlm_pl.text_tokenizers.piece_cuts import piece_cuts
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

WORDS = ["cat", "(cat)", "a.b.c", "a--b", "x1.25", "don't", "dog,", "1984", "re-do", "A...", "caf\u00e9", "e\u0301)"]
LINES = [" ".join(WORDS[place:] + WORDS[:place]) for place in range(len(WORDS))] * 4
OVER_SIGNS = {"split_by_unicode_script": False, "split_by_number": False}
RULES = "2E 2E 2E\t2026\n63 61\t78\n65 301\te9\n"  # "..." to an ellipsis, "ca" to "x"


def model_of(**options):
    made = BytesIO()
    settings = {"model_type": "bpe", "byte_fallback": True, "vocab_size": 320, "hard_vocab_limit": False}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=made, minloglevel=2, **{**settings, **options}
    )
    return made.getvalue()


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Models that differ in what may reach over a cut; those whose names begin with "whole" allow none."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "rules.tsv").write_text(RULES)
    unused = ModelProto.FromString(model_of(**OVER_SIGNS))
    next(piece for piece in reversed(unused.pieces) if len(piece.piece) == 3).type = Piece.UNUSED
    models = {
        "usual": model_of(),
        "no prefix": model_of(add_dummy_prefix=False),
        "over signs": model_of(**OVER_SIGNS),
        "symbols": model_of(user_defined_symbols=["a.b", "->", "(c", "1)", ".."]),
        "unknown": model_of(byte_fallback=False, vocab_size=80),
        "controls": model_of(byte_fallback=False, vocab_size=80, control_symbols=["@"], unk_piece="?"),
        "other case": model_of(normalization_rule_name="nmt_nfkc_cf"),
        "rules": model_of(normalization_rule_tsv=str(folder / "rules.tsv")),
        "whole unigram": model_of(model_type="unigram"),
        "whole unused": unused.SerializeToString(),
    }
    found = {}
    for name, model in models.items():
        path = folder / f"{name}.model"
        path.write_bytes(model)
        text = TextTokenizer.load(path)
        assert (piece_cuts(model) is None) == name.startswith("whole")
        found[name] = (text, FlatEncoder(text))  # which knows the words of earlier examples
    return found


WORD = st.lists(
    st.sampled_from([*"abcexCA19.-()',><?@ \t\u00e9\u0301\u4f60\u2581", *WORDS, "...", "ca", "->", "a.b", "?@", "@@"])
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(WORD.map("".join), min_size=1, max_size=8))
def test_cut_words_have_the_ids_of_whole_ones(tokenizers, parts):
    for text, encoder in tokenizers.values():
        counts, ids = encoder.encode(pa.array(parts, pa.large_string()))
        expected = [text.encode(part) for part in parts]
        assert counts.tolist() == list(map(len, expected))
        assert ids.tolist() == [token for one in expected for token in one]


def test_words_are_cut_between_characters_that_no_piece_has_side_by_side(tokenizers):
    usual, over = (piece_cuts(tokenizers[name][0].backend.model).between for name in ("usual", "over signs"))
    symbols = piece_cuts(tokenizers["symbols"][0].backend.model).between
    assert usual[ord("t"), ord(")")] and usual[ord("a"), ord(".")] and not usual[ord("a"), ord("t")]
    assert not over[ord("x"), ord("1")] and not symbols[ord("a"), ord(".")] and not symbols[ord("-"), ord(">")]
    unknown = piece_cuts(tokenizers["unknown"][0].backend.model).between
    assert not unknown[ord("<"), ord("a")] and not usual[ord("<"), ord("_")]  # which the texts did not have


def test_characters_that_the_normalizer_changes_are_not_cut(tokenizers):
    plain = {name: piece_cuts(text.backend.model) for name, (text, _) in tokenizers.items() if "whole" not in name}
    assert not plain["other case"].plain[ord("A")] and plain["other case"].plain[ord("a")]
    changed = plain["rules"].plain
    assert not changed[ord(".")] and not changed[ord("c")]
    assert changed[ord("e")] and changed[ord("a")]  # what only rules with other characters begin with
    assert plain["usual"].plain[0x21:0x7F].all() and not plain["usual"].plain[[0x20, 0x7F, 0x80]].any()
