"""Corpora of text files: splits, voices that are held out, what is skipped, and going on after an interrupt."""

from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.cli.prepare.synthetic import text
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, read_info, speaker_of
from spiritlm_pl.corpora.synthetic import spoken
from spiritlm_pl.corpora.synthetic.spoken import SPOKEN, speak_line
from spiritlm_pl.corpora.synthetic.spoken_texts import _shares

ANIMALS = ("cat", "dog", "pig", "cow", "hen", "fox", "owl", "bee")


def write(folder: Path, **texts: str) -> Path:
    for name, content in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(content, encoding="utf-8")
    return folder


def said(corpus: Path, split: str) -> dict[str, set[str]]:
    """Voices by text."""
    found: dict[str, set[str]] = {}
    for cut in load_cuts(corpus, split):
        found.setdefault(str(cut.supervisions[0].text), set()).add(speaker_of(cut))
    return found


def test_folders_are_splits_and_voices_are_held_out(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "texts",
        train__a="A cat ran. A dog ran.\n\nA pig ran.",
        validation__b="An owl ran.",
        test__c="A bee ran. A fox sat.",
        test__d="A hen ran.",
        train__e="A bee ran. A cow ran.",  # the first of them is in test already
    )
    out = tmp_path / "out"
    options: dict[str, Any] = {"voices": ("en-us", "en-us+f2"), "held_out_voices": ("en-gb", "en-gb+f4")}
    text(str(folder), str(out), **options, times_said=2, num_jobs=1)
    train, validation, test = (said(out, split) for split in SPLITS)
    assert set(train) == {"a cat ran", "a dog ran", "a pig ran", "a cow ran"} and set(validation) == {"an owl ran"}
    assert set(test) == {"a bee ran", "a fox sat", "a hen ran"}
    assert all(names == {"espeak-en-us", "espeak-en-us+f2"} for names in [*train.values(), *validation.values()])
    assert all(names == {"espeak-en-gb", "espeak-en-gb+f4"} for names in test.values())
    info = read_info(out)
    assert info is not None and info["arguments"]["held_out_voices"] == ["en-gb", "en-gb+f4"]
    assert not (out / SPOKEN).exists()


def test_fewer_utterances_are_spread_over_the_text(tmp_path: Path) -> None:
    file = write(tmp_path, lines=" ".join(f"Here is a {animal}." for animal in ANIMALS)) / "lines.txt"
    text(str(file), str(tmp_path / "out"), utterances=4, validation_fraction=0.0, test_fraction=0.25, num_jobs=1)
    counts = {split: len(load_cuts(tmp_path / "out", split)) for split in SPLITS}
    assert counts == {"train": 3, "validation": 0, "test": 1}


@pytest.mark.parametrize("sizes", [(850, 50, 100), (850, 0, 100), (3, 3, 3), (40, 1, 1), (7, 0, 0)])
@pytest.mark.parametrize("times_said", [1, 2, 3])
def test_no_more_utterances_than_asked_for(sizes: tuple[int, ...], times_said: int) -> None:
    splits: Any = {split: [None] * size for split, size in zip(SPLITS, sizes, strict=True)}
    full = [split for split in SPLITS if splits[split]]
    for utterances in [*range(times_said * len(full), 70), 10_000]:
        shares = _shares(splits, times_said, utterances)
        assert sum(shares.values()) == min(sum(sizes), utterances // times_said)
        assert all(0 < shares[split] <= len(splits[split]) for split in full) and sum(
            map(bool, shares.values())
        ) == len(full)
    for utterances in range(1, times_said * len(full)):
        with pytest.raises(ValueError, match=f"utterances must be at least {times_said * len(full)}, times_said"):
            _shares(splits, times_said, utterances)
    assert _shares(splits, times_said, None) == dict(zip(SPLITS, sizes, strict=True))


def test_held_out_voices_need_a_test_split(tmp_path: Path) -> None:
    folder = write(tmp_path / "texts", train__a="A cat ran. A dog ran.", validation__b="An owl ran.")
    options: dict[str, Any] = {"held_out_voices": ("en-gb",), "num_jobs": 1}
    with pytest.raises(ValueError, match="held_out_voices must be left out where .* but are en-gb instead"):
        text(str(folder), str(tmp_path / "out"), **options)
    with pytest.raises(ValueError, match="held_out_voices must be left out where .* but are en-gb instead"):
        text(str(folder / "train" / "a.txt"), str(tmp_path / "out"), **options, test_fraction=0.0)
    assert not (tmp_path / "out").exists()


def test_what_was_spoken_before_an_interrupt_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, lines=" ".join(f"Here is a {animal}." for animal in ANIMALS)) / "lines.txt"
    whole, out = tmp_path / "whole", tmp_path / "out"
    monkeypatch.setattr(spoken, "BATCH", 3)
    spoken_lines: list[str] = []
    most = len(ANIMALS)

    def speak(line: spoken.Line) -> Any:
        if len(spoken_lines) == most:
            raise KeyboardInterrupt
        spoken_lines.append(line.id)
        return speak_line(line)

    monkeypatch.setattr(spoken, "speak_line", speak)
    text(str(file), str(whole), num_jobs=1)
    order, most = [*spoken_lines], 7
    spoken_lines.clear()
    with pytest.raises(KeyboardInterrupt):
        text(str(file), str(out), num_jobs=1)
    assert read_info(out) is None and spoken_lines == order[:7]
    spoken_lines.clear()
    text(str(file), str(out), num_jobs=1)
    assert spoken_lines == order[6:]  # two parts of three lines were complete
    assert "2 of 3 parts were spoken before" in capsys.readouterr().err
    for split in SPLITS:
        assert said(out, split) == said(whole, split)
    names = sorted(path.relative_to(whole) for path in whole.rglob("*.wav"))
    assert len(names) == 8 and all((whole / name).read_bytes() == (out / name).read_bytes() for name in names)


