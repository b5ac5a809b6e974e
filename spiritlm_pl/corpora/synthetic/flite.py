"""Flite as a speaker with word and phone times, through the shared libraries of the Debian package libflite1.

Its voices slt, rms and awb are made of recordings of people (CMU Arctic) and sound more natural than eSpeak NG's; they
speak English. Flite's own phone ends are the times. The voice kal is left out: its waveform ends up to a tenth of a
second before its last phone, so that its times do not fit.

Shapes: S samples.
"""

import ctypes
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from spiritlm_pl.corpora.debian import PackageError, licence_notice, package_files
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.synthetic.espeak import Spoken, UnsayableError, readable

PACKAGE = "libflite1"
PREFIX = "flite-"
VOICES = ("slt", "rms", "awb")
NOTICE_FILE = "copyright"
OWN_SPEED = 175  # words a minute that stand for the voices' own rate, as for eSpeak NG
_LIBRARIES = ("flite", "flite_usenglish", "flite_cmulex")  # in the order in which they need each other
_PAUSE = "pau"
_RANDOM_SEED = 1  # of the noise in voices


@dataclass(frozen=True)
class FliteVoice:
    """A voice of Flite.

    Args:
        name: one of flite-slt (a woman), flite-rms and flite-awb (men).
        folder: folder of Flite's shared libraries, from `flite_libraries`. Voices that differ in it alone are equal.
        speed: rate of speech in words a minute; 175 is the voice's own.
    """

    name: str
    folder: Path = field(compare=False, repr=False)
    speed: int = OWN_SPEED

    @property
    def language(self) -> str:
        """Language of the voice: English."""
        return "en"


class _Wave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.c_void_p),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


_POINTER, _NAME = ctypes.c_void_p, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {  # result and arguments
    "flite_init": (ctypes.c_int, []),
    "flite_synth_text": (_POINTER, [_NAME, _POINTER]),
    "feat_set_float": (None, [_POINTER, _NAME, ctypes.c_float]),
    "utt_wave": (ctypes.POINTER(_Wave), [_POINTER]),
    "utt_relation": (_POINTER, [_POINTER, _NAME]),
    "relation_head": (_POINTER, [_POINTER]),
    "item_next": (_POINTER, [_POINTER]),
    "item_daughter": (_POINTER, [_POINTER]),
    "item_feat_string": (_NAME, [_POINTER, _NAME]),
    "item_feat_float": (ctypes.c_float, [_POINTER, _NAME]),
    "ffeature_float": (ctypes.c_float, [_POINTER, _NAME]),
    "delete_utterance": (None, [_POINTER]),
}


@contextmanager
def flite_libraries(source: Path | None) -> Iterator[Path]:
    """Give a folder with Flite's shared libraries and its licence, for as long as the context lasts.

    Args:
        source: folder with the package's .deb file; None fetches it with `apt-get download`, which installs nothing.

    Raises:
        PackageError: if the package cannot be fetched or read, or holds no Flite.
    """
    files = package_files([PACKAGE], source, "flite")
    libraries = {Path(name).name: data for name, data in files.items() if ".so." in name}
    if not any(name.startswith("libflite.so") for name in libraries):
        raise PackageError(
            f"{PACKAGE} must hold libflite.so, but holds {', '.join(sorted(libraries)) or 'none'} instead"
        )
    with TemporaryDirectory(prefix="flite-") as folder:
        for name, data in libraries.items():
            Path(folder, name).write_bytes(data)
        Path(folder, NOTICE_FILE).write_text(licence_notice(files), encoding="utf-8")
        yield Path(folder)


def check_voice(name: str, argument: str = "voice") -> str:
    """Return the name of a voice as Flite has it, such as slt for flite-slt.

    Args:
        name: name of the voice, such as flite-slt.
        argument: name of the argument that gives it, for the error.

    Raises:
        ValueError: if there is no such voice.
    """
    known = {PREFIX + voice: voice for voice in VOICES}
    if name not in known:
        raise ValueError(f"{argument} must be {', '.join(known)} where Flite speaks, but one is {name!r} instead")
    return known[name]


