"""Speech recognisers that measure how much of the words can still be heard.

There are two of them. pocketsphinx with its own English acoustic model runs by default. It decodes with a bigram
language model estimated from given transcripts (by default those under test), because its general model is wrong on a
third of the words even of clean originals. The closed vocabulary makes it a measure of sounds, whose figure on the
originals is the reference. Whisper runs if a folder of a faster-whisper model is given.

Shapes: S samples.
"""

import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import regex
from torch import Tensor
from torchaudio.functional import edit_distance
from torchmetrics.functional.text import char_error_rate, word_error_rate

from spiritlm_pl.corpora.audio import to_int16
from spiritlm_pl.corpora.text.transcripts import spoken_form
from spiritlm_pl.runtime.found import lacks

SAMPLE_RATE = 16_000
WHISPER_WEIGHTS = {"cpu": "int8", "cuda": "float16"}  # number format of its weights by kind of device
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻ`´", "'") | {"\u200b": " "})  # NFKC makes ´ a space
# Invisible characters, lengthening in Arabic, accents in Armenian words, and points in Catalan and Hebrew words.
_NO_DIFFERENCE = regex.compile(
    r"[\p{Cf}\u0640\u055b\u055c\u055e]|(?<=[\p{L}\p{M}])[·׳״](?=\p{L})|(?<=\p{Hebrew})\"(?=\p{Hebrew})"
)
Recogniser = Callable[[Tensor], str]


@dataclass(frozen=True, kw_only=True)
class RecognitionScore:
    """Error rates and accuracy in percent; accuracy is 100 minus the word error rate, at least 0."""

    word_error_rate: float
    character_error_rate: float

    @property
    def word_accuracy(self) -> float:
        """Share of correct words in percent, less the share of inserted ones."""
        return max(0.0, 100 - self.word_error_rate)


@dataclass(frozen=True)
class Heard:
    """Words that were said and words that a recogniser heard, both normalised."""

    said: str
    heard: str

    def word_edits(self) -> int:
        """Count the words that are wrong, missing or inserted."""
        return int(edit_distance(self.heard.split(), self.said.split()))

    def character_edits(self) -> int:
        """Count the characters that are wrong, missing or inserted."""
        return int(edit_distance(self.heard, self.said))


def normalise(text: str) -> str:
    """Reduce a text to lower case words of any script and apostrophes, as recognisers are scored.

    Invisible characters (soft hyphens, joiners, marks of direction) are removed.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).casefold()
    seen = _NO_DIFFERENCE.sub("", plain)
    kept = (char if char == "'" or unicodedata.category(char)[0] in "LMN" else " " for char in seen)
    return " ".join("".join(kept).split())


def said_words(text: str, language: str = "en") -> str:
    """Write a text as the words that are said for it, normalised: "20 %" and "twenty percent" are the same.

    Recognisers may write numbers and abbreviations where transcripts spell them out, and the reverse.

    Args:
        text: text of a transcript or of a recogniser.
        language: language in which numbers are read; see `spoken_form`.
    """
    return normalise(spoken_form(text, language=language))


def hear(recogniser: Recogniser, waveform: Tensor, text: str, language: str = "en") -> Heard | None:
    """Recognise a waveform, and return the result beside its transcript.

    Args:
        recogniser: speech recogniser that is applied to the waveforms.
        waveform: (S,) samples at the recogniser's rate.
        text: transcript of the waveform.
        language: language of the transcript.

    Returns:
        Both as words that are said; None if the transcript has no words.
    """
    said = said_words(text, language)
    return Heard(said, said_words(recogniser(waveform), language)) if said else None


def recognition_score(
    recogniser: Recogniser, spoken: Iterable[tuple[Tensor, str]], language: str = "en"
) -> RecognitionScore:
    """Count word and character errors, pooled over all utterances.

    Args:
        recogniser: speech recogniser that is applied to the waveforms.
        spoken: waveforms (S,), each with its transcript.
        language: language of the transcripts.
    """
    found = [pair for waveform, text in spoken if (pair := hear(recogniser, waveform, text, language)) is not None]
    if not found:
        return RecognitionScore(word_error_rate=math.nan, character_error_rate=math.nan)
    heard, said = [pair.heard for pair in found], [pair.said for pair in found]
    return RecognitionScore(
        word_error_rate=100 * float(word_error_rate(heard, said)),
        character_error_rate=100 * float(char_error_rate(heard, said)),
    )


def recognisers(
    texts: Sequence[str],
    *,
    pocketsphinx: bool = True,
    whisper_folder: str | Path | None = None,
    language: str = "en",
    sample_rate: int = SAMPLE_RATE,
) -> dict[str, Recogniser]:
    """Build the speech recognisers by name; there are none without transcripts.

    pocketsphinx is left out, with a warning, if its English dictionary has none of the words.

    Args:
        texts: transcripts that pocketsphinx's language model is estimated from.
        pocketsphinx: whether to use this recogniser.
        whisper_folder: folder of a faster-whisper model; None not to use Whisper.
        language: language of the transcripts, which Whisper expects, by its code: en, de, pl, ...
        sample_rate: rate of the waveforms in Hz.

    Raises:
        ValueError: if the folder does not exist, or no transcript to compare with.
        ModuleNotFoundError: if `whisper_folder` is given and faster-whisper is not installed.
    """
    if not any(said_words(text, language) for text in texts):
        if whisper_folder is not None:
            raise ValueError(
                f"whisper must be left out where there are no transcripts, but is {whisper_folder} instead"
            )
        return {}
    found: dict[str, Recogniser] = {}
    sphinx = pocketsphinx_recogniser(texts, sample_rate) if pocketsphinx else None
    if sphinx is not None:
        found["pocketsphinx"] = sphinx
    elif pocketsphinx:
        warnings.warn("pocketsphinx knows none of these words and is left out; give whisper, language", stacklevel=2)
    if whisper_folder is not None:
        found["whisper"] = whisper_recogniser(whisper_folder, language)
    return found


def pocketsphinx_recogniser(texts: Sequence[str], sample_rate: int = SAMPLE_RATE) -> Recogniser | None:
    """Build a recogniser with a bigram language model of some transcripts; return None if it knows none of their words.

    Words that the pronunciation dictionary lacks cannot be recognised, and count as errors also for originals.
    """
    from pocketsphinx import Config, Decoder

    known = Decoder(Config(lm=None, samprate=float(sample_rate), loglevel="FATAL"))
    sentences = [[word for word in said_words(text).split() if known.lookup_word(word)] for text in texts]
    words = sorted({word for sentence in sentences for word in sentence})
    if not words:
        return None
    with TemporaryDirectory() as folder:
        grammar, dictionary = Path(folder) / "bigram.arpa", Path(folder) / "words.dict"
        grammar.write_text(bigram_arpa(sentences), encoding="utf-8")
        dictionary.write_text(
            "".join(f"{line}\n" for word in words for line in pronunciations(word, known.lookup_word)), encoding="utf-8"
        )
        # A dictionary of only these words, since the decoder would take half a minute to load the whole one.
        decoder = Decoder(Config(lm=str(grammar), dict=str(dictionary), samprate=float(sample_rate), loglevel="FATAL"))

    def recognise(waveform: Tensor) -> str:
        samples = to_int16(waveform).numpy()
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return re.sub(r"\(\d+\)", "", hypothesis.hypstr) if hypothesis else ""

    return recognise


def pronunciations(word: str, lookup: Callable[[str], str | None]) -> Iterator[str]:
    """Return the lines of a dictionary for a word: its pronunciations, the second one as `word(2)` and so on."""
    name, number = word, 1
    while phones := lookup(name):
        yield f"{name} {phones}"
        number += 1
        name = f"{word}({number})"


def bigram_arpa(sentences: Sequence[Sequence[str]], weight: float = 0.5) -> str:
    """Return a bigram model in ARPA format: seen bigrams get `weight`, the rest backs off to add-one unigrams."""
    unigrams: Counter[str] = Counter()
    bigrams: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        words = ["<s>", *sentence, "</s>"]
        unigrams.update(words[1:])
        bigrams.update(zip(words, words[1:], strict=False))
    history: Counter[str] = Counter()
    for (first, _), count in bigrams.items():
        history[first] += count
    vocabulary = sorted(unigrams)
    total = sum(unigrams.values()) + len(vocabulary)
    lines = ["\\data\\", f"ngram 1={len(vocabulary) + 1}", f"ngram 2={len(bigrams)}", "", "\\1-grams:"]
    backoff = math.log10(1 - weight)
    lines.append(f"-99 <s> {backoff:.4f}")
    for word in vocabulary:
        probability = math.log10((unigrams[word] + 1) / total)
        lines.append(f"{probability:.4f} {word}" + (f" {backoff:.4f}" if word in history else " 0.0"))
    lines += ["", "\\2-grams:"]
    for (first, second), count in sorted(bigrams.items()):
        lines.append(f"{math.log10(weight * count / history[first]):.4f} {first} {second}")
    return "\n".join([*lines, "", "\\end\\", ""])


def check_whisper(folder: str | Path) -> None:
    """Check that a Whisper model can be loaded, before the long work whose result it recognises.

    Raises:
        ModuleNotFoundError: if faster-whisper is not installed (`pip install spiritlm-pl[whisper]`).
        ValueError: if the folder does not exist.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"whisper must be a folder with a faster-whisper model, but {lacks(folder)}")
    if find_spec("faster_whisper") is None:
        raise ModuleNotFoundError('whisper needs faster-whisper: pip install "spiritlm-pl[whisper]"')


def whisper_recogniser(folder: str | Path, language: str = "en", device: str = "cpu") -> Recogniser:
    """Load a Whisper model from a local folder, for greedy decoding in one language.

    Args:
        folder: folder of a faster-whisper model.
        language: language that is spoken, by its code.
        device: cpu, where weights are 8-bit integers; or cuda or cuda:1, where they are float16.

    Raises:
        ModuleNotFoundError: if faster-whisper is not installed.
        ValueError: if the folder does not exist, or the device is none that Whisper can use.
    """
    check_whisper(folder)
    found = re.fullmatch(r"(cpu|cuda)|cuda:(\d+)", device)
    if found is None:
        raise ValueError(f"whisper_device must be cpu, cuda or cuda:1, but is {device} instead")
    from faster_whisper import WhisperModel

    kind = found[1] or "cuda"
    try:
        model = WhisperModel(
            str(folder),
            device=kind,
            device_index=int(found[2] or 0),
            compute_type=WHISPER_WEIGHTS[kind],
            local_files_only=True,
        )
    except (RuntimeError, ValueError) as error:  # of CTranslate2: no such device, or too old a one
        raise ValueError(f"whisper cannot be loaded from {folder} on {device}: {error}") from error

    def recognise(waveform: Tensor) -> str:
        segments, _ = model.transcribe(
            waveform.float().cpu().numpy(),
            language=language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text for segment in segments)

    return recognise
