"""A corpus that was aligned since it was made is replaced on request only."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.alignment.run import align_corpus
from spiritlm_pl.cli.main import guarded, run
from spiritlm_pl.cli.prepare.general import folder, lhotse_manifest
from spiritlm_pl.cli.prepare.published import emov_db
from spiritlm_pl.cli.prepare.synthetic import text
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import SPLITS, Word, load_cuts, make_cut, read_info, save_corpus, word_alignment

NOISE = 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
Prepare = Callable[[], None]


class Evenly:
    """Aligner that gives each word a tenth of a second, but does not find utterances with the word `lost`."""

    name, english_only, needs_audio = "evenly", False, False

    def align(self, cut_id: str, waveform: object, words: Sequence[str], language: str = "en") -> Aligned:
        if "lost" in words:
            raise ValueError("lost")
        return Aligned([Word(word, place / 10, (place + 1) / 10) for place, word in enumerate(words)])


def aligned(corpus: Path) -> int:
    return sum(bool(word_alignment(cut)) for split in SPLITS for cut in load_cuts(corpus, split))


def recordings(place: Path) -> Path:
    for name in ("a", "b", "c", "lost"):
        save_wav(place / f"{name}.wav", NOISE)
        (place / f"{name}.txt").write_text(f"here is {name}")
    return place


def of_folder(place: Path) -> Prepare:
    source = recordings(place / "in")
    return lambda: folder(str(source), str(place / "out"), num_jobs=1)


def of_manifest(place: Path) -> Prepare:
    """Manifest of four cuts, of which one has word times, which `prepare` keeps."""
    cuts = [
        make_cut(
            name,
            path,
            sample_rate=16_000,
            num_samples=16_000,
            text=f"here is {name}",
            speaker="x",
            words=[Word(word, one / 5, (one + 1) / 5) for one, word in enumerate(("here", "is", name))]
            if name == "a"
            else (),
        )
        for name, path in ((path.stem, path) for path in sorted(recordings(place / "in").glob("*.wav")))
    ]
    save_corpus(place / "made", {"train": cuts}, name="made", source="s", licence="l")
    return lambda: lhotse_manifest(str(place / "made/cuts_train.jsonl.gz"), str(place / "out"), num_jobs=1)


def of_emov_db(place: Path) -> Prepare:
    for number in range(1, 4):
        save_wav(place / "in" / "bea_Amused" / f"amused_1-28_{number:04d}.wav", NOISE)
    lines = (f'( arctic_a{n:04d} "Here is {n}." )\n' for n in range(1, 4))
    (place / "in" / "cmuarctic.data").write_text("".join(lines))
    return lambda: emov_db(str(place / "in"), str(place / "out"), num_jobs=1)


@pytest.mark.parametrize(("make", "by_prepare", "later"), [(of_folder, 0, 3), (of_manifest, 1, 2), (of_emov_db, 0, 3)])
def test_word_times_of_align_are_not_lost_without_a_word(
    make: Callable[[Path], Prepare], by_prepare: int, later: int, tmp_path: Path
) -> None:
    prepare, out = make(tmp_path), tmp_path / "out"
    prepare()
    prepare()  # nothing is lost
    assert (read_info(out) or {})["aligned"] == aligned(out) == by_prepare
    for _ in range(2):  # the second time it finds nothing new
        align_corpus(out, Evenly())
        assert (read_info(out) or {})["aligned"] == aligned(out) == by_prepare + later
        with pytest.raises(ValueError, match=rf"^out must be .* of {later} utterances, which would be lost: .*--over"):
            prepare()
    assert aligned(out) == by_prepare + later


def test_what_is_replaced_on_request_leaves_no_report_of_its_alignment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_folder(tmp_path)()
    out = tmp_path / "out"
    align_corpus(out, Evenly())
    command = ["prepare", "folder", str(tmp_path / "in"), str(out), "--num-jobs=1"]
    assert guarded(lambda: run(command)) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "spiritlm: error: OUT must be a new folder, or one without word times of `spiritlm align`, but "
    )
    assert (out / "alignment.json").exists() and (out / "unaligned.jsonl").exists()
    run([*command, "--overwrite"])
    assert aligned(out) == (read_info(out) or {})["aligned"] == 0
    assert not (out / "alignment.json").exists() and not (out / "unaligned.jsonl").exists()
    run(command)  # nothing is lost any more


def test_times_that_align_has_replaced_are_its_own(tmp_path: Path) -> None:
    prepare, out = of_manifest(tmp_path), tmp_path / "out"
    prepare()
    align_corpus(out, Evenly(), overwrite=True)
    with pytest.raises(ValueError, match="those of 3 utterances"):
        prepare()


def test_a_corpus_that_an_earlier_version_has_aligned(tmp_path: Path) -> None:
    """It counted the utterances of `prepare` in corpus.json alone, which `align` left as it was."""
    prepare, out = of_manifest(tmp_path), tmp_path / "out"
    prepare()
    before = (out / "corpus.json").read_bytes()
    report = align_corpus(out, Evenly())
    del report["from_prepare"]
    (out / "alignment.json").write_text(json.dumps(report))
    (out / "corpus.json").write_bytes(before)
    with pytest.raises(ValueError, match="those of 2 utterances"):
        prepare()
    align_corpus(out, Evenly())
    with pytest.raises(ValueError, match="those of 2 utterances"):
        prepare()


def test_an_alignment_that_was_interrupted_before_it_wrote_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, out = of_folder(tmp_path), tmp_path / "out"
    prepare()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spiritlm_pl.alignment.run.write_cuts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            align_corpus(out, Evenly())
    found = (out / ".alignment.jsonl").read_bytes()
    prepare()
    assert found and (out / ".alignment.jsonl").read_bytes() == found  # `align` goes on from there


def test_an_interrupted_replacement_goes_on(tmp_path: Path) -> None:
    prepare, out = of_folder(tmp_path), tmp_path / "out"
    prepare()
    align_corpus(out, Evenly())
    (out / "corpus.json").unlink()  # as `prepare --overwrite` does before it reads audio
    prepare()
    assert aligned(out) == 0 and not (out / "alignment.json").exists()


def test_times_of_spoken_texts_are_those_of_prepare(tmp_path: Path) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out"
    source.write_text("Here is a cat. Here is a dog.")
    for _ in range(2):
        text(str(source), str(out), num_jobs=1)
        report = align_corpus(out, Evenly())
        assert report["newly_aligned"] == 0 and report["from_prepare"] == report["aligned"] > 0


@pytest.mark.parametrize("damaged", ['{"aligned": "many"}', '{"aligned": []}', "[]", "{"])
def test_a_damaged_report_is_named(damaged: str, tmp_path: Path) -> None:
    prepare, out = of_folder(tmp_path), tmp_path / "out"
    prepare()
    (out / "alignment.json").write_text(damaged)
    with pytest.raises(ValueError, match="alignment.json"):
        prepare()


def test_other_settings_tell_of_the_word_times_too(tmp_path: Path) -> None:
    of_folder(tmp_path)()
    align_corpus(tmp_path / "out", Evenly(), num_jobs=1)
    with pytest.raises(
        ValueError, match=r"seed 0 instead of 1: .*--overwrite, which loses the word times .* gave 3 utt"
    ):
        folder(str(tmp_path / "in"), str(tmp_path / "out"), num_jobs=1, seed=1)
    assert aligned(tmp_path / "out") == 3
