"""Items after shots: every layout, draws by seed, and one clear message for what is missing."""

import json
import shutil

import pytest

from spiritlm_pl.benchmarks.few_shot.suites import ASR, INTENTS, TTS
from spiritlm_pl.benchmarks.identity import content_of
from spiritlm_pl.generation.types import Speech, Text


def texts_of(pieces):
    return [piece.text if isinstance(piece, Text) else piece.audio.name for piece in pieces]


def test_librispeech_as_it_is_downloaded(librispeech):
    found = ASR.read(librispeech, {"shots": 2, "shot_seeds": 2})
    assert found.layout == "LibriSpeech" and len(found.items) == 12 and not found.skipped
    first = found.items[0]
    assert first.id == "seed0/19-198-0001" and first.reference == "the cat sat" and first.output == "text"
    assert texts_of(first.prompt) == ["19-198-0001.flac"]
    assert first.labels == {"seed": 0, "item": "19-198-0001", "split": "test-clean"}
    draws = {item.labels["seed"]: [texts_of(shot) for shot in item.shots] for item in found.items}
    assert draws[0] != draws[1] and all(len(shots) == 2 for shots in draws.values())
    assert all(int(name[-6]) > 6 or name[-7] == "1" for shots in draws.values() for name, _ in shots)  # of training
    assert all(text.startswith("<START Transcript> ") and text.endswith(" <END>") for _, text in draws[0])
    again = ASR.read(librispeech / "LibriSpeech", {"shots": 2, "shot_seeds": 2})
    assert [content_of(item) for item in again.items] == [content_of(item) for item in found.items]


def test_a_part_of_the_items_is_the_same_after_each_draw(librispeech):
    found = ASR.read(librispeech, {"shots": 1, "items": 2, "split": "test-other"})
    by_seed = {}
    for item in found.items:
        by_seed.setdefault(item.labels["seed"], []).append(item.labels["item"])
    assert len(by_seed) == 3 and len({tuple(names) for names in by_seed.values()}) == 1 and len(by_seed[0]) == 2


def test_short_shots_are_drawn_where_they_are_asked_for(librispeech):
    found = ASR.read(librispeech, {"shots": 2, "shot_seeds": 3, "shot_seconds": 0.46})
    names = {texts_of(shot)[0] for item in found.items for shot in item.shots}
    assert names == {"19-198-0007.flac", "19-198-0008.flac"}
    with pytest.raises(ValueError, match="at most the 2 examples of at most 0.46 s of train-clean-100, but are 3"):
        ASR.read(librispeech, {"shots": 3, "shot_seconds": 0.46})


def test_shots_from_the_split_that_is_asked_are_not_asked(librispeech):
    found = ASR.read(librispeech, {"shots": 1, "shot_seeds": 1, "split": ["test-clean"], "shots_split": "test-clean"})
    (shot,) = {texts_of(shot)[0] for item in found.items for shot in item.shots}
    assert len(found.items) == 2 and all(shot not in texts_of(item.prompt) for item in found.items)
    assert any("test-clean is asked, too" in note for note in found.notes)


def test_no_shots_are_one_draw(librispeech):
    found = ASR.read(librispeech, {"shots": 0})
    assert len(found.items) == 6 and all(item.shots == () for item in found.items)


def test_faults_of_librispeech_are_skipped_with_reasons(librispeech):
    chapter = librispeech / "LibriSpeech/test-clean/19/198"
    (chapter / "19-198-0001.flac").unlink()
    (chapter / "extra.flac").write_bytes(b"")
    with (chapter / "19-198.trans.txt").open("a") as stream:
        stream.write("19-198-0099\n19-198-0002 THE CAT\n")
    found = ASR.read(librispeech, {"shots": 1, "shot_seeds": 1, "split": "test-clean"})
    assert [item.labels["item"] for item in found.items] == ["19-198-0002", "19-198-0003"]
    reasons = "\n".join(one.reason for one in found.skipped)
    assert "must hold 19-198-0001.flac" in reasons and "must have a transcript" in reasons
    assert "19-198-0002 came before" in reasons and len(found.skipped) == 3
    assert any("1 recordings of test-clean have no transcript: extra" in note for note in found.notes)


def test_a_corpus_of_ours_whole_and_cut(tone_corpus, tmp_path):
    found = ASR.read(tone_corpus, {"shots": 2, "cache": str(tmp_path / "cache")})
    assert found.layout == "corpus" and len(found.items) == 6 and not (tmp_path / "cache").exists()
    item = found.items[0]
    assert item.reference.startswith("w") and item.language == "en"


