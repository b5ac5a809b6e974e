"""Transcripts of what a model says: by Whisper, or by pocketsphinx in a closed vocabulary.

pocketsphinx hears only words of texts that it is given, in orders that these make likely. Whatever a model says becomes
such words, so that its transcripts are more fluent and less toxic than the speech; their figures compare models with
each other and with originals that were heard in the same way, and nothing else.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from torch import Tensor
from torchaudio.functional import resample

from spiritlm_pl.corpora.files import files_below, read_text
from spiritlm_pl.corpora.manifest import INFO_FILE, SPLITS, cuts_path, load_cuts
from spiritlm_pl.evaluation.recognition import SAMPLE_RATE, pocketsphinx_recogniser, whisper_recogniser

SHORTEST = round(0.1 * SAMPLE_RATE)  # samples; recognisers hear nothing in less, or fail
Hear: TypeAlias = Callable[[Tensor, int], str]


def transcriber(whisper: str | None, vocabulary: str | None, language: str, device: str = "cpu") -> Hear:
    """Return a function from a waveform (S,) and its rate in Hz to what is heard in it; empty for nothing.

    Args:
        whisper: folder of a faster-whisper model; None for pocketsphinx.
        vocabulary: file of texts, folder of such files or corpus folder, whose words pocketsphinx knows; None for
            Whisper.
        language: language that is spoken, by its code.
        device: device that Whisper computes on: cpu, cuda or cuda:1.

    Raises:
        ValueError: if not exactly one recogniser is given, or it cannot be used.
        ModuleNotFoundError: if Whisper is wanted and faster-whisper is not installed.
    """
    if (whisper is None) == (vocabulary is None):
        given = "neither is given" if whisper is None else "both are given"
        raise ValueError(
            "whisper must be a folder of a faster-whisper model, or vocabulary texts whose English words pocketsphinx "
            f"knows, but {given}"
        )
    if whisper is not None:
        recognise = whisper_recogniser(Path(whisper).expanduser(), language, device)
    else:
        recognise = _pocketsphinx(Path(str(vocabulary)).expanduser(), language)

    def hear(waveform: Tensor, sample_rate: int) -> str:
        waveform = resample(waveform.float().cpu(), sample_rate, SAMPLE_RATE)
        return recognise(waveform).strip() if len(waveform) >= SHORTEST else ""

    return hear


def _pocketsphinx(source: Path, language: str) -> Callable[[Tensor], str]:
    if language != "en":
        raise ValueError(f"vocabulary is for English alone, but language is {language!r}: give whisper instead")
    found = pocketsphinx_recogniser(texts_of(source))
    if found is None:
        raise ValueError(f"vocabulary must have English words, but pocketsphinx knows none of those in {source}")
    return found


def texts_of(source: Path) -> list[str]:
    """Return the texts of a file, of a folder of such files, or of a corpus.

    Raises:
        ValueError: if there is none of these.
    """
    if source.is_file():
        return read_text(source).splitlines()
    if not source.is_dir():
        raise ValueError(f"vocabulary must be a file of texts or a folder of them, but is {source} instead")
    if (source / INFO_FILE).is_file():
        present = [split for split in SPLITS if cuts_path(source, split).is_file()]
        cuts = [cut for split in present for cut in load_cuts(source, split)]
        return [cut.supervisions[0].text or "" for cut in cuts if cut.supervisions]
    return [line for path in files_below(source) if path.suffix == ".txt" for line in read_text(path).splitlines()]
