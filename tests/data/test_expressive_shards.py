"""Shards with pitch and style: kept, cut at words without loss, and refused where they do not belong."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritlm_pl.cli.main import run
from spiritlm_pl.data.blocks import open_block, read_manifest
from spiritlm_pl.data.build_blocks import build_blocks
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.frames import at_frames
from spiritlm_pl.data.merge import run_starts
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.utterances import speech_of, speech_of_words
from spiritlm_pl.streams import PITCH, STYLE, UNIT, SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary

BASE = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0)
EXPRESSIVE = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0, num_pitches=5, num_styles=4)
VOCABULARY = Vocabulary.spirit_lm(num_text=10, num_units=7, num_pitches=5, num_styles=4, multiple_of=8)


def utterance(
    name: str, frames: list[int], words: list[tuple[str, float, float]], expressive: bool = True
) -> UnitUtterance:
    units = np.array(frames, dtype=np.uint16)
    starts = run_starts(units)
    rng = np.random.default_rng(len(frames))
    seconds = len(frames) / 25
    codes = {
        PITCH: rng.integers(0, 5, max(1, int(seconds * 12.5))).astype(np.uint16),
        STYLE: rng.integers(0, 4, max(1, int(np.ceil(seconds)))).astype(np.uint16),
    }
    return UnitUtterance(
        id=name,
        text=" ".join(word for word, *_ in words),
        duration=seconds,
        words=tuple(TimedWord(*word) for word in words),
        units=units[starts],
        unit_starts=starts.astype(np.uint32),
        num_frames=len(frames),
        codes=codes if expressive else {},
    )


def write(folder: Path, *utterances: UnitUtterance, layout: SpeechLayout = EXPRESSIVE) -> Path:
    write_part(folder / "train", 0, utterances, "x")
    finish_folder(folder / "train", ["x"], layout=layout, provenance={})
    return folder


SAID = [("a", 0.2, 0.5), ("cat", 0.5, 1.1), ("ran", 1.3, 2.4)]


def test_codes_are_kept_and_base_shards_have_none(tmp_path: Path) -> None:
    said = utterance("x", [1, 1, 2, 3] * 15, SAID)
    corpus = UnitCorpus(write(tmp_path / "new", said))
    assert corpus.layout == EXPRESSIVE and "kinds" not in corpus.manifest
    assert all(corpus[0].codes[name].tolist() == said.codes[name].tolist() for name in (PITCH, STYLE))
    assert list(corpus[0].codes) == [PITCH, STYLE]
    old = UnitCorpus(write(tmp_path / "old", utterance("y", [1, 2], [], expressive=False), layout=BASE))
    assert old[0].codes == {} and not old.layout.expressive
    older = dict(old.manifest)
    for name in ("num_pitches", "num_styles"):
        del older[name]
    old.manifest = older  # as it was written before there was Expressive
    assert old.layout == BASE


def test_codes_at_frames_are_repeated_and_held() -> None:
    codes = np.array([3, 1, 2], dtype=np.uint16)
    assert at_frames(codes, 12.5, 25.0, 8).tolist() == [3, 3, 1, 1, 2, 2, 2, 2]
    assert at_frames(codes, 12.5, 25.0, 3).tolist() == [3, 3, 1]
    assert at_frames(codes, 12.5, 40.0, 9).tolist() == [3, 3, 3, 3, 1, 1, 1, 2, 2]  # at 0, 80 and 160 ms


@given(st.lists(st.integers(0, 6), min_size=1, max_size=120), st.lists(st.floats(0, 6), min_size=1, max_size=12))
def test_words_share_out_every_token_by_its_time(frames: list[int], times: list[float]) -> None:
    starts = sorted(times)
    said = utterance("x", frames, [("a", start, start) for start in starts])
    parts = speech_of_words(said, EXPRESSIVE, VOCABULARY)
    stream = speech_of(said, EXPRESSIVE, VOCABULARY)
    assert len(parts) == len(starts)
    assert np.concatenate(parts).tolist() == stream.ids(VOCABULARY).tolist()  # nothing lost, doubled or moved
    word = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    for number, time in zip(word, stream.starts, strict=True):
        begun = [index for index, start in enumerate(starts) if start <= time + 1e-6]
        assert number == (begun[-1] if begun else 0)
    pitches = said.codes[PITCH]
    for name, codes in ((STYLE, said.codes[STYLE]), (PITCH, pitches[run_starts(pitches)])):
        place = VOCABULARY.layout.names.index(name)
        assert stream.values[stream.streams == place].tolist() == codes.tolist()


def test_units_of_words_are_those_of_base() -> None:
    words = [(f"w{index}", index / 4, index / 4 + 0.2) for index in range(2400)]  # 10 minutes
    said = utterance("x", list(np.random.default_rng(0).integers(0, 7, 15_000)), words)
    with_codes = speech_of_words(said, EXPRESSIVE, VOCABULARY)
    base = speech_of_words(said, EXPRESSIVE, Vocabulary.spirit_lm(num_text=10, num_units=7))
    units = [[i for i in part.tolist() if i < VOCABULARY.bounds(PITCH)[0]] for part in with_codes]
    assert units == [part.tolist() for part in base]


def test_blocks_of_all_kinds_or_of_units_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    units = write(tmp_path / "units", utterance("x", [1, 1, 2, 3] * 15, SAID), utterance("y", [4, 5] * 30, SAID))
    run(["train-text-tokenizer", str(tmp_path / "text"), "--units", f"[{units}]"])
    build = ["build-blocks", f"[{units}]", str(tmp_path / "text"), "--multiple_of=8", "--splits=[train]"]
    run([*build, str(tmp_path / "all")])
    manifest = read_manifest(tmp_path / "all" / "train" / "aligned")
    assert (manifest.vocabulary.size(PITCH), manifest.vocabulary.size(STYLE)) == (5, 4)
    tokens = open_block(tmp_path / "all" / "train" / "speech", read_manifest(tmp_path / "all/train/speech").blocks[0])
    labels = {manifest.vocabulary.label(int(token)) for token in tokens.tokens}
    assert labels == {UNIT, PITCH, STYLE}
    run([*build, str(tmp_path / "base"), "--expressive=false"])
    assert not read_manifest(tmp_path / "base" / "train" / "aligned").vocabulary.expressive


def test_base_shards_are_no_expressive_ones(tmp_path: Path) -> None:
    base = write(tmp_path / "base", utterance("x", [1, 2, 3], SAID, expressive=False), layout=BASE)
    full = write(tmp_path / "full", utterance("y", [1, 2, 3], SAID))
    run(["train-text-tokenizer", str(tmp_path / "text"), "--units", f"[{base}]"])
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match="where expressive is true, but have units alone"):
        build_blocks([str(base)], str(tmp_path / "text"), out, splits=("train",), expressive=True)
    with pytest.raises(ValueError, match="units must come from one tokenizer"):
        build_blocks([str(base), str(full)], str(tmp_path / "text"), out, splits=("train",))
    with pytest.raises(ValueError, match="must have pitch and style codes for a vocabulary with 5 pitches"):
        speech_of(UnitCorpus(base)[0], BASE, VOCABULARY)
