"""Corpora of synthetic speech: lines that are said by voices of eSpeak NG or Flite.

Word and phone times come with the audio, so no alignment is needed. What a command has said stays in `.spoken` until
the corpus is complete, so that an interrupted command goes on where it was when it is run again.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lhotse import MonoCut
from lhotse.serialization import deserialize_item

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import SAMPLE_RATE, save_wav, to_mono
from spiritlm_pl.corpora.manifest import INFO_FILE, SPLITS, make_cut, save_corpus, write_jsonl
from spiritlm_pl.corpora.replacing import check_corpus, claim_audio, drop_orphans
from spiritlm_pl.corpora.synthetic.espeak import UnsayableError, Voice, new_speaker, speaker
from spiritlm_pl.corpora.synthetic.flite import PREFIX, FliteVoice, check_voice, flite_libraries, flite_speaker
from spiritlm_pl.runtime.parallel import parallel_map
from spiritlm_pl.runtime.provenance import code_version

SYNTHESIZER = "eSpeak NG"
LICENCE = f"speech made by {SYNTHESIZER} (GPL-3.0-or-later program; its output is free of it) from text under: "
DEFAULT_VOICES = ("en-us", "en-us+f2", "en-gb+m3")
SPOKEN = ".spoken"  # what has been said for an unfinished corpus
BATCH = 32  # lines that are said before they are noted down

AnyVoice = Voice | FliteVoice


@dataclass(frozen=True)
class Line:
    """A text to be said by one voice.

    Attributes:
        id: id of the utterance.
        text: text that is said, as written.
        voice: voice and its settings.
        path: file to which the audio is written.
        custom: further fields to store with the utterance; None for none.
        speaker: name of the speaker; None takes the name of the voice.
    """

    id: str
    text: str
    voice: AnyVoice
    path: Path
    custom: dict[str, Any] | None = None
    speaker: str | None = None


def speak_line(line: Line) -> MonoCut:
    """Say a line, write its audio at 16 kHz, and describe it as a cut; the same line always has the same samples.

    Raises:
        UnsayableError: if the voice cannot say it.
    """
    if isinstance(line.voice, FliteVoice):
        spoken = flite_speaker(line.voice.folder).speak(line.text, line.voice)
        name = line.speaker or line.voice.name
    else:
        with new_speaker() as one:
            spoken = one.speak(line.text, line.voice)
        name = f"espeak-{line.speaker or line.voice.name}"
    waveform = torch.from_numpy(spoken.samples).float()[None] / 32768
    num_samples = save_wav(line.path, to_mono(waveform, spoken.sample_rate))
    return make_cut(
        line.id,
        line.path,
        sample_rate=SAMPLE_RATE,
        num_samples=num_samples,
        text=" ".join(word.text for word in spoken.words),
        speaker=name,
        language=line.voice.language,
        words=spoken.words,
        phones=spoken.phones,
        custom=line.custom,
    )


def check_speed(speed: int) -> None:
    """Raise ValueError unless a rate of speech is one that the voices speak at, 80 to 450 words a minute."""
    if not 80 <= speed <= 450:
        raise ValueError(f"speed must be in [80, 450] words a minute, but is {speed} instead")


def check_voices(names: Sequence[str], argument: str = "voices") -> None:
    """Check that voices of eSpeak NG are known, trying each once.

    Args:
        names: names of the voices, such as en-us or en-gb+f2.
        argument: name of the argument that gives them, for the error.

    Raises:
        ValueError: if one is not known.
    """
    for name in names:
        try:
            speaker().set_voice(Voice(name))
        except ValueError:
            raise ValueError(
                f"{argument} must be of eSpeak NG, such as en-us or en-gb+f2, but one is {name!r} instead"
            ) from None


def check_any_voices(names: Sequence[str], argument: str = "voices") -> None:
    """Check that voices of eSpeak NG or Flite are known, before anything is fetched; see `check_voices`."""
    for name in names:
        if name.startswith(PREFIX):
            check_voice(name, argument)
        else:
            check_voices([name], argument)


def make_voices(names: Sequence[str], speed: int) -> list[Voice]:
    """Make voices of eSpeak NG from their names, trying each once.

    Args:
        names: names of eSpeak NG voices, such as en-us or en-gb+f2.
        speed: rate of speech in words a minute, 80 to 450.

    Raises:
        ValueError: if there are no names, one is not known, or the speed is out of range.
    """
    if not names:
        raise ValueError("voices must have at least one name, but is empty instead")
    check_speed(speed)
    check_voices(names)
    return [Voice(name, speed) for name in names]


@contextmanager
def any_voices(names: Sequence[str], speed: int, flite: Path | None) -> Iterator[dict[str, AnyVoice]]:
    """Give voices of eSpeak NG and of Flite by their names, each tried once; Flite's last as long as the context.

    Args:
        names: names of the voices: flite-slt, flite-rms or flite-awb, or those of `make_voices`.
        speed: rate of speech in words a minute, 80 to 450.
        flite: folder with the .deb file of Flite; None fetches it with apt-get if a voice is Flite's.

    Raises:
        PackageError: if Flite cannot be fetched or loaded.
        ValueError: if there are no names, one is not known, or the speed is out of range.
    """
    check_speed(speed)
    check_any_voices(names)
    others = [name for name in names if name.startswith(PREFIX)]
    plain = [name for name in names if name not in others]
    espeak: dict[str, AnyVoice] = {}
    if plain or not others:
        espeak = dict(zip(plain, make_voices(plain, speed), strict=True))
    if not others:
        yield espeak
        return
    with flite_libraries(flite) as folder:
        for name in others:
            flite_speaker(folder).voice(name)
        yield espeak | {name: FliteVoice(name, folder, speed) for name in others}


def speak_lines(
    out: Path,
    lines: Sequence[Line],
    splits: Sequence[str],
    num_jobs: int | None,
    skipped: Sequence[Skipped] = (),
    overwrite: bool = False,
    **description: Any,
) -> dict[str, Any]:
    """Make a corpus folder of lines; those that were said for the same corpus before an interrupt are kept.

    Args:
        out: path of the corpus folder to write.
        lines: lines to say, one utterance each.
        splits: split of each line.
        num_jobs: number of processes; None for one per core.
        skipped: texts that were left out before.
        overwrite: whether to replace a corpus in the folder that was made with other settings.
        description: name, source, licence and other arguments of `save_corpus`.

    Raises:
        ValueError: if no line can be said, or the folder has a corpus of other settings, without `overwrite`.
    """
    check_corpus(out, description["source"], description.get("arguments", {}), overwrite)
    (out / "audio").mkdir(parents=True, exist_ok=True)
    (out / INFO_FILE).unlink(missing_ok=True)  # the audio of an earlier corpus will be overwritten
    places = claim_audio(out, (line.path for line in lines), ())
    lines = [replace(line, path=place) for line, place in zip(lines, places, strict=True)]
    batches = [_Batch.of(out / SPOKEN, lines[start : start + BATCH]) for start in range(0, len(lines), BATCH)]
    _keep_only(out / SPOKEN, {batch.path.name for batch in batches})
    cuts: dict[str, list[MonoCut]] = {name: [] for name in SPLITS}
    left_out = list(skipped)
    parts = parallel_map(_speak_batch, batches, num_jobs, f"speaking, in parts of {BATCH}", worth=len(lines))
    results = (result for part in parts for result in part)
    for split, result in zip(splits, results, strict=True):
        if isinstance(result, Skipped):
            left_out.append(result)
        else:
            cuts[split].append(result)
    if not any(cuts.values()):
        raise ValueError(f"voices must be able to say a text, but all were skipped ({left_out[-1].reason})")
    info = save_corpus(out, cuts, skipped=left_out, **description)
    shutil.rmtree(out / SPOKEN)
    drop_orphans(out, (Path(cut.recording.sources[0].source) for members in cuts.values() for cut in members))
    return info


@dataclass(frozen=True)
class _Batch:
    """Lines, and the file in which what came of them is noted down; its name tells the lines."""

    path: Path
    lines: Sequence[Line]

    @classmethod
    def of(cls, folder: Path, lines: Sequence[Line]) -> "_Batch":
        digest = sha256(f"{code_version()} {lines!r}".encode()).hexdigest()
        return cls(folder / f"{digest[:32]}.jsonl", lines)


def _keep_only(folder: Path, names: set[str]) -> None:
    """Remove what was said for other lines, since its audio may be overwritten now."""
    kept = 0
    for path in folder.glob("*.jsonl"):
        if path.name in names:
            kept += 1
        else:
            path.unlink()
    if kept:
        print(f"{kept} of {len(names)} parts were spoken before an interrupt and are kept", file=sys.stderr)


def _speak_batch(batch: _Batch) -> list[MonoCut | Skipped]:
    """Say lines, or read what came of them before."""
    if batch.path.is_file():
        rows = [json.loads(line) for line in batch.path.read_text(encoding="utf-8").splitlines()]
        found = [Skipped(**row) if "reason" in row else deserialize_item(row) for row in rows]
        if all(line.path.is_file() for line, result in zip(batch.lines, found, strict=True) if _is_said(result)):
            return found
    results: list[MonoCut | Skipped] = []
    for line in batch.lines:
        try:
            results.append(speak_line(line))
        except UnsayableError as error:
            results.append(Skipped(line.id, str(line.path), str(error)))
    write_jsonl(batch.path, [asdict(one) if isinstance(one, Skipped) else one.to_dict() for one in results])
    return results


def _is_said(result: MonoCut | Skipped) -> bool:
    return not isinstance(result, Skipped)
