"""How much of what was said survives units and vocoder: resynthesise recordings and let recognisers judge.

Two judges. pocketsphinx with its own English acoustic model always runs. It decodes with a bigram language
model estimated from given transcripts (by default those under test), because its general model is wrong on a
third of the words even of clean originals: the closed vocabulary makes it a judge of sounds, and its figure
on the originals stands beside the other. Whisper runs where a folder that faster-whisper reads is at hand.

Shapes: S samples.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.text import char_error_rate, word_error_rate

from spiritlm_pl.speech.yin import f0_error
from spiritlm_pl.vocoder.mel import MelLoss

SAMPLE_RATE = 16_000
Recogniser = Callable[[Tensor], str]


@dataclass(frozen=True, kw_only=True)
class Resynthesis:
    """One utterance to judge: the original waveform (S,), its resynthesis (S',) and what is said."""

    id: str
    text: str
    original: Tensor
    made: Tensor


@dataclass(frozen=True, kw_only=True)
class RecognitionScore:
    """Percent; accuracy is 100 minus the word error rate, at least 0."""

    word_error_rate: float
    character_error_rate: float

    @property
    def word_accuracy(self) -> float:
        """Percent of words right, insertions counted against it."""
        return max(0.0, 100 - self.word_error_rate)


@dataclass(frozen=True, kw_only=True)
class ResynthesisReport:
    """What `evaluate_resynthesis` measured over all utterances."""

    num_utterances: int
    seconds: float
    mel_distance: float
    f0_error_semitones: float
    voicing_error: float
    recognition: dict[str, dict[str, RecognitionScore]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: recognition[judge]["original" | "resynthesis"], with word accuracies."""
        plain = asdict(self)
        for judge, scores in self.recognition.items():
            for name, score in scores.items():
                plain["recognition"][judge][name]["word_accuracy"] = score.word_accuracy
        return plain


def normalise(text: str) -> str:
    """Lower case words and apostrophes only, as recognisers are scored."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower().replace("’", "'")))


def evaluate_resynthesis(
    pairs: Sequence[Resynthesis],
    *,
    whisper_folder: str | Path | None = None,
    pocketsphinx: bool = True,
    language_texts: Sequence[str] | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> ResynthesisReport:
    """Compare resynthesised utterances with their originals.

    Mel distance and F0 error compare aligned waveforms (the shorter length counts), so make them with the
    true durations; recognition does not mind other durations.

    Args:
        pairs: the utterances.
        whisper_folder: folder of a faster-whisper model; None leaves this judge out.
        pocketsphinx: whether this judge runs.
        language_texts: transcripts that its language model is estimated from; None for those of `pairs`.
        sample_rate: of all waveforms, Hz.

    Raises:
        ValueError: if there is nothing to judge.
        ModuleNotFoundError: if `whisper_folder` is given and faster-whisper is not installed.
    """
    if not pairs:
        raise ValueError("pairs must hold at least one utterance, but is empty instead")
    mel = MelLoss(sample_rate)
    distances, semitones, voicings = [], [], []
    for pair in pairs:
        length = min(len(pair.original), len(pair.made))
        if length <= mel.log_mel.padding:
            continue
        original, made = pair.original[None, :length], pair.made[None, :length]
        distances.append(float(mel(made, original)))
        semitone, voicing = f0_error(made, original, sample_rate)
        semitones.append(float(semitone))
        voicings.append(float(voicing))
    texts = language_texts or [pair.text for pair in pairs]
    judges: dict[str, Recogniser] = {}
    if pocketsphinx:
        judges["pocketsphinx"] = pocketsphinx_recogniser(texts, sample_rate)
    if whisper_folder is not None:
        judges["whisper"] = whisper_recogniser(whisper_folder)
    return ResynthesisReport(
        num_utterances=len(pairs),
        seconds=sum(len(pair.original) for pair in pairs) / sample_rate,
        mel_distance=_mean(distances),
        f0_error_semitones=_mean(semitones),
        voicing_error=_mean(voicings),
        recognition={
            name: {
                "original": recognition_score(judge, ((pair.original, pair.text) for pair in pairs)),
                "resynthesis": recognition_score(judge, ((pair.made, pair.text) for pair in pairs)),
            }
            for name, judge in judges.items()
        },
    )


def recognition_score(judge: Recogniser, spoken: Iterable[tuple[Tensor, str]]) -> RecognitionScore:
    """Word and character error rates of waveforms (S,) with their transcripts, pooled over all of them."""
    heard, said = [], []
    for waveform, text in spoken:
        reference = normalise(text)
        if reference:
            heard.append(normalise(judge(waveform)))
            said.append(reference)
    if not said:
        return RecognitionScore(word_error_rate=math.nan, character_error_rate=math.nan)
    return RecognitionScore(
        word_error_rate=100 * float(word_error_rate(heard, said)),
        character_error_rate=100 * float(char_error_rate(heard, said)),
    )


def pocketsphinx_recogniser(texts: Sequence[str], sample_rate: int = SAMPLE_RATE) -> Recogniser:
    """A recogniser whose bigram language model is estimated from these transcripts.

    Words that the pronunciation dictionary lacks cannot be recognised: they are errors, for originals too.
    """
    from pocketsphinx import Config, Decoder

    decoder = Decoder(Config(lm=None, samprate=float(sample_rate), loglevel="FATAL"))
    sentences = [[word for word in normalise(text).split() if decoder.lookup_word(word)] for text in texts]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bigram.arpa"
        path.write_text(bigram_arpa(sentences))
        decoder.add_lm_file("transcripts", str(path))
        decoder.activate_search("transcripts")

    def recognise(waveform: Tensor) -> str:
        samples = (waveform.clamp(-1, 1) * 32767).to(torch.int16).numpy()
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return re.sub(r"\(\d+\)", "", hypothesis.hypstr) if hypothesis else ""

    return recognise


def bigram_arpa(sentences: Sequence[Sequence[str]], weight: float = 0.5) -> str:
    """An ARPA bigram model: seen bigrams discounted to `weight`, the rest backs off to add-one unigrams."""
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


def whisper_recogniser(folder: str | Path) -> Recogniser:
    """A Whisper model from a local folder, greedy, in English.

    Raises:
        ModuleNotFoundError: if faster-whisper is not installed (`pip install spiritlm-pl[whisper]`).
        ValueError: if there is no such folder.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"whisper_folder must be a folder with a faster-whisper model, but is {folder} instead")
    from faster_whisper import WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", local_files_only=True)

    def recognise(waveform: Tensor) -> str:
        segments, _ = model.transcribe(
            waveform.float().numpy(), language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text for segment in segments)

    return recognise


def _mean(values: list[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan
