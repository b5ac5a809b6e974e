"""Pitch codes, style codes and global styles go with the segments of units that they belong to."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spiritlm_pl.contracts.batches import UnitWaveformBatch
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import load_cuts, save_corpus
from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.frames import at_frames
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.datamodules.labelled import LabelledDataModule
from spiritlm_pl.datamodules.speech import SpeechDataModule
from spiritlm_pl.datamodules.unit_waveforms import UnitWaveformDataModule
from spiritlm_pl.streams import PITCH, STYLE, SpeechLayout

BASE = SpeechLayout.spirit_lm(num_units=1000, frame_rate=25.0)
EXPRESSIVE = SpeechLayout.spirit_lm(num_units=1000, frame_rate=25.0, num_pitches=1000, num_styles=100)


def write_units(corpus: Path, folder: Path, layouts: dict[str, SpeechLayout]) -> str:
    """Every stream counts, so that a segment shows where it comes from; the last codes of each are 7 and 3."""
    for split, layout in layouts.items():
        rows = []
        for cut in load_cuts(corpus, split):
            frames = np.arange(int(cut.duration * 25))
            codes = {
                PITCH: np.append(np.arange(10, 10 + len(frames) // 2), [7, 7]).astype(np.uint16),
                STYLE: np.append(np.arange(10, 10 + len(frames) // 25), [3]).astype(np.uint16),
            }
            rows.append(
                UnitUtterance(
                    id=cut.id,
                    corpus="tones",
                    units=frames.astype(np.uint16),
                    unit_starts=frames.astype(np.uint32),
                    num_frames=len(frames),
                    codes=codes if layout.expressive else {},
                )
            )
        write_part(folder / split, 0, rows, "x")
        finish_folder(folder / split, ["x"], layout=layout, provenance={})
    return str(folder)


def set_up(corpus: Path, folder: Path, layout: SpeechLayout, **options: object) -> UnitWaveformDataModule:
    units = write_units(corpus, folder, {"train": layout, "validation": layout})
    data = UnitWaveformDataModule([str(corpus)], [units], **({"segment_frames": 12, "batch_size": 4} | options))
    data.setup("fit")
    return data


def test_codes_are_those_of_their_frames(tone_corpus: Path, tmp_path: Path) -> None:
    data = set_up(tone_corpus, tmp_path / "units", EXPRESSIVE)
    stored = data._units["train"]
    cuts = {cut.id: cut for cut in data.cuts["train"]}
    starts = set()
    for batch in data.train_dataloader():
        assert isinstance(batch, UnitWaveformBatch) and batch.pitches is not None and batch.styles is not None
        assert batch.global_styles is None
        for row, name in enumerate(batch.ids):
            start, utterance = int(batch.units[row, 0]), stored[name]
            for found, codes, rate in (
                (batch.pitches[row], utterance.codes[PITCH], 12.5),
                (batch.styles[row], utterance.codes[STYLE], 1.0),
            ):
                expected = at_frames(codes, rate, 25.0, utterance.num_frames)[start : start + 12]
                assert found.tolist() == expected.tolist() and found.dtype == torch.long
            assert torch.equal(batch.waveforms[row], load_waveform(cuts[name])[start * 640 : (start + 12) * 640])
            starts.add(start % 2)
    assert starts == {0, 1}


def test_codes_of_a_short_utterance_are_held(tone_corpus: Path, tmp_path: Path) -> None:
    data = set_up(tone_corpus, tmp_path / "units", EXPRESSIVE, segment_frames=200)
    batch = next(iter(data.train_dataloader()))
    for row, length in enumerate(batch.lengths.tolist()):
        for stream in (batch.units, batch.pitches, batch.styles):
            assert stream.shape == (4, 200) and set(stream[row, length:].tolist()) == {int(stream[row, length - 1])}


def test_commonest_codes_of_the_training_data(tone_corpus: Path, tmp_path: Path) -> None:
    data = set_up(tone_corpus, tmp_path / "units", EXPRESSIVE)
    styles = np.concatenate([data._units["train"][cut.id].codes[STYLE] for cut in data.cuts["train"]])
    assert data.common_codes == (7, int(np.bincount(styles).argmax()))


def test_base_shards_have_no_codes(tone_corpus: Path, tmp_path: Path) -> None:
    data = set_up(tone_corpus, tmp_path / "units", BASE)
    batch = next(iter(data.train_dataloader()))
    assert batch.pitches is None and batch.styles is None and data.common_codes is None


def styled_corpus(tone_corpus: Path, folder: Path) -> Path:
    """The corpus of tones, its second utterances glad, the others without a style."""
    cuts = {split: list(load_cuts(tone_corpus, split)) for split in ("train", "validation", "test")}
    for members in cuts.values():
        for cut in members[1::2]:
            cut.supervisions[0].custom = {"style": "glad"}
    save_corpus(folder, cuts, name="tones", source="test", licence="none")
    return folder


def test_global_styles_are_those_of_the_utterances(tone_corpus: Path, tmp_path: Path) -> None:
    corpus = styled_corpus(tone_corpus, tmp_path / "styled")
    data = set_up(corpus, tmp_path / "units", BASE, styles=["glad", "default"])
    assert data.styles == ("glad", "default")
    seen = set()
    for batch in data.train_dataloader():
        for name, style in zip(batch.ids, batch.global_styles.tolist(), strict=True):
            assert style == (0 if int(name.split("-")[-1]) % 2 else 1)
            seen.add(style)
    assert seen == {0, 1}
    with pytest.raises(ValueError, match="styles must name all styles of split 'train', but lacks default"):
        set_up(corpus, tmp_path / "units", BASE, styles=["glad"])


def test_all_splits_come_from_one_tokenizer(tone_corpus: Path, tmp_path: Path) -> None:
    units = write_units(tone_corpus, tmp_path / "units", {"train": EXPRESSIVE, "validation": BASE})
    with pytest.raises(ValueError, match="units must come from one tokenizer, .*num_pitches=1000.*'validation': .*=0"):
        UnitWaveformDataModule([str(tone_corpus)], [units]).setup("fit")


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
@pytest.mark.parametrize("kind", ["units", "labels"])
def test_setup_reads_what_was_prepared(
    kind: str, stage: str, tone_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = styled_corpus(tone_corpus, tmp_path / "styled")
    data: SpeechDataModule = LabelledDataModule([str(corpus)])
    if kind == "units":
        units = write_units(corpus, tmp_path / "units", dict.fromkeys(("train", "validation", "test"), EXPRESSIVE))
        data = UnitWaveformDataModule([str(corpus)], [units])
    state = SimpleNamespace(fn=SimpleNamespace(value=stage))
    data.trainer = SimpleNamespace(state=state, predicting=False, limit_val_batches=1.0)  # type: ignore[assignment]
    data.prepare_data()
    monkeypatch.setattr("spiritlm_pl.runtime.flat_index.IndexWriter", None)
    data.setup(stage)
    if isinstance(data, UnitWaveformDataModule):
        assert (data.common_codes is not None) == (stage == "fit")


def test_training_without_validation_utterances_is_told_before_it_starts(
    make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    corpus = make_corpus(tmp_path / "corpus", held_out=0)
    units = write_units(corpus, tmp_path / "units", {"train": BASE})
    data = UnitWaveformDataModule([str(corpus)], [units])
    with pytest.warns(UserWarning, match=r"split 'validation'.*larger --validation-fraction.*limit_val_batches=0"):
        data.setup("fit")
    assert data.val_dataloader() == [] and len(data.train_dataloader())
    for stage, split in (("validate", "validation"), ("test", "test")):
        with pytest.raises(
            ValueError, match=f"split '{split}', but none of 0 .* prepare them with a larger --{split}-"
        ):
            UnitWaveformDataModule([str(corpus)], [units]).setup(stage)


def test_training_that_does_not_validate_needs_no_validation_units(tone_corpus: Path, tmp_path: Path) -> None:
    units = write_units(tone_corpus, tmp_path / "units", {"train": BASE})
    data = UnitWaveformDataModule([str(tone_corpus)], [units])
    data.trainer = SimpleNamespace(limit_val_batches=0, world_size=1, global_rank=0)  # type: ignore[assignment]
    data.setup("fit")
    assert list(data.cuts) == ["train"]


def test_corpus_without_validation_beside_one_with_it(
    tone_corpus: Path, make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_corpus(tmp_path / "other", name="other", held_out=0)
    folders = [write_units(tone_corpus, tmp_path / "units", {"train": BASE, "validation": BASE})]
    folders.append(write_units(other, tmp_path / "units_of_other", {"train": BASE}))
    data = UnitWaveformDataModule([str(tone_corpus), str(other)], folders)
    data.setup("fit")
    assert (len(data.cuts["train"]), len(data.cuts["validation"])) == (16, 2)
    assert sum(len(batch.ids) for loader in [data.val_dataloader()] for batch in loader) == 2


def test_units_without_a_split_say_which_option_gives_it(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", held_out=0)
    units = write_units(corpus, tmp_path / "units", {"train": BASE})
    with pytest.raises(FileNotFoundError, match=r"'validation', but .*units has train alone: .*--validation-fraction"):
        UnitCorpus(units, "validation")
    with pytest.raises(FileNotFoundError, match="units must be a finished tokenised corpus"):
        UnitCorpus(str(tmp_path / "nothing"), "validation")
