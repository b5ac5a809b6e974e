import json
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from spiritlm_pl.alignment.contract import check_words
from spiritlm_pl.alignment.pocketsphinx import PocketsphinxAligner, _run
from spiritlm_pl.alignment.pronunciation import guess_pronunciation
from spiritlm_pl.alignment.run import CACHE_FILE, align_corpus
from spiritlm_pl.cli.align import align
from spiritlm_pl.corpora.audio import load_waveform, save_wav
from spiritlm_pl.corpora.manifest import (
    Word,
    load_cuts,
    make_cut,
    phone_alignment,
    save_corpus,
    with_alignment,
    word_alignment,
)
from spiritlm_pl.corpora.synthetic.espeak import Voice
from spiritlm_pl.corpora.synthetic.spoken import Line, speak_line
from spiritlm_pl.corpora.word_times import AlignmentError

TEXTS = {"a": "we found seven apples under the table", "b": "please open the zorbix now"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    spoken = [
        speak_line(Line(name, text, Voice("en-us", 150), tmp_path / "audio" / f"{name}.wav"))
        for name, text in TEXTS.items()
    ]
    save_wav(tmp_path / "audio" / "n.wav", torch.randn(8_000, generator=torch.Generator().manual_seed(0)) * 0.01)
    nothing = make_cut(
        "n",
        tmp_path / "audio" / "n.wav",
        sample_rate=16_000,
        num_samples=8_000,
        text="far too many words for half a second of noise to hold them",
        speaker="x",
    )
    save_corpus(tmp_path, {"train": [*spoken, nothing]}, name="n", source="s", licence="l")
    return tmp_path


def test_pronunciation_of_unknown_words() -> None:
    assert guess_pronunciation("zorbix") == "Z AO R B IH K S"
    assert guess_pronunciation("asterisk").startswith("AE S T")


def test_times_agree_with_the_speaker_and_failures_are_listed(corpus: Path) -> None:
    exact = {cut.id: word_alignment(cut) for cut in load_cuts(corpus, "train")}
    report = align_corpus(corpus, PocketsphinxAligner(), overwrite=True, num_jobs=1)
    assert report["aligned"] == 2 and report["unaligned"] == 1 and not (corpus / CACHE_FILE).exists()
    assert json.loads((corpus / "unaligned.jsonl").read_text())["id"] == "n"
    for cut in load_cuts(corpus, "train"):
        if cut.id == "n":
            assert word_alignment(cut) == []
            continue
        found = word_alignment(cut)
        assert [w.text for w in found] == TEXTS[cut.id].split()
        errors = [abs(f.start - e.start) for f, e in zip(found, exact[cut.id], strict=True)]
        assert sum(errors) / len(errors) < 0.08
        assert len(phone_alignment(cut)) > 2 * len(found)


def test_written_form_keeps_its_tokens(corpus: Path) -> None:
    cut = next(c for c in load_cuts(corpus, "train") if c.id == "a")
    cut.supervisions[0].text = "We found 7 apples, under — the table!"
    save_corpus(corpus, {"train": [with_alignment(cut, [])]}, name="n", source="s", licence="l")
    align_corpus(corpus, PocketsphinxAligner(phones=False), num_jobs=1)
    (aligned,) = load_cuts(corpus, "train")
    assert [w.text for w in word_alignment(aligned)] == "We found 7 apples, under the table!".split()


def test_interrupted_alignment_goes_on(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aligned: list[str] = []
    original = PocketsphinxAligner.align

    def stops_at_b(self: PocketsphinxAligner, cut_id: str, *rest: object) -> object:
        if cut_id == "b" and not aligned.count("b"):
            aligned.append("b")
            raise KeyboardInterrupt
        aligned.append(cut_id)
        return original(self, cut_id, *rest)

    monkeypatch.setattr(PocketsphinxAligner, "align", stops_at_b)
    aligner = PocketsphinxAligner(phones=False)
    with pytest.raises(KeyboardInterrupt):
        align_corpus(corpus, aligner, overwrite=True, num_jobs=1)
    align_corpus(corpus, aligner, overwrite=True, num_jobs=1)
    assert aligned == ["a", "b", "b", "n"]


def test_times_from_a_manifest_and_errors(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    cuts = [with_alignment(cut, []) for cut in load_cuts(corpus, "train")]
    save_corpus(other, {"train": cuts}, name="n", source="s", licence="l")
    with pytest.raises(ValueError, match="source must be given"):
        align(str(other), method="lhotse")
    align(str(other), method="lhotse", source=str(corpus / "cuts_train.jsonl.gz"), num_jobs=1)
    for cut, reference in zip(load_cuts(other, "train"), load_cuts(corpus, "train"), strict=True):
        assert word_alignment(cut) == word_alignment(reference)
    assert load_waveform(cuts[0]).numel() > 16_000


def test_words_that_are_lost_are_named() -> None:
    found = [Word("we", 0.0, 0.1)]
    with pytest.raises(AlignmentError, match="do not fit the audio: they are lost from word 2 on, 'found it'"):
        check_words(found, ["we", "found", "it"])
    with pytest.raises(AlignmentError, match="word 1 must be 'you', but is 'we' instead"):
        check_words(found, ["you"])


def test_nothing_of_the_utterance_before_is_kept() -> None:
    decoder = Mock()
    _run(decoder, b"")  # without it, a word may be a frame longer after one utterance than after another
    assert [call[0] for call in decoder.method_calls][:2] == ["reinit_feat", "start_utt"]
