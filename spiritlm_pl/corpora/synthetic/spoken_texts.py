"""The corpus of the sentences of text files, spoken by eSpeak NG or Flite.

A sentence is in one split only, and so is a voice that is held out: the test split then tells how a model does with
words and with a voice that it never heard.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.files import files_below, path_id, read_text
from spiritlm_pl.corpora.manifest import SPLITS
from spiritlm_pl.corpora.replacing import check_corpus
from spiritlm_pl.corpora.splitting import assign_splits, by_split, check_fractions, spread_evenly
from spiritlm_pl.corpora.synthetic.flite import PREFIX
from spiritlm_pl.corpora.synthetic.spoken import (
    LICENCE,
    SYNTHESIZER,
    AnyVoice,
    Line,
    any_voices,
    check_any_voices,
    speak_lines,
)
from spiritlm_pl.corpora.text.transcripts import split_sentences, spoken_form, unreadable
from spiritlm_pl.runtime.found import found_at

LONGEST_SENTENCE = 200  # words, more than a minute; a longer one is usually a list, or text without punctuation
FLITE_LICENCE = (
    "speech made by Flite (BSD-like licence of Carnegie Mellon University, voices of CMU Arctic) from text under: "
)


@dataclass(frozen=True)
class Sentence:
    """A sentence of a text.

    Attributes:
        id: name of its file, and its number there.
        text: the sentence as written.
        key: the words that are said for it.
        path: file that it is from.
        part: name of the folder of that file within the folder that was given; empty if it lies there itself.
    """

    id: str
    text: str
    key: str
    path: Path
    part: str


def read_sentences(file: Path) -> list[Sentence]:
    """Read the sentences of a text file, or of all .txt files of a folder; each different one once.

    Args:
        file: path of the file or folder.

    Raises:
        FileNotFoundError: if there is no such file, or no .txt file in the folder.
        ValueError: if a file is no Unicode text, or there is nothing to say.
    """
    if file.is_dir():
        paths = [path for path in files_below(file) if path.suffix.lower() == ".txt"]
        if not paths:
            raise FileNotFoundError(f"file must be a text file or a folder of .txt files, but {file} has none instead")
    elif file.is_file():
        paths = [file]
    else:
        raise FileNotFoundError(f"file must be a text file or a folder of them, but {found_at(file)}")
    found: dict[str, Sentence] = {}
    for path in paths:
        inner = path.relative_to(file) if file.is_dir() else Path(path.name)
        try:
            text = read_text(path)
        except ValueError as error:
            raise ValueError(f"file must be UTF-8 or UTF-16 text, but {error}") from error
        if "\0" in text:
            raise ValueError(f"file must be UTF-8 or UTF-16 text, but {path} holds bytes of 0 instead")
        part = inner.parts[0] if len(inner.parts) > 1 else ""
        for sentence in split_sentences(text):
            key = spoken_form(sentence)
            if key not in found:
                found[key] = Sentence(f"{path_id(inner)}-{len(found):06d}", sentence, key, path, part)
    if not found:
        raise ValueError(f"file must hold words to say, but {file} has none instead")
    return list(found.values())


def split_by_parts(
    sentences: Sequence[Sentence], validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[Sentence]]:
    """Distribute sentences over the splits: by the names of their folders, or else at random.

    Args:
        sentences: sentences, all different.
        validation_fraction: share of the validation split, where splits are drawn.
        test_fraction: share of the test split, where splits are drawn.
        seed: seed of the draw.
    """
    parts: dict[str, list[Sentence]] = {}
    for sentence in sentences:
        parts.setdefault(sentence.part, []).append(sentence)
    found = by_split(parts)
    if isinstance(found, dict):
        return found
    drawn = assign_splits([sentence.key for sentence in sentences], validation_fraction, test_fraction, seed)
    return {split: [one for one in sentences if drawn[one.key] == split] for split in SPLITS}


def speak_text(
    file: str | Path,
    out: str | Path,
    *,
    seed: int,
    voices: Sequence[str],
    speed: int,
    validation_fraction: float,
    test_fraction: float,
    held_out_voices: Sequence[str] = (),
    times_said: int = 1,
    utterances: int | None = None,
    flite: str | Path | None = None,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a corpus of the sentences of texts, said by the voices in turn.

    Args:
        file: path of a text file in UTF-8 or UTF-16, or of a folder of .txt files.
        out: path of the corpus folder to write.
        seed: seed of the random splits.
        voices: voices that take turns, as in `any_voices`.
        speed: rate of speech in words a minute, 80 to 450.
        validation_fraction: share of the sentences in the validation split, where folders do not tell the splits.
        test_fraction: share of the sentences in the test split, likewise.
        held_out_voices: voices that say the test split alone; none for the same voices as of the other splits.
        times_said: number of voices that say each sentence.
        utterances: largest number of utterances; None for all.
        flite: folder with the .deb file of Flite; None fetches it if a voice is Flite's.
        num_jobs: number of processes; None for one per core.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The contents of `corpus.json`.

    Raises:
        FileNotFoundError: if the file is missing.
        PackageError: if Flite cannot be fetched or loaded.
        ValueError: if the file is no Unicode text or holds nothing to say, a voice is not known, named twice or both
            held out and not, held-out voices have no test split to say, a number is out of range, or `utterances` are
            too few for every split to have one.
    """
    file, out = Path(file), Path(out)
    check_fractions(validation_fraction, test_fraction)
    _check_voices(voices, held_out_voices, times_said)
    if utterances is not None and utterances < 1:
        raise ValueError(f"utterances must be at least 1, but is {utterances} instead")
    names = [*voices, *held_out_voices]
    source = f"{' and '.join(_synthesizers(names))} reading {file.name}"
    arguments = {
        "file": str(file.resolve()),
        "seed": seed,
        "voices": list(voices),
        "held_out_voices": list(held_out_voices),
        "times_said": times_said,
        "utterances": utterances,
        "speed": speed,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
    }
    splits = split_by_parts(read_sentences(file), validation_fraction, test_fraction, seed)
    if held_out_voices and not splits["test"]:
        raise ValueError(
            "held_out_voices must be left out where no sentence is in the test split, which alone they say, but "
            f"are {', '.join(held_out_voices)} instead: set test_fraction, or give the text a folder test"
        )
    most = _shares(splits, times_said, utterances)
    check_corpus(out, source, arguments, overwrite)
    # Last, since it may fetch Flite.
    with any_voices(names, speed, None if flite is None else Path(flite)) as speakers:
        lines: list[Line] = []
        line_splits: list[str] = []
        skipped: list[Skipped] = []
        for split, members in splits.items():
            own = held_out_voices if split == "test" and held_out_voices else voices
            for index, sentence in enumerate(spread_evenly(members, most[split])):
                for turn in range(times_said):
                    voice = speakers[own[(index * times_said + turn) % len(own)]]
                    name = sentence.id if times_said == 1 else f"{sentence.id}-{voice.name}"
                    reason = _unsayable(sentence.text, voice)
                    if reason is None:
                        lines.append(Line(name, sentence.text, voice, out / "audio" / split / f"{name}.wav"))
                        line_splits.append(split)
                    else:
                        skipped.append(Skipped(name, str(sentence.path), reason))
        if not lines:
            raise ValueError(f"file must hold sentences that can be said, but all were skipped ({skipped[0].reason})")
        return speak_lines(
            out,
            lines,
            line_splits,
            num_jobs,
            skipped=skipped,
            overwrite=overwrite,
            name=out.name,
            source=source,
            licence="; ".join(_licences(names)),
            arguments=arguments,
        )