class FliteSpeaker:
    """The Flite library of a folder; `flite_speaker` loads it once a process."""

    def __init__(self, folder: Path) -> None:
        """Load the library.

        Args:
            folder: folder of the shared libraries.

        Raises:
            PackageError: if a library is missing or does not load.
        """
        self._folder = folder
        self._library, *_ = [self._load(name) for name in _LIBRARIES]
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        self._library.flite_init()
        self._voices: dict[str, int] = {}
        self._seed = ctypes.CDLL(None).srand  # the voices' noise is the C library's

    def _load(self, name: str) -> ctypes.CDLL:
        paths = sorted(self._folder.glob(f"lib{name}.so.*"))
        if not paths:
            raise PackageError(f"{PACKAGE} must hold lib{name}.so, but {self._folder} does not")
        try:
            return ctypes.CDLL(str(paths[-1]), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise PackageError(f"Flite does not load ({error}): install what it needs, such as libasound2") from error

    def voice(self, name: str) -> int:
        """Return the address of a voice, loading it at the first time.

        Raises:
            ValueError: if there is no such voice.
        """
        short = check_voice(name)
        if name not in self._voices:
            register = getattr(self._load(f"flite_cmu_us_{short}"), f"register_cmu_us_{short}")
            register.restype, register.argtypes = _POINTER, [_POINTER]
            self._voices[name] = register(None)
        return self._voices[name]

    def speak(self, text: str, voice: FliteVoice) -> Spoken:
        """Say a text; the same text always has the same samples.

        Raises:
            UnsayableError: if there is nothing to say, or a word that Flite does not say, such as one of other scripts.
            ValueError: if there is no such voice.
        """
        written, words, _ = readable(text, voice.language)
        if not words:
            raise UnsayableError(f"text must have words to say, but is {text!r} instead")
        plain = _without_accents(written)
        if not plain.isascii():
            raise UnsayableError(
                f"text must be in the letters a to z, with or without accents, for voice {voice.name}, but is {text!r} "
                "instead"
            )
        library, address = self._library, self.voice(voice.name)
        features = _Voice.from_address(address).features
        library.feat_set_float(features, b"duration_stretch", OWN_SPEED / voice.speed)
        self._seed(_RANDOM_SEED)
        utterance = library.flite_synth_text(plain.encode(), address)
        if not utterance:
            raise UnsayableError(f"text must be one that Flite can say, but is {text!r} instead")
        try:
            made = library.utt_wave(utterance)
            if not made:
                raise UnsayableError(f"text must be one that Flite can say, but is {text!r} instead")
            wave = made.contents
            samples = np.frombuffer(ctypes.string_at(wave.samples, 2 * wave.num_samples), dtype=np.int16).copy()
            sample_rate = int(wave.sample_rate)  # the wave is freed with the utterance
            seconds = len(samples) / sample_rate
            spans = [self._span(token) for token in self._items(utterance, b"Token")]
            phones = self._phones(utterance, seconds)
        finally:
            library.delete_utterance(utterance)
        if len(spans) != len(words) or any(end <= start for start, end in spans):
            raise UnsayableError(f"text must have words that Flite says one by one, but is {text!r} instead")
        timed = [Word(word, start, min(end, seconds)) for word, (start, end) in zip(words, spans, strict=True)]
        return Spoken(samples, sample_rate, timed, phones)

    def _items(self, utterance: int, relation: bytes) -> Iterator[int]:
        return self._from(self._library.relation_head(self._library.utt_relation(utterance, relation)))

    def _from(self, item: int | None) -> Iterator[int]:
        while item:
            yield item
            item = self._library.item_next(item)

    def _span(self, token: int) -> tuple[float, float]:
        """Return start and end of a written word, of which Flite may make several (fox's: fox, 's)."""
        first, last = (b"R:SylStructure.daughter%s.daughter%s.R:Segment." % (place, place) for place in (b"1", b"n"))
        spans = [
            (self._library.ffeature_float(word, first + b"p.end"), self._library.ffeature_float(word, last + b"end"))
            for word in self._from(self._library.item_daughter(token))
        ]
        heard = [(start, end) for start, end in spans if end > start]  # a part without phones has no times
        return (heard[0][0], heard[-1][1]) if heard else (0.0, 0.0)

    def _phones(self, utterance: int, seconds: float) -> list[Word]:
        phones, start = [], 0.0
        for segment in self._items(utterance, b"Segment"):
            end = min(self._library.item_feat_float(segment, b"end"), seconds)
            name = self._library.item_feat_string(segment, b"name").decode()
            if name != _PAUSE and end > start:
                phones.append(Word(name, start, end))
            start = end
        return phones


@lru_cache(maxsize=1)
def flite_speaker(folder: Path) -> FliteSpeaker:
    """Return the speaker of the libraries in a folder."""
    return FliteSpeaker(folder)


def _without_accents(text: str) -> str:
    """Return a text in which letters have lost their accents, since Flite spells what it does not know."""
    return "".join(letter for letter in unicodedata.normalize("NFD", text) if not unicodedata.combining(letter))
