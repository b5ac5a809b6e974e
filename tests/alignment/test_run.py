import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import pytest
import torch

from spiritlm_pl.alignment import ctc
from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.alignment.ctc_network import CTCNetwork
from spiritlm_pl.alignment.files import CTMAligner, TextGridAligner
from spiritlm_pl.alignment.outcomes import Outcome, OutcomeFile
from spiritlm_pl.alignment.run import align_corpus
from spiritlm_pl.cli.align import align
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import SPLITS, Word, load_cuts, make_cut, save_corpus, word_alignment
from spiritlm_pl.corpora.word_times import AlignedWord


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two utterances of half a second with times."""
    return make_corpus(tmp_path / "corpus", {"one": "oh yes", "two": "oh no"})


def make_corpus(folder: Path, texts: dict[str, str], language: str = "en") -> Path:
    cuts = []
    for name, text in texts.items():
        path = folder / "audio" / f"{name}.wav"
        samples = save_wav(path, 0.1 * torch.randn(8_000, generator=torch.Generator().manual_seed(0)))
        words = [Word(word, i / 10, (i + 1) / 10) for i, word in enumerate(text.split())]
        cut = make_cut(
            name, path, sample_rate=16_000, num_samples=samples, text=text, speaker="x", language=language, words=words
        )
        cuts.append(cut)
    save_corpus(folder, {"train": cuts}, name="n", source="s", licence="l")
    return folder


def write_ctm(corpus: Path, where: Callable[[str], float | None]) -> CTMAligner:
    """A CTM of the times in a corpus, those of each cut moved by `where` (seconds), or left out."""
    lines = []
    for split in SPLITS:
        for cut in load_cuts(corpus, split):
            offset = where(cut.id)
            lines += [
                f"{cut.id} 1 {w.start + offset:.2f} 0.10 {w.text} 0.8\n"
                for w in word_alignment(cut)
                if offset is not None
            ]
    path = corpus.parent / "words.ctm"
    path.write_text("".join(lines))
    return CTMAligner(str(path))


def times_of(corpus: Path) -> dict[str, list[float]]:
    return {cut.id: [word.start for word in word_alignment(cut)] for cut in load_cuts(corpus, "train")}


def test_times_beyond_the_cut_are_not_aligned(corpus: Path) -> None:
    report = align_corpus(corpus, write_ctm(corpus, lambda name: 0.1 if name == "one" else 100.0), overwrite=True)
    assert (report["aligned"], report["unaligned"], report["words"]) == (1, 1, 2)
    (row,) = map(json.loads, (corpus / "unaligned.jsonl").read_text().splitlines())
    assert row["id"] == "two" and row["reason"] == "'oh' lies at 100.000 to 100.100 s, outside of the cut of 0.500 s"


def test_what_fails_loses_its_old_times(corpus: Path) -> None:
    align_corpus(corpus, write_ctm(corpus, lambda name: 0.1 if name == "one" else None), overwrite=True)
    assert times_of(corpus) == {"one": [0.1, 0.2], "two": []}
    assert json.loads((corpus / "unaligned.jsonl").read_text())["id"] == "two"


def test_a_corpus_of_which_nothing_fits_stays_as_it_is(corpus: Path) -> None:
    before = times_of(corpus)
    with pytest.raises(ValueError, match="none can .*outside of the cut"):
        align_corpus(corpus, write_ctm(corpus, lambda _: 100.0), overwrite=True)
    assert times_of(corpus) == before


def test_times_that_were_corrected_after_an_interrupt(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spiritlm_pl.alignment.run.write_cuts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            align_corpus(corpus, write_ctm(corpus, lambda _: 0.2), overwrite=True)
    align_corpus(corpus, write_ctm(corpus, lambda _: 0.1), overwrite=True)
    assert times_of(corpus) == {"one": [0.1, 0.2], "two": [0.1, 0.2]}


def test_scores_are_kept(corpus: Path) -> None:
    align_corpus(corpus, write_ctm(corpus, lambda _: 0.1), overwrite=True)
    for cut in load_cuts(corpus, "train"):
        alignment = cut.supervisions[0].alignment
        assert alignment is not None and [item.score for item in alignment["word"]] == [0.8, 0.8]


def test_other_languages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are not read in English; what must be romanised gives a reason; unknown words can be a star."""
    letters = {letter: index for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 1)}
    network = CTCNetwork(log_probs=lambda w: torch.zeros(len(w) // 320, 27).log_softmax(-1), characters=letters)
    monkeypatch.setattr(ctc, "load_mms_fa", lambda _: network)
    texts = {"pl": "mam psy", "digits": "mam 42 psy", "ru": "привет мир", "mixed": "mam мир"}
    corpus = make_corpus(tmp_path / "corpus", texts, "pl")
    align(str(corpus), method="ctc", overwrite=True, num_jobs=1)
    assert "CC-BY-NC 4.0" in capsys.readouterr().out
    reasons = {
        row["id"]: row["reason"] for row in map(json.loads, (corpus / "unaligned.jsonl").read_text().splitlines())
    }
    assert reasons == {
        "digits": "'42' has no certain reading in pl: write it in words",
        "ru": "no word has a character that the network knows: привет мир",
        "mixed": "words without a character that the network knows: мир",
    }
    with pytest.raises(ValueError, match="none can .*pocketsphinx reads English only, but this is pl: --method ctc"):
        align(str(corpus), overwrite=True, num_jobs=1)
    align(str(corpus), method="ctc", unknown="star", num_jobs=1)
    assert {name for name, times in times_of(corpus).items() if times} == {"pl", "mixed"}


def test_numbers_of_other_languages_in_labels(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {"a": "ich habe zweiundvierzig"}, "de")
    (tmp_path / "words.ctm").write_text("a 1 0 0.1 ich\na 1 0.1 0.1 habe\na 1 0.2 0.1 42\n")
    align(str(corpus), method="ctm", source=str(tmp_path / "words.ctm"), overwrite=True, num_jobs=1)
    assert times_of(corpus)["a"] == [0.0, 0.1, 0.2]


def test_whatever_goes_wrong_with_one_utterance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def align_one(aligner: CTMAligner, cut_id: str, *_: object) -> Aligned:
        if cut_id == "bad":
            raise RuntimeError("out of memory")
        return Aligned([Word("oh", 0.0, 0.1)])

    corpus = make_corpus(tmp_path / "corpus", {"bad": "oh", "good": "oh"})
    monkeypatch.setattr(CTMAligner, "align", align_one)
    (tmp_path / "words.ctm").write_text("a 1 0 0.1 oh\n")
    align(str(corpus), method="ctm", source=str(tmp_path / "words.ctm"), overwrite=True, num_jobs=1)
    (row,) = map(json.loads, (corpus / "unaligned.jsonl").read_text().splitlines())
    assert row["id"] == "bad" and row["reason"] == "ctm fails: RuntimeError('out of memory')"
    assert times_of(corpus)["good"] == [0.0]


def test_times_of_one_source_are_of_one_utterance(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", {"ann-1": "oh yes", "bob-1": "oh yes", "bob-2": "oh no"})
    (tmp_path / "words.ctm").write_text("1 1 0 0.1 oh\n1 1 0.1 0.1 yes\n2 1 0 0.1 oh\n2 1 0.2 0.1 no\n")
    align(str(corpus), method="ctm", source=str(tmp_path / "words.ctm"), overwrite=True, num_jobs=1)
    rows = list(map(json.loads, (corpus / "unaligned.jsonl").read_text().splitlines()))
    assert {row["id"] for row in rows} == {"ann-1", "bob-1"}
    assert rows[0]["reason"].startswith("times must be of one utterance, but 1 in ")
    assert rows[0]["reason"].endswith("fits ann-1, bob-1")
    assert times_of(corpus)["bob-2"] == [0.0, 0.2]
    with pytest.raises(ValueError, match="word_tier must be given with method textgrid only, but method is ctm"):
        align(str(corpus), method="ctm", source=str(tmp_path / "words.ctm"), word_tier="words")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (0.5, None),
        (0.59, None),
        (0.45, None),
        (3.5, "times must be of this audio, which lasts 0.50 s, but {path} is of 3.50 s instead"),
        (0.3, "times must be of this audio, which lasts 0.50 s, but {path} is of 0.30 s instead"),
    ],
)
def test_a_textgrid_of_longer_or_shorter_audio_is_not_believed(end: float, reason: str | None, corpus: Path) -> None:
    folder = corpus.parent / "grids"
    folder.mkdir()
    grid = '"ooTextFile" "TextGrid" 0 {0} <exists> 1 "IntervalTier" "words" 0 {0} 2 0 0.1 "oh" 0.1 0.2 "{1}"'
    (folder / "one.TextGrid").write_text(grid.format(end, "yes"))
    (folder / "two.TextGrid").write_text(grid.format(0.5, "no"))
    align_corpus(corpus, TextGridAligner(str(folder)), overwrite=True)
    rows = [json.loads(row)["reason"] for row in (corpus / "unaligned.jsonl").read_text().splitlines()]
    assert rows == ([] if reason is None else [reason.format(path=folder / "one.TextGrid")])
    assert times_of(corpus) == {"one": [0.0, 0.1] if reason is None else [], "two": [0.0, 0.1]}


class Evenly:
    """Aligner with the `repr` of all objects, which counts how often its source is read."""

    name, english_only = "evenly", False

    def __init__(self, log: Path, needs_audio: bool) -> None:
        self.log, self.needs_audio = log, needs_audio

    @cached_property
    def source(self) -> str:
        with self.log.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        return "read"

    def align(self, cut_id: str, waveform: object, words: Sequence[str], language: str = "en") -> Aligned:
        assert self.source == "read"
        return Aligned([Word(word, place / 10, (place + 1) / 10) for place, word in enumerate(words)])


@pytest.mark.parametrize("needs_audio", [True, False])
def test_each_process_of_a_run_reads_its_source_once(
    needs_audio: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(tmp_path / "corpus", {f"u{number}": "oh" for number in range(96)})
    monkeypatch.setattr("spiritlm_pl.runtime.parallel.AHEAD", 2)
    report = align_corpus(corpus, Evenly(tmp_path / "log", needs_audio), overwrite=True, num_jobs=2)
    assert report["aligned"] == report["words"] == 96
    assert report["settings"].endswith(f"{{'log': {tmp_path / 'log'!r}, 'needs_audio': {needs_audio}}}")
    readers = (tmp_path / "log").read_text().split()
    assert len(readers) == len(set(readers)) <= 2
    assert needs_audio or readers == [str(os.getpid())]
    with pytest.raises(ValueError, match="num_jobs must be at least 1"):
        align_corpus(corpus, Evenly(tmp_path / "log", needs_audio), overwrite=True, num_jobs=0)


def test_damaged_results_of_an_interrupted_run_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    with OutcomeFile(path, earlier=True) as outcomes:
        for name in ("a", "b", "ü\udcff"):
            outcomes.append(Outcome(name, "key", [AlignedWord("ü\udcff", 0.125, 0.25)]))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"0.125", b"0.225", 1) + b'[]\n{"id": "a"}\n00000000 \n' + whole[-20:])
    with OutcomeFile(path, earlier=True) as outcomes:
        found = [outcomes.find(name, "key") for name in ("a", "b", "ü\udcff")]
    assert [outcome and outcome.words[0].start for outcome in found] == [None, 0.125, 0.125]
