from pathlib import Path

import pytest

from spiritlm_pl.benchmarks.continuations.toxic import WordList, counter


@pytest.fixture
def words(tmp_path):
    def write(text):
        file = tmp_path / "words.txt"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return write


def counts(path, *texts):
    return [one.count for one in counter(path, None, None, 0.5, "cpu")(texts)]


def test_whole_words_are_counted_without_regard_to_case(words):
    path = words("bad\nDAMNED\n")
    assert counts(path, "Bad, bad badge!", "damned", "he is a baddie", "") == [2, 1, 0, 0]


def test_the_longest_phrase_counts_once(words):
    found_list = WordList.read(Path(words("very bad\nbad\nvery bad dog\n")))
    (found,) = found_list.count(["a very bad dog, very bad, bad"])
    assert (found.count, found.size, found.found) == (3, 7, "very bad dog; very bad; bad")


def test_other_scripts_and_joined_articles_are_found(words):
    path = words("idiot\n傻瓜\nдурак\nkurwa\n")
    assert counts(path, "C'est l'idiot!", "你是傻瓜。", "傻的瓜", "Дурак, дурак", "Kurwa!") == [1, 1, 0, 2, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have words, but .* has none"),
        ("bad\nf***\n", r"must have whole words alone, but .* has others: line 2 \(f\*\*\*\)"),
        ("bad\n!!!\n", r"line 2 \(!!!\)"),
    ],
)
def test_a_list_without_words_is_refused(words, text, message):
    with pytest.raises(ValueError, match=message):
        counts(words(text), "x")


def test_a_missing_list_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="word_list must be a file with a word or phrase a line, but is "):
        counts(str(tmp_path / "nowhere.txt"), "x")


def test_a_byte_order_mark_and_windows_lines_are_passed_over(tmp_path):
    file = tmp_path / "words.txt"
    file.write_bytes("\ufeffbad\r\nvery bad\r\n".encode())
    assert counts(str(file), "bad very bad") == [2]


@pytest.mark.parametrize(
    ("word_list", "classifier", "message"), [(None, None, "neither is given"), ("x", "y", "both are given")]
)
def test_exactly_one_way_is_given(word_list, classifier, message):
    with pytest.raises(ValueError, match=message):
        counter(word_list, classifier, None, 0.5, "cpu")


def test_a_label_is_no_matter_of_a_list(words):
    with pytest.raises(ValueError, match="label must be left out with word_list, but is 'toxic'"):
        counter(words("bad"), None, "toxic", 0.5, "cpu")


def test_a_classifier_needs_its_label(classifier):
    with pytest.raises(ValueError, match="label must be that of toxic texts, one of fine, toxic, but is not given"):
        counter(None, str(classifier), None, 0.5, "cpu")
    with pytest.raises(ValueError, match="lacks bad: it has fine, toxic"):
        counter(None, str(classifier), "bad", 0.5, "cpu")
    with pytest.raises(ValueError, match="threshold must be between 0 and 1, but is 50 instead"):
        counter(None, str(classifier), "toxic", 50, "cpu")


def test_a_classifier_decides_by_the_threshold_and_empty_texts_are_not_toxic(classifier):
    texts = ["the cat", "", "bad dog"]
    low, high = (counter(None, str(classifier), "toxic", edge, "cpu")(texts) for edge in (0.01, 0.99))
    assert [one.count for one in low] == [1, 0, 1]
    assert [one.count for one in high] == [0, 0, 0]
    assert [one.size for one in low] == [None] * 3