def test_a_cut_of_a_recording_is_written_once(tmp_path, make_corpus):
    from spiritlm_pl.corpora.audio import load_waveform
    from spiritlm_pl.corpora.manifest import load_cuts, write_cuts

    folder, cache = make_corpus(tmp_path / "corpus"), tmp_path / "cache"
    cuts = [cut.truncate(offset=0.1, duration=0.5, preserve_id=True) for cut in load_cuts(folder, "test")]
    write_cuts(folder, "test", cuts)
    for _ in range(2):
        found = ASR.read(folder, {"shots": 1, "shot_seeds": 1, "cache": str(cache)})
        files = [item.prompt[0].audio for item in found.items]
        assert len(files) == 2 == len(list(cache.iterdir()))
        assert all(len(load_waveform(file)) == 8000 for file in files)
    before = [content_of(item) for item in found.items]
    shutil.rmtree(cache)
    again = ASR.read(folder, {"shots": 1, "shot_seeds": 1, "cache": str(cache)})
    assert [content_of(item) for item in again.items] == before  # so that lines of results stay of use


def test_synthesis_speaks_the_stop_word_after_each_shot(librispeech):
    own = librispeech / "LibriSpeech/test-clean/19/198/19-198-0001.flac"
    found = TTS.read(librispeech, {"shots": 2, "shot_seeds": 1, "stop_audio": str(own)})
    item = found.items[0]
    assert texts_of(item.prompt) == ["the cat sat 'stop'"] and item.output == "speech"
    text, audio, stop = texts_of(item.shots[0])
    assert text.endswith(" 'stop'") and audio.startswith("19-198-00") and stop == own.name
    assert item.recording.name == "19-198-0001.flac" and len(item.texts.texts) == 6
    assert any("pocketsphinx" in note for note in found.notes) and any(str(own) in note for note in found.notes)
    quiet = TTS.read(librispeech, {"shots": 1, "stop_audio": str(own), "whisper": "somewhere"})
    assert not any("pocketsphinx" in note for note in quiet.notes)


def test_espeak_says_the_stop_word_once(librispeech, tmp_path):
    cache = tmp_path / "cache"
    options = {"shots": 1, "shot_seeds": 1, "cache": str(cache)}
    found = TTS.read(librispeech, options)
    (file,) = cache.iterdir()
    before = content_of(found.items[0])
    file.unlink()
    assert content_of(TTS.read(librispeech, options).items[0]) == before
    assert found.items[0].shots[0][2].audio == file and file.stat().st_size > 8000
    with pytest.raises(ValueError, match="^stop_voice must be of eSpeak NG, such as .*, but one is 'xx-none'"):
        TTS.read(librispeech, {"shots": 1, "stop_voice": "xx-none", "cache": str(cache)})
    with pytest.raises(FileNotFoundError, match="stop_audio must be a recording of 'stop'"):
        TTS.read(librispeech, {"shots": 1, "stop_audio": "none.wav"})


def test_fluent_speech_commands(fluent):
    found = INTENTS.read(fluent, {"shots": 4})
    assert found.layout == "Fluent Speech Commands" and len(found.items) == 18
    item = found.items[1]
    assert item.reference == "activate lights kitchen" and item.labels["num_labels"] == 3
    assert texts_of(item.shots[0])[1].startswith("A:") and isinstance(item.prompt[0], Speech)
    for drawn in INTENTS.read(fluent, {"shots": 3, "balanced": True}).items:
        assert len({texts_of(shot)[1] for shot in drawn.shots}) == 3 and drawn.labels["label_in_shots"] == 1


def test_faults_of_fluent_speech_commands(fluent):
    path = fluent / "fluent_speech_commands_dataset/data/test_data.csv"
    path.write_text(path.read_text() + '9,none.wav,s,w,a,b,c\n10,x.wav,s,w,,b,c\n11,"x.wav,s\n')
    (path.parent.parent / "wavs/speakers/s1/train0.wav").unlink()
    found = INTENTS.read(fluent, {"shots": 2, "shot_seeds": 1})
    assert len(found.items) == 6 and len(found.skipped) == 3
    assert any("1 examples of train cannot be shots" in note for note in found.notes)
    path.write_text("path,label\n")
    with pytest.raises(ValueError, match="must have columns path, transcription, action, object, location, but lacks"):
        INTENTS.read(fluent, {"shots": 2})


