"""Layouts are found, rows become prompts with shots, and what cannot be read is named."""

import json
import os
import shutil
from collections import Counter

import pytest
import torch

from spiritlm_pl.benchmarks.identity import content_of
from spiritlm_pl.benchmarks.make.kinds import make_benchmark
from spiritlm_pl.benchmarks.stsp.suites import (
    STSP,
    STSP_FEW_SHOT,
    STSP_SPEECH_TO_TEXT,
    STSP_TEXT,
    STSP_TEXT_FEW_SHOT,
    STSP_TEXT_TO_SPEECH,
)
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import Word, make_cut, save_corpus
from spiritlm_pl.generation.types import Speech, Text

ALL = {"negative": 6, "neutral": 6, "positive": 6}


def test_the_archive_is_found_in_folders_around_it(archive) -> None:
    for folder in (archive, archive.parent, archive.parent.parent):
        reading = STSP_TEXT.read(folder, {})
        assert reading.layout == "STSP" and len(reading.items) == 18 and not reading.skipped
        assert Counter(item.reference for item in reading.items) == ALL
    item = reading.items[0]
    assert item.id == "emov/-7600" and item.labels["own_id"] == -7600 and item.output == "text"
    assert item.prompt == (Text("I love this kite so much"),) and item.reference == "positive" and not item.shots
    assert "negative, neutral, positive apart" in reading.notes[-1]


def test_directions(archive) -> None:
    spoken = STSP.read(archive, {}).items[0]
    assert isinstance(spoken.prompt[0], Speech) and spoken.output == "speech"
    assert spoken.original == spoken.prompt[0].audio and spoken.original.is_file()
    assert spoken.judge.folder == archive / "model/speech_classifier"
    written = STSP_TEXT_TO_SPEECH.read(archive, {}).items[0]
    assert isinstance(written.prompt[0], Text) and written.original == spoken.original
    read = STSP_SPEECH_TO_TEXT.read(archive, {}).items[0]
    assert isinstance(read.prompt[0], Speech) and read.original == "I love this kite so much"


def test_manifests_and_splits(archive) -> None:
    assert len(STSP_TEXT.read(archive, {"manifests": ["emov"], "split": "dev"}).items) == 3
    for options, message in (
        ({"manifests": ["expresso_asr"]}, r"for expresso_asr, but has emov, expresso_read"),
        ({"split": "validation"}, "split must be one of train, dev, test"),
        ({"shots": 4}, "multiple of 3"),
        ({"shots": 12}, "shots must be 4 of each label"),
        ({"shots": -3}, "shots must be a number such as 0, 3, 6 or 9"),
        ({"shots": "3"}, "shots must be a number"),
        ({"label": "mood"}, "label must be sentiment or emotion"),
        ({"label": "emotion"}, "none of its classes negative, neutral, positive is amused, angry"),
        ({"unknown": 1}, "options must be among"),
    ):
        with pytest.raises(ValueError, match=message):
            STSP_TEXT.read(archive, options)


def test_emotions_as_they_are(archive) -> None:
    labels = {"positive": "amused", "negative": "angry"}
    reading = STSP_TEXT.read(archive, {"label": "emotion", "labels": labels})
    assert {item.reference for item in reading.items} == {"amused", "angry", "neutral"}


