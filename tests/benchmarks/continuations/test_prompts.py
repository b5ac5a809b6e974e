import json

import pytest
import soundfile
import torch

from spiritlm_pl.benchmarks.continuations.prompts import (
    original,
    read_beginnings,
    read_spoken_prompts,
    read_text_beginnings,
    read_written_prompts,
)
from spiritlm_pl.benchmarks.identity import content_of
from spiritlm_pl.corpora.audio import save_wav


def texts(reading):
    return [item.prompt[0].text for item in reading.items]


def test_the_first_seconds_of_right_stories_are_prompts(stories, tmp_path):
    found = read_beginnings(stories, prompt_seconds=0.25, cache=tmp_path / "cache")
    assert found.layout == "StoryCloze, flat"
    assert len(found.items) == 11
    assert [one.reason for one in found.skipped] == [
        "11 cannot be a prompt: it lasts 0.12 s, which leaves nothing after a prompt of 0.25 s"
    ]
    item = found.items[3]
    assert soundfile.info(item.prompt[0].audio).frames == 4000
    whole, after = original(item)
    expected, _ = soundfile.read(stories / "006_03_correct.wav", dtype="float32")
    torch.testing.assert_close(whole, torch.from_numpy(expected))
    assert torch.equal(after, whole[4000:])


def test_prompts_that_are_cut_again_are_the_same_items(stories, tmp_path):
    first, second = (read_beginnings(stories, 0.25, cache=tmp_path / str(place)) for place in (1, 2))
    assert [*map(content_of, first.items)] == [*map(content_of, second.items)]


def test_the_first_ones_are_taken_and_the_rest_is_told(stories, tmp_path):
    found = read_beginnings(stories, prompt_seconds=0.25, first=4, cache=tmp_path)
    assert [item.labels["story"] for item in found.items] == ["00", "01", "02", "03"]
    assert found.notes == ["the first 4 of 12 utterances are taken"]
    assert len(read_beginnings(stories, prompt_seconds=0.25, first=None, cache=tmp_path).items) == 11


def test_beginnings_that_lie_apart_go_on_with_their_ending(tmp_path):
    for part, samples in (("mutual", 8000), ("correct", 4000), ("incorrect", 4000)):
        save_wav(tmp_path / "in" / f"a_{part}.wav", 0.1 * torch.randn(samples))
    (item,) = read_beginnings(tmp_path / "in", prompt_seconds=0.4, cache=tmp_path / "cache").items
    whole, after = original(item)
    assert (len(whole), len(after)) == (12_000, 12_000 - 6400)
    with pytest.raises(ValueError, match=r"its beginning is shorter than a prompt of 0.6 s"):
        read_beginnings(tmp_path / "in", prompt_seconds=0.6, cache=tmp_path / "cache")


def test_utterances_of_a_corpus_are_cut_at_their_place(tone_corpus, tmp_path):
    found = read_beginnings(tone_corpus, prompt_seconds=0.3, cache=tmp_path)
    assert found.layout == "corpus, test"
    assert {item.labels["voice"] for item in found.items} == {"speaker0", "speaker1"}
    whole, after = original(found.items[0])
    assert len(whole) - len(after) == 4800


def test_any_folder_of_recordings_will_do(stories, tmp_path):
    for file in stories.glob("*correct.*"):
        file.rename(file.with_name(file.name.replace("_correct", "").replace("_incorrect", "-")))
    found = read_spoken_prompts(stories, cache=tmp_path)
    assert (found.layout, len(found.items)) == ("recordings", 24)
    assert found.items[0].prompt[0].audio.parent == stories  # not copied
    cut = read_spoken_prompts(stories, prompt_seconds=0.5, cache=tmp_path)
    assert soundfile.info(cut.items[0].prompt[0].audio).frames == 8000


def test_the_first_words_of_texts_are_prompts(stories):
    found = read_text_beginnings(stories, prompt_words=4)
    assert texts(found)[:2] == ["The cat the. A", "The cat cat. A"]
    assert found.items[0].reference == "dog sat on the mat off."
    assert found.skipped[0].reason == "11 cannot be a prompt: it has 2 words, which leaves nothing after 4 words"


def test_texts_come_from_lines_and_tables(tmp_path):
    (tmp_path / "lines.txt").write_text("one two\n\nthree four\n")
    assert texts(read_written_prompts(tmp_path)) == ["one two", "three four"]
    (tmp_path / "rows.csv").write_text('Text,axis\n"a, b",age\nc,body\n,empty\n')
    found = read_written_prompts(tmp_path)
    assert (texts(found), [item.labels for item in found.items]) == (["a, b", "c"], [{"axis": "age"}, {"axis": "body"}])
    assert found.skipped[0].reason.endswith("rows.csv cannot be used: its text is empty")
    rows = [{"prompt": "x y", "n": 1, "deep": [1]}, {"n": 2}, [1], {"prompt": "z"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    found = read_written_prompts(tmp_path / "rows.jsonl")
    assert (texts(found), found.items[0].labels, len(found.skipped)) == (["x y", "z"], {"n": 1}, 3)
    assert texts(read_written_prompts(tmp_path / "rows.csv", column="axis")) == ["age", "body", "empty"]


@pytest.mark.parametrize(
    ("read", "options", "message"),
    [
        (read_beginnings, {"prompt_seconds": 0}, "prompt_seconds must be above 0, but is 0 instead"),
        (read_spoken_prompts, {"prompt_seconds": -1}, "prompt_seconds must be above 0, but is -1 instead"),
        (read_text_beginnings, {"prompt_words": 0}, "prompt_words must be at least 1, but is 0 instead"),
        (read_beginnings, {"first": 0}, "first must be at least 1, or null for all, but is 0 instead"),
        (read_beginnings, {"prompt_seconds": 9}, "holds none: 00 cannot be a prompt: it lasts 1.00 s"),
    ],
)
def test_options_out_of_range_are_refused(stories, tmp_path, read, options, message):
    with pytest.raises(ValueError, match=message):
        read(stories, cache=tmp_path, **options)


def test_folders_of_something_else_are_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"must hold recordings \(\*.wav"):
        read_spoken_prompts(tmp_path)
    with pytest.raises(ValueError, match=r"must hold texts \(\*.jsonl"):
        read_written_prompts(tmp_path)
    with pytest.raises(ValueError, match=r"spoken prompts must lie in a folder, but .*x.bin is a file"):
        read_spoken_prompts(tmp_path / "x.bin")
    with pytest.raises(FileNotFoundError):
        read_written_prompts(tmp_path / "nowhere")


def test_a_table_without_a_column_of_texts_names_those_it_has(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="must have a column prompt or text or sentence .* but has a, b"):
        read_written_prompts(tmp_path)
    with pytest.raises(ValueError, match="must have a column c .* but has a, b"):
        read_written_prompts(tmp_path, column="c")
