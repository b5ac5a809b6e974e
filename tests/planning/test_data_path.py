"""The data path on paper against small shards and blocks, and what is refused."""

from dataclasses import fields, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spiritlm_pl.data import build_tasks
from spiritlm_pl.data.blocks import read_manifest
from spiritlm_pl.data.build_blocks import build_blocks
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.runs import write_run
from spiritlm_pl.data.shuffling import GROUP_TOKENS
from spiritlm_pl.planning.data_path import Corpus, Stage, data_path
from spiritlm_pl.planning.figures import Figures
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer

SECONDS, UNITS, WORDS = 8.0, 150, 24  # of an utterance, on average
LAYOUT = SpeechLayout.spirit_lm(num_units=501, frame_rate=25.0)


def said(rng: np.random.Generator, lexicon: list[str], name: str, aligned: bool, pitch: bool) -> UnitUtterance:
    """Utterances of several lengths, of words as frequent as in a language, with times of an aligner of 50 Hz."""
    scale = rng.uniform(0.6, 1.4)
    seconds, units, words = SECONDS * scale, round(UNITS * scale), round(WORDS * scale) if aligned else 0
    frames = int(25 * seconds)
    chosen = [lexicon[place] for place in rng.choice(len(lexicon), words, p=ZIPF)]
    starts = np.sort(rng.choice(int(seconds * 50), words, replace=False)) / 50
    ends = starts + rng.integers(2, 25, words) / 50
    return UnitUtterance(
        id=name,
        duration=seconds,
        text=" ".join(chosen),
        words=tuple(TimedWord(*word) for word in zip(chosen, starts.tolist(), ends.tolist(), strict=True)),
        units=(np.cumsum(rng.integers(1, 501, units)) % 501).astype(np.uint16),
        unit_starts=np.sort(rng.choice(frames, units, replace=False)).astype(np.uint32),
        num_frames=frames,
        custom={"story": name},
        codes={"pitch": rng.integers(0, 64, int(12.5 * seconds)).astype(np.uint16)} if pitch else {},
    )


ZIPF = 1 / np.arange(1, 5001)
ZIPF /= ZIPF.sum()


def write(folder: Path, number: int, aligned: bool, pitch: bool = False) -> int:
    """Write unit shards; return their bytes."""
    rng = np.random.default_rng(0)
    lexicon = ["".join(rng.choice(list("abcdefghijkl"), rng.integers(2, 9))) for _ in ZIPF]
    some = [said(rng, lexicon, f"{folder.name}-{place:06d}", aligned, pitch) for place in range(number)]
    size = write_part(folder / "train", 0, some, "test").stat().st_size
    finish_folder(folder / "train", ["test"], layout=LAYOUT, provenance={})
    return size


def corpus(hours: float = 0.0, aligned_hours: float = 0.0, text_tokens: float = 0.0, **more: Any) -> Corpus:
    return Corpus(
        hours=hours,
        aligned_hours=aligned_hours,
        text_tokens=text_tokens,
        utterance_seconds=SECONDS,
        units_per_second=UNITS / SECONDS,
        words_per_second=WORDS / SECONDS,
        **more,
    )


def stages(*given: Any) -> dict[str, Stage]:
    return {stage.name.rpartition(": ")[2]: stage for stage in data_path(*given)}


@pytest.mark.parametrize(("aligned", "pitch"), [(False, False), (True, False), (True, True)])
def test_unit_shards_take_what_is_planned(tmp_path: Path, aligned: bool, pitch: bool) -> None:
    number = 1000
    size = write(tmp_path / "units", number, aligned, pitch)
    hours = number * SECONDS / 3600
    planned = corpus(0.0 if aligned else hours, hours if aligned else 0.0, expressive=pitch)
    assert size == pytest.approx(stages(planned, Figures.load(), 32_512)["unit shards"].disk, rel=0.1)