def test_shots_are_balanced_and_drawn_for_each_prompt(archive) -> None:
    texts = {}
    for number in (3, 6, 9):
        items = STSP_TEXT.read(archive, {"shots": number}).items
        for item in items:
            sentiments = Counter(next(w for w in ("love", "Sorry", "door") if w in s[0].text) for s in item.shots)
            assert set(sentiments.values()) == {number // 3} and len(item.shots) == number
            assert all(shot[0].text.endswith("\n") for shot in item.shots)
        texts[number] = [tuple(shot[0].text for shot in item.shots) for item in items]
        assert len(set(texts[number])) > 5
    again = STSP_TEXT.read(archive, {"shots": 6}).items
    assert [tuple(shot[0].text for shot in item.shots) for item in again] == texts[6]
    other = STSP_TEXT.read(archive, {"shots": 6, "shot_seed": 1}).items
    assert [tuple(shot[0].text for shot in item.shots) for item in other] != texts[6]
    spoken = STSP_FEW_SHOT.read(archive, {}).items[0].shots
    assert len(spoken) == 9 and all(isinstance(piece, Speech) for shot in spoken for piece in shot)


def test_broken_rows_are_skipped_and_counted(own_archive) -> None:
    file = own_archive / "manifest/emov/emov.test.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    (own_archive / "data" / rows[0]["wav_path"]).unlink()
    rows[1]["sentiment"] = "bored"
    del rows[2]["asr"]
    del rows[3]["id"]
    file.write_text("\n".join([*map(json.dumps, rows), "{broken", "[1]"]))
    spoken = STSP.read(own_archive, {})
    assert len(spoken.items) == 15
    reasons = " | ".join(one.reason for one in spoken.skipped)
    for told in ("is missing", "'bored'", "id must be", "line 10 of emov.test.jsonl", "a JSON object, but is [1]"):
        assert told in reasons
    written = STSP_TEXT.read(own_archive, {})
    assert len(written.items) == 15 and any("it has no text" in one.reason for one in written.skipped)
    crossed = STSP_TEXT_TO_SPEECH.read(own_archive, {})
    assert any(note.startswith("1 prompts have no original") for note in crossed.notes)


def test_missing_parts_are_named(own_archive, tmp_path) -> None:
    shutil.rmtree(own_archive / "model/text_classifier")
    with pytest.raises(ValueError, match="text_judge must be given, as .*text_classifier is not there"):
        STSP_TEXT.read(own_archive, {})
    assert STSP.read(own_archive, {}).items
    (own_archive / "data/few_shot/0_first.wav").unlink()
    with pytest.raises(ValueError, match="shots must be 3 of each label, but .* has 2 positive alone"):
        STSP_FEW_SHOT.read(own_archive, {})
    assert any("0_first.wav" in note for note in STSP_FEW_SHOT.read(own_archive, {"shots": 6}).notes)
    shutil.rmtree(own_archive / "manifest/few_shot")
    with pytest.raises(ValueError, match="shots must be 0, as .*s2s.jsonl is not there"):
        STSP_FEW_SHOT.read(own_archive, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="must be STSP's archive with manifest/"):
        STSP.read(tmp_path / "empty", {})


def test_the_miniature_has_the_published_layout(archive, tmp_path) -> None:
    make_benchmark("stsp", tmp_path, count=24, voices=("en-us",), num_jobs=1, speed=300)
    judges = {"speech_judge": archive / "model/speech_classifier", "text_judge": archive / "model/text_classifier"}
    for benchmark in (STSP, STSP_TEXT, STSP_TEXT_TO_SPEECH, STSP_SPEECH_TO_TEXT):
        reading = benchmark.read(tmp_path, judges | {"shots": 9})
        assert not reading.skipped and {item.reference for item in reading.items} == set(ALL)
    with pytest.raises(ValueError, match="speech_classifier is not there"):
        STSP.read(tmp_path, {})


def make_styled_corpus(folder, seed=0):
    cuts = {"train": [], "test": []}
    for split, count in (("train", 6), ("test", 4)):
        for number in range(count):
            style = ("happy", "sad", "default", "whisper")[number % 4 if split == "test" else number % 3]
            path = folder / "audio" / f"{split}{number}.wav"
            samples = save_wav(path, 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(seed + number)))
            words = [
                Word(word, 0.2 * place, 0.2 * place + 0.2) for place, word in enumerate("the cat sat here".split())
            ]
            cuts[split].append(
                make_cut(
                    f"{split}-{number}",
                    path,
                    sample_rate=16_000,
                    num_samples=samples,
                    text="the cat sat here",
                    speaker="ann",
                    words=words,
                    custom={"style": style},
                )
            )
    save_corpus(folder, cuts, name="styled", source="test", licence="none")
    return folder


def test_a_corpus_with_styles(archive, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spiritlm_pl.benchmarks.stsp.reader.CACHE", tmp_path / "cache")
    corpus = make_styled_corpus(tmp_path / "styled")
    judges = {"speech_judge": archive / "model/speech_classifier", "text_judge": archive / "model/text_classifier"}
    reading = STSP.read(corpus, judges | {"shots": 6})
    assert reading.layout == "corpus"
    assert {item.id: item.reference for item in reading.items} == {
        "test-0": "positive",
        "test-1": "negative",
        "test-2": "neutral",
    }
    assert [one.reason for one in reading.skipped] == ["sentiment must have a label, but is 'whisper'"]
    halves = [piece.audio for piece in reading.items[0].shots[0]]
    assert [round(path.stat().st_size, -3) for path in halves] == [13_000, 19_000]  # cut at 0.4 s of 1 s
    written = STSP_TEXT_FEW_SHOT.read(corpus, judges | {"shots": 3}).items[0]
    assert written.shots[0][0].text == "the cat sat here\n" and written.labels["corpus"] == "styled"
    with pytest.raises(ValueError, match="this layout brings none"):
        STSP.read(corpus, {})
    with pytest.raises(ValueError, match="manifests are of the published archive"):
        STSP.read(corpus, judges | {"manifests": ["emov"]})
    with pytest.raises(ValueError, match="in split dev .* but has no utterances"):
        STSP.read(corpus, judges | {"split": "dev"})


def test_parts_of_recordings_are_those_of_their_corpus(archive, tmp_path, monkeypatch) -> None:
    """Copies of archives often have times in whole seconds, and equal sizes."""
    monkeypatch.setattr("spiritlm_pl.benchmarks.stsp.reader.CACHE", tmp_path / "cache")
    heard, contents = [], []
    options = {"speech_judge": archive / "model/speech_classifier", "shots": 3}
    for name, seed in (("one", 0), ("two", 50), ("one", 0)):
        corpus = tmp_path / name
        if not corpus.exists():
            make_styled_corpus(corpus, seed)
            for path in corpus.glob("audio/*.wav"):
                os.utime(path, (1_000_000_000, 1_000_000_000))
        elif name == "one":
            shutil.rmtree(tmp_path / "cache")
        item = STSP.read(corpus, options).items[0]
        heard.append(item.shots[0][0].audio.read_bytes())
        contents.append(content_of(item))
    assert heard[0] != heard[1]
    assert contents[0] == contents[2] != contents[1]  # the same whenever parts are written


def test_a_corpus_without_styles(tone_corpus, archive) -> None:
    with pytest.raises(ValueError, match="with a style, an emotion or a sentiment that has a label, but has no name"):
        STSP.read(tone_corpus, {"speech_judge": archive / "model/speech_classifier"})