def test_what_was_spoken_for_another_corpus_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = write(tmp_path, lines="Here is a cat. Here is a dog.") / "lines.txt", tmp_path / "out"

    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(spoken, "save_corpus", interrupted)
        with pytest.raises(KeyboardInterrupt):
            text(str(file), str(out), voices=("en-us",), num_jobs=1)
    with monkeypatch.context() as patch:
        patch.setattr(spoken, "save_corpus", interrupted)
        with pytest.raises(KeyboardInterrupt):
            text(str(file), str(out), voices=("en-gb",), num_jobs=1)  # overwrites the audio
    text(str(file), str(out), voices=("en-us",), num_jobs=1)
    text(str(file), str(tmp_path / "other"), voices=("en-us",), num_jobs=1)
    for path in (tmp_path / "other" / "audio").rglob("*.wav"):
        assert path.read_bytes() == next((out / "audio").rglob(path.name)).read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voices": ()}, "voices must have at least one name, but is empty"),
        ({"voices": ("en-us", "en-us")}, "voices must differ, but are en-us, en-us"),
        ({"voices": ("en-us",), "held_out_voices": ("en-us",)}, "held_out_voices must be others than voices"),
        (
            {"voices": ("nobody",)},
            "^voices must be of eSpeak NG, such as en-us or en-gb.f2, but one is 'nobody' instead",
        ),
        ({"held_out_voices": ("nobody",)}, "^held_out_voices must be of eSpeak NG, such as .*, but one is 'nobody'"),
        (
            {"voices": ("flite-nobody",)},
            "^voices must be flite-slt, .*, flite-awb where Flite speaks, but one is 'flite-no",
        ),
        (
            {"held_out_voices": ("flite-nobody",)},
            "^held_out_voices must be flite-slt, flite-rms, flite-awb where Flite",
        ),
        ({"voices": ("flite-slt",), "flite": "MISSING"}, r"flite must be a folder with libflite1 \(.deb\)"),
        ({"voices": ("en-us",), "times_said": 2}, r"times_said must be in \[1, 1\], the number of voices, but is 2"),
        ({"times_said": 0}, r"times_said must be in \[1, 3\]"),
        ({"utterances": 0}, "utterances must be at least 1, but is 0"),
        ({"speed": 40}, r"speed must be in \[80, 450\]"),
        ({"voices": ("flite-slt",), "speed": 500}, r"speed must be in \[80, 450\]"),
        ({"test_fraction": 1.0}, "test_fraction must be in"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path, lines="Here is a cat.") / "lines.txt"
    given = {name: str(tmp_path / value) if value == "MISSING" else value for name, value in options.items()}
    with pytest.raises((ValueError, OSError), match=message):
        text(str(file), str(tmp_path / "out"), **given, num_jobs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold words to say"),
        (b"... !!! 123 \xf0\x9f\x98\x80".replace(b"123", b"--"), "must hold words to say"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "file must be UTF-8 or UTF-16 text"),
        (b"A cat\0 ran.", "holds bytes of 0"),
        ("Он пришёл.".encode(), "all were skipped|must be in the letters a to z|says one by one"),
    ],
)
def test_files_that_are_no_text_to_say(content: bytes, message: str, tmp_path: Path, flite: Path) -> None:
    (tmp_path / "texts" / "a").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="a folder of .txt files, but .* has none"):
        text(str(tmp_path / "texts"), str(tmp_path / "out"), num_jobs=1)
    (tmp_path / "texts" / "a" / "x.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        text(str(tmp_path / "texts"), str(tmp_path / "out"), voices=("flite-slt",), flite=str(flite), num_jobs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utterances": 1, "test_fraction": 0.5}, "utterances must be at least 2"),
        (
            {"held_out_voices": ("en-us",), "test_fraction": 0.0},
            "held_out_voices must be left out where no sentence is",
        ),
        ({"speed": 500}, r"speed must be in \[80, 450\]"),
        ({"speed": 200}, "out must be a new folder, or one that was made with the same settings"),
        ({"file": "EMPTY"}, "must hold words to say"),
    ],
)
def test_flite_is_fetched_once_all_else_is_known_to_fit(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = write(tmp_path, lines="Here is a cat. Here is a dog. Here is a pig.", empty="..."), tmp_path / "out"
    given = {"voices": ("flite-slt",), "num_jobs": 1, "validation_fraction": 0.0} | options
    file = folder / ("empty.txt" if given.pop("file", None) else "lines.txt")
    if options == {"speed": 200}:
        text(str(file), str(out), num_jobs=1)

    def fetched(*where: object) -> None:
        raise AssertionError("Flite must not be fetched")

    monkeypatch.setattr("spiritlm_pl.corpora.synthetic.flite.package_files", fetched)
    with pytest.raises(ValueError, match=message):
        text(str(file), str(out), **given)