@pytest.mark.parametrize("rows", [64, 70_000])
def test_blocks_and_what_they_are_made_of_take_what_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    loose, paired = 200, 100
    write(tmp_path / "loose", loose, aligned=False)
    write(tmp_path / "paired", paired, aligned=True)
    rng = np.random.default_rng(1)
    lines = [" ".join("".join(rng.choice(list("abcdefghijkl"), 4)) for _ in range(300)) for _ in range(30)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    train_text_tokenizer(lines, 300).save(tmp_path / "text")
    runs: list[int] = []

    def counted(path: Path, documents: Any) -> None:
        write_run(path, documents)
        runs.append(path.stat().st_size)

    monkeypatch.setattr(build_tasks, "write_run", counted)
    units = [str(tmp_path / name) for name in ("loose", "paired")]
    build_blocks(
        units,
        str(tmp_path / "text"),
        str(tmp_path / "blocks"),
        [str(tmp_path / "text.txt")],
        splits=("train",),
        text_validation=0.0,
        multiple_of=rows,
    )
    found = {kind: read_manifest(tmp_path / "blocks/train" / kind) for kind in ("speech", "aligned", "text")}
    transcripts = sum(block.text_tokens for block in found["aligned"].blocks)
    tokens = found["text"].num_tokens - transcripts
    planned = corpus(
        loose * SECONDS / 3600,
        paired * SECONDS / 3600,
        tokens,
        document_tokens=tokens / len(lines),
        tokens_per_word=transcripts / (paired * WORDS),
    )
    expected = stages(planned, Figures.load(), found["text"].vocabulary.num_rows)
    for kind, manifest in found.items():
        assert manifest.num_tokens == pytest.approx(expected[kind].amount, rel=0.1)
        assert sum(block.bytes for block in manifest.blocks) == pytest.approx(expected[kind].disk, rel=0.1)
    assert sum(runs) == pytest.approx(expected["while blocks are built"].disk, rel=0.1)


def test_time_follows_the_figures() -> None:
    figures = replace(
        Figures.load(), **dict.fromkeys((field.name for field in fields(Figures) if field.name != "machine"), 0.0)
    )
    planned = corpus(80.0, 20.0, 1e9)
    hours = 3600 * 100

    def seconds(name: str, **changed: float) -> float | None:
        return stages(planned, replace(figures, **changed), 32_512)[name].cpu_seconds

    assert seconds("unit shards", units=0.1, pitch=5.0, style=5.0) == pytest.approx(0.1 * hours)
    assert seconds("speech", block_utterance=2e-6) == pytest.approx(2e-6 * hours / SECONDS)
    assert seconds("speech", block_unit=1e-7, block_aligned_unit=1e-7) == pytest.approx(
        1e-7 * 1.2 * hours * UNITS / SECONDS
    )
    assert seconds("speech", block_aligned=1e-6, block_word=1e-6) == pytest.approx(
        1e-6 * 0.2 * hours * (WORDS + 1) / SECONDS
    )
    assert seconds("text", block_text_token=5e-7) == pytest.approx(500)
    pairs = ceil((1e9 + 0.2 * hours * WORDS / SECONDS * planned.tokens_per_word) / GROUP_TOKENS) ** 2
    assert seconds("text", block_slice=1e-4) == pytest.approx(1e-4 * pairs)
    expressive = replace(planned, expressive=True)
    both = stages(expressive, replace(figures, units=1.0, pitch=2.0, style=3.0), 32_512)["unit shards"]
    assert both.cpu_seconds == pytest.approx(6.0 * hours)


def test_figures_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("units: 0.01\npitch: {value: 2, command: mine}\nmachine: a GPU\n")
    found, own = Figures.load(path), Figures.load()
    assert (found.units, found.pitch, found.machine, found.style) == (0.01, 2.0, "a GPU", own.style)
    path.write_text("units: 0.5")
    assert Figures.load(path).machine == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("unit: 0.1", "figures must be some of .*, but .* has 'unit'"),
        ("units: fast", "units must be a number of at least 0, but is 'fast'"),
        ("units: -1", "units must be a number of at least 0, but is -1"),
        ("units: .nan", "units must be a number of at least 0, but is nan"),
        ("units: {values: 1}", "units must be a number of at least 0, but is None"),
        ("- 1", "holds list instead"),
        ("", "holds NoneType instead"),
        ("a: [", "figures must be a YAML file, but .* is not"),
    ],
)
def test_figures_that_cannot_be_read_are_told(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        Figures.load(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hours": -1.0}, "hours must be at least 0, but is -1"),
        ({"text_tokens": float("inf")}, "text_tokens must be at least 0, but is inf"),
        ({"utterance_seconds": 0.0}, "utterance_seconds must be above 0, but is 0"),
        ({"words_per_second": float("nan")}, "words_per_second must be above 0, but is nan"),
    ],
)
def test_corpora_that_cannot_be_are_told(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Corpus(**values)  # type: ignore[arg-type]
