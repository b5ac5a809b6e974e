import pytest

from spiritlm_pl.benchmarks.continuations.words import auto_bleu, joined, repeated_share, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP, now!", ["don't", "stop", "now"]),
        ("  ", []),
        ("...", []),
        ("Straße, Żółw", ["strasse", "żółw"]),
        ("我爱你。OK?", ["我", "爱", "你", "ok"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
    ],
)
def test_words_have_neither_case_nor_punctuation(text, words):
    assert words_of(text) == words


def test_parts_are_joined_as_the_language_writes():
    assert joined([" the cat ", "", "sat."]) == "the cat sat."
    assert joined(["我爱", "你"], "zh") == "我爱你"


@pytest.mark.parametrize(
    ("text", "size", "share"),
    [
        ("a b c d", 1, 0),
        ("a b a c", 1, 2 / 4),
        ("a b a b", 2, 2 / 3),  # ab, ba, ab
        ("a a a a", 2, 1),
        ("a", 2, None),
        ("", 1, None),
    ],
)
def test_repeated_share_counts_each_occurrence_of_what_occurs_twice(text, size, share):
    found = repeated_share(text.split(), size)
    assert found is None if share is None else found == pytest.approx(share)


def test_auto_bleu_is_the_geometric_mean():
    assert auto_bleu("a b a b".split()) == pytest.approx((1 * 2 / 3) ** 0.5)
    assert auto_bleu("a b a c".split()) == 0
    assert auto_bleu("a".split()) is None


def test_one_word_said_all_the_time_is_the_worst():
    assert auto_bleu(["no"] * 9) == 1
