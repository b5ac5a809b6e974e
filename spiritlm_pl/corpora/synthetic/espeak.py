"""eSpeak NG as a speaker with exact word and phone times (through the library in the package espeakng-loader).

The library tells, for every word and phone, at which sample it starts. Words that it merges into one ("in the") are
separated at the place where the phones fit best those of each word said alone.

Shapes: S samples.
"""

import _ctypes
import ctypes
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import espeakng_loader
import numpy as np
import regex

from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.text.transcripts import written_tokens
from spiritlm_pl.runtime.interrupts import interrupts_held

_SYNCHRONOUS, _PHONEME_EVENTS, _DO_NOT_EXIT, _UTF8 = 2, 0x01, 0x8000, 1
_LIST_END, _WORD, _PHONE = 0, 1, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_STRESS = "',%=|;"
_PAUSE = "_"
_RANDOM_SEED = 1  # of the breath in voices
_ALIASES = {"en-gb": "en"}  # the library knows British English by its file name only


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class UnsayableError(ValueError):
    """Error for a text that a voice cannot say."""


@dataclass(frozen=True)
class Voice:
    """A voice and its settings.

    Args:
        name: an eSpeak NG voice, with a variant if wished, such as "en-us" or "en-gb+f2".
        speed: rate of speech in words a minute, 80 to 450.
        pitch: base pitch in eSpeak's scale, 0 (low) to 99.
        pitch_range: range of pitch in eSpeak's scale, 0 (monotone) to 99.
    """

    name: str
    speed: int = 175
    pitch: int = 50
    pitch_range: int = 50

    @property
    def language(self) -> str:
        """Language of the voice, such as en for en-us+f2."""
        return self.name.partition("+")[0].partition("-")[0]


@dataclass(frozen=True)
class Spoken:
    """Speech with its times.

    Attributes:
        samples: waveform (S,) as int16.
        sample_rate: sample rate of the waveform in Hz.
        words: words as they are said, in order, each with its own time.
        phones: eSpeak's phones with times, without stress marks; pauses are left out.
    """

    samples: np.ndarray
    sample_rate: int
    words: list[Word]
    phones: list[Word]


class Speaker:
    """The eSpeak NG library; `new_speaker` gives one to say a text, `speaker` one to ask for phones and voices."""

    def __init__(self, library: str | Path | None = None) -> None:
        """Load the library and its voices.

        Args:
            library: path of the shared library; None for that of espeakng-loader. A copy of its own has its own state.
        """
        self._library = ctypes.CDLL(str(library or espeakng_loader.get_library_path()))
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 500, data, _PHONEME_EVENTS | _DO_NOT_EXIT)
        if self.sample_rate <= 0:
            raise OSError(f"eSpeak NG did not start with the voices in {data.decode()}")
        self._chunks: list[bytes] = []
        self._events: list[tuple[int, int, int, str]] = []  # type, character, sample, name
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice: Voice | None = None

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _LIST_END:
            event = events[index]
            name = event.name.decode("utf-8", "replace") if event.type == _PHONE else ""
            self._events.append((event.type, event.position - 1, event.sample, name))
            index += 1
        return 0

    def set_voice(self, voice: Voice) -> None:
        """Set the voice of the next speech.

        Raises:
            ValueError: if there is no such voice.
        """
        if voice == self._voice:
            return
        name, _, variant = voice.name.partition("+")
        known = not variant or _variant_file(variant).is_file()
        full_name = "+".join(filter(None, (_ALIASES.get(name, name), variant)))
        if not known or self._library.espeak_SetVoiceByName(full_name.encode()) != 0:
            raise ValueError(
                f"voice must be one of eSpeak NG, such as en-us or en-gb+f2, but is {voice.name!r} instead"
            )
        for parameter, value in ((_RATE, voice.speed), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._voice = voice
        self._phones_alone.cache_clear()

    @lru_cache(maxsize=10_000)  # noqa: B019 - one Speaker lives as long as its process
    def _phones_alone(self, word: str) -> tuple[str, ...]:
        text = ctypes.c_char_p(word.encode())
        names = self._library.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, ord("|") << 8) or b""
        return tuple(name.strip(_STRESS) for name in names.decode("utf-8", "replace").split("|"))

    def phones_of(self, word: str, voice: Voice) -> tuple[str, ...]:
        """Return the phones of a word said alone, without stress marks."""
        self.set_voice(voice)
        return self._phones_alone(word)

    def speak(self, text: str, voice: Voice) -> Spoken:
        """Say a text; numbers and symbols are written out in words first.

        Raises:
            UnsayableError: if there is nothing to say, or letters that an English voice spells by their names.
            ValueError: if there is no such voice.
        """
        written, words, starts = readable(text, voice.language)
        if not words:
            raise UnsayableError(f"text must have words to say, but is {text!r} instead")
        if voice.language == "en" and regex.search(r"(?!\p{Latin})\p{Letter}", written):
            raise UnsayableError(f"text must be in Latin letters for voice {voice.name}, but is {text!r} instead")
        self.set_voice(voice)
        self._chunks.clear()
        self._events.clear()
        data = written.encode()
        with interrupts_held():  # ctypes would lose an interrupt that comes during the callback
            self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        samples = np.frombuffer(b"".join(self._chunks), dtype=np.int16).copy()
        groups = self._groups(starts, len(samples))
        timed_words: list[Word] = []
        timed_phones: list[Word] = []
        for members, phones in groups:
            alone = [self._phones_alone(words[index]) for index in members]
            for index, part in zip(members, partition([p.text for p in phones], alone), strict=True):
                own = phones[part]
                timed_words.append(Word(words[index], own[0].start, own[-1].end))
            timed_phones += phones
        return Spoken(samples, self.sample_rate, timed_words, timed_phones)

    def _groups(self, starts: Sequence[int], num_samples: int) -> list[tuple[range, list[Word]]]:
        """Group the words that the library said as one, each group with its phones (at least one a word)."""
        firsts: list[int] = []  # first word of each group
        phones: list[list[tuple[str, int]]] = []  # name and first sample
        for kind, character, sample, name in self._events:
            if kind == _WORD:
                # at the start of a clause the library points at the space before the word
                word = int(np.searchsorted(starts, character + 1, side="right")) - 1
                if word >= 0 and (not firsts or word > firsts[-1]):
                    firsts.append(word)
                    phones.append([("", sample)])
            elif kind == _PHONE and phones:
                phones[-1].append((name.strip(_STRESS), sample))
        if firsts:
            firsts[0] = 0
        bounds = [*firsts, len(starts)]
        flat_end = [*(group[0][1] for group in phones[1:]), num_samples]
        result: list[tuple[range, list[Word]]] = []
        for index, group in enumerate(phones):
            begin, named = group[0][1], group[1:]
            ends = [*(sample for _, sample in named[1:]), flat_end[index]]
            timed = [
                Word(name, begin if position == 0 else sample, end)
                for position, ((name, sample), end) in enumerate(zip(named, ends, strict=True))
                if name and not name.startswith(_PAUSE) and end > sample
            ]
            seconds = [Word(p.text, p.start / self.sample_rate, p.end / self.sample_rate) for p in timed]
            members = range(bounds[index], bounds[index + 1])
            if len(seconds) >= len(members):
                result.append((members, seconds))
            elif result:  # fewer phones than words: join them to the group before
                before, sounds = result[-1]
                result[-1] = (range(before.start, members.stop), sounds + seconds)
        return result