def _check_voices(voices: Sequence[str], held_out: Sequence[str], times_said: int) -> None:
    if not voices:
        raise ValueError("voices must have at least one name, but is empty instead")
    for option, names in (("voices", voices), ("held_out_voices", held_out)):
        if len(set(names)) < len(names):
            raise ValueError(f"{option} must differ, but are {', '.join(names)} instead")
        check_any_voices(names, option)
    if shared := sorted(set(voices) & set(held_out)):
        raise ValueError(f"held_out_voices must be others than voices, but both have {', '.join(shared)} instead")
    fewest = min(len(voices), len(held_out) or len(voices))
    if not 1 <= times_said <= fewest:
        raise ValueError(f"times_said must be in [1, {fewest}], the number of voices, but is {times_said} instead")


def _shares(splits: dict[str, list[Sentence]], times_said: int, utterances: int | None) -> dict[str, int]:
    """Return the largest number of sentences of each split: one each, and the others in proportion to what it has.

    Their sum, times `times_said`, is at most `utterances`: of fractions of a sentence, the largest are rounded up.
    """
    sizes = {split: len(members) for split, members in splits.items() if members}
    total = sum(sizes.values())
    if utterances is None or utterances >= total * times_said:
        return {split: len(members) for split, members in splits.items()}
    fewest = times_said * len(sizes)
    if utterances < fewest:
        raise ValueError(
            f"utterances must be at least {fewest}, times_said {times_said} for each of {' and '.join(sizes)}, "
            f"but is {utterances} instead"
        )
    others = utterances // times_said - len(sizes)
    exact = {split: others * (size - 1) / (total - len(sizes)) for split, size in sizes.items()}
    shares = {split: 1 + int(share) for split, share in exact.items()}
    by_fraction = sorted(sizes, key=lambda split: int(exact[split]) - exact[split])
    for split in by_fraction[: others + len(sizes) - sum(shares.values())]:
        shares[split] += 1
    return dict.fromkeys(splits, 0) | shares


def _synthesizers(names: Sequence[str]) -> list[str]:
    others = [name for name in names if not name.startswith(PREFIX)]
    return [SYNTHESIZER] * bool(others) + ["Flite"] * (len(others) < len(names))


def _licences(names: Sequence[str]) -> list[str]:
    texts = {SYNTHESIZER: LICENCE, "Flite": FLITE_LICENCE}
    return [f"{texts[name]}the text's own licence" for name in _synthesizers(names)]


def _unsayable(sentence: str, voice: AnyVoice) -> str | None:
    """Return the reason why a voice cannot say a sentence; None if it can."""
    words = len(sentence.split())
    if words > LONGEST_SENTENCE:
        return (
            f"sentence must have at most {LONGEST_SENTENCE} words, but has {words} instead: end sentences with a full "
            "stop or an empty line"
        )
    unknown = unreadable(sentence, voice.language)
    if unknown is None:
        return None
    return f"sentence must have one reading for voice {voice.name}, but has {unknown!r} instead: write it in words"