@pytest.mark.parametrize("microphone, count", [("near", 2), ("far", 2), ("all", 4)])
def test_slurp(slurp, microphone, count):
    found = INTENTS.read(slurp, {"shots": 2, "shot_seeds": 1, "microphone": microphone})
    assert found.layout == "SLURP" and len(found.items) == count and found.items[0].reference == "alarm_0"
    names = [texts_of(item.prompt)[0] for item in found.items]
    assert sum("-headset" in name for name in names) == {"near": 2, "far": 0, "all": 2}[microphone]


def test_faults_of_slurp(slurp):
    path = slurp / "dataset/slurp/test.jsonl"
    rows = [{"intent": 5, "recordings": []}, {"intent": "a", "recordings": [{"file": "none.flac"}]}, {"sentence": "x"}]
    path.write_text(path.read_text() + "".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    found = INTENTS.read(slurp / "dataset/slurp", {"shots": 2, "shot_seeds": 1})
    assert len(found.items) == 2 and len(found.skipped) == 4
    with pytest.raises(ValueError, match="microphone must be one of near, far, all, but is 'hat'"):
        INTENTS.read(slurp, {"microphone": "hat"})
    (slurp / "slurp_real").rename(slurp / "other")
    with pytest.raises(FileNotFoundError, match="must have its recordings in slurp_real/"):
        INTENTS.read(slurp, {"shots": 2})


def test_a_table_of_labels_or_texts(table):
    labels = INTENTS.read(table, {"shots": 2, "shot_seeds": 1})
    assert labels.layout == "table" and [item.reference for item in labels.items][0] == "label 0"
    texts = ASR.read(table, {"shots": 2, "shot_seeds": 1})
    assert [item.reference for item in texts.items] == [f"the cat {n}" for n in (1, 3, 5, 7)]
    with (table / "data.tsv").open("a") as stream:
        stream.write("none.wav\ttest\tx\ty\n1.wav\ttest\t\ty\n")
    assert len(INTENTS.read(table, {"shots": 2}).skipped) == 2
    (table / "more.csv").write_text("path,split,label\n")
    with pytest.raises(ValueError, match="must hold one table with path, label, split, but holds data.tsv, more.csv"):
        INTENTS.read(table, {"shots": 2})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"shots": 7}, "shots must be at most the 6 examples of train-clean-100, but are 7"),
        ({"shots": -1}, "shots must be a whole number from 0"),
        ({"shots": "ten"}, "shots must be a whole number from 0, but is 'ten'"),
        ({"shot_seeds": 0}, "shot_seeds must be a whole number from 1"),
        ({"items": 0}, "items must be a whole number from 1"),
        ({"split": "dev-clean"}, "split must be among test-clean, test-other, train-clean-100, but is 'dev-clean'"),
        ({"split": 5}, "split must be a name, or a list of names"),
        ({"shots_split": "dev"}, "shots_split must be among"),
        ({"shots_split": ["a"]}, "shots_split must be a text"),
        ({"shot_seconds": "long"}, "shot_seconds must be above 0"),
        ({"template": "none.yaml"}, "template must be a YAML file"),
        ({"microphone": "near"}, "options must be among split"),
    ],
)
def test_wrong_options(librispeech, options, message):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        ASR.read(librispeech, options)
    assert message in str(error.value)


def test_folders_that_are_none_of_the_layouts(tmp_path, librispeech):
    for benchmark, message in ((ASR, "must be LibriSpeech"), (INTENTS, "must be Fluent Speech Commands")):
        with pytest.raises(ValueError, match=message):
            benchmark.read(tmp_path / "LibriSpeech/test-clean", {})
        with pytest.raises(FileNotFoundError, match="a benchmark must be a folder"):
            benchmark.read(tmp_path / "none", {})
    (librispeech / "LibriSpeech/train-clean-100").rename(librispeech / "elsewhere")
    with pytest.raises(ValueError, match="shots_split must be given, as LibriSpeech has no training split"):
        ASR.read(librispeech, {})


def test_a_template_that_asks_for_what_the_data_lacks(table, tmp_path):
    (table / "data.tsv").write_text((table / "data.tsv").read_text().replace("the cat 3", ""))
    (tmp_path / "own.yaml").write_text('shot: "[Text]{text} A:{label}"\nquery: "[Text]{text} A:"\n')
    with pytest.raises(ValueError, match="must have a text, which the template asks for, but there is none for 3.wav"):
        INTENTS.read(table, {"shots": 2, "template": str(tmp_path / "own.yaml")})