def readable(text: str, language: str) -> tuple[str, list[str], list[int]]:
    """Return the text for the library, the words in it, and the character at which each word starts."""
    pieces: list[str] = []
    words: list[str] = []
    starts: list[int] = []
    position = 0
    for token, said in written_tokens(text, language):
        pause = regex.search(r"\p{Terminal_Punctuation}(?=[\"'\p{Pe}\p{Pf}]*$)", token)
        for index, word in enumerate(said):
            mark = pause[0] if pause and index == len(said) - 1 else ""
            words.append(word)
            starts.append(position)
            pieces.append(word + mark)
            position += len(pieces[-1]) + 1
    return " ".join(pieces), words, starts


def _variant_file(variant: str) -> Path:
    return Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant


def whispering(name: str) -> str:
    """Return the name of the whispering voice of the same accent and sex.

    A voice takes only one variant, so the timbre of its own variant is lost.

    Raises:
        ValueError: if there is no such voice.
    """
    speaker().set_voice(Voice(name))
    return f"{name.partition('+')[0]}+whisper{'f' if is_female(name) else ''}"


def is_female(name: str) -> bool:
    """Whether a voice is a woman's, by its variant; voices without a variant are men's."""
    variant = name.partition("+")[2]
    if not variant:
        return False
    text = _variant_file(variant).read_text(encoding="utf-8")
    return regex.search(r"^\s*gender\s+female", text, regex.MULTILINE) is not None


def partition(phones: Sequence[str], alone: Sequence[Sequence[str]]) -> list[slice]:
    """Cut phones into one non-empty part a word, so that the parts fit best the phones of each word said alone.

    Args:
        phones: phones that were said for all words together.
        alone: phones of each word when said alone.
    """
    if len(alone) == 1:
        return [slice(0, len(phones))]
    assert len(phones) >= len(alone)
    best: dict[int, tuple[float, list[slice]]] = {0: (0.0, [])}
    for index, own in enumerate(alone):
        left = len(alone) - index - 1
        following: dict[int, tuple[float, list[slice]]] = {}
        for start, (cost, parts) in best.items():
            ends = range(start + 1, len(phones) - left + 1) if left else [len(phones)]
            for end in ends:
                total = cost + _distance(phones[start:end], own)
                if end not in following or total < following[end][0]:
                    following[end] = (total, [*parts, slice(start, end)])
        best = following
    return best[len(phones)][1]


def _distance(said: Sequence[str], own: Sequence[str]) -> float:
    """Return the edit distance of phone names; replacing a vowel by another one (as in a weak form) costs half."""
    row = [float(j) for j in range(len(own) + 1)]
    for i, left in enumerate(said, 1):
        previous, row[0] = row[0], float(i)
        for j, right in enumerate(own, 1):
            change = 0.0 if left == right else 0.5 if _is_vowel(left) and _is_vowel(right) else 1.0
            previous, row[j] = row[j], min(previous + change, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def _is_vowel(phone: str) -> bool:
    return phone[:1] in "aeiouAEIOUV@039"


@lru_cache(maxsize=1)
def speaker() -> Speaker:
    """Return a speaker to ask for phones and voices; what it says depends on what it has said, see `new_speaker`."""
    return Speaker()


@contextmanager
def new_speaker() -> Iterator[Speaker]:
    """Give a speaker that has not spoken before: the same texts in the same order always give the same samples.

    The library goes on from one text to the next with the phase, the flutter and the random numbers of its last one, so
    what it says of a text depends on all that the process has said. A copy of it has a state of its own.
    """
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "libespeak-ng.so"
        shutil.copyfile(espeakng_loader.get_library_path(), copy)
        new = Speaker(copy)
    library = new._library
    library.espeak_ng_SetRandSeed(ctypes.c_long(_RANDOM_SEED))
    try:
        yield new
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
