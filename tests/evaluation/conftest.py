"""A miniature of spoken corpora: tones of changing pitch, tokens made up for them, and vocoders of random weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from spiritlm_pl.corpora.audio import load_waveform, save_wav
from spiritlm_pl.corpora.manifest import load_cuts, make_cut, save_corpus
from spiritlm_pl.data.corpus_store import UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.merge import run_starts
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.streams import PITCH, PLURALS, STYLE, UNIT, SpeechLayout
from spiritlm_pl.tokenizers.style import StyleEncoder, StyleEncoderConfig
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

EXPRESSIVE = SpeechLayout.spirit_lm(num_units=12, frame_rate=25.0, num_pitches=5, num_styles=4)
BASE = SpeechLayout.spirit_lm(num_units=12, frame_rate=25.0)
HOP = 640


@dataclass(frozen=True)
class Said:
    """One utterance of a made-up corpus; F0 rises by a fifth from `f0`, none of it is silence."""

    id: str
    f0: float = 120.0
    text: str = "press one"
    speaker: str = "ann"
    style: str = ""
    seconds: float = 1.6

    def waveform(self) -> Tensor:
        """A tone with harmonics, of a whole number of unit frames."""
        times = torch.arange(round(self.seconds * 25) * HOP) / 16_000
        phase = 2 * math.pi * self.f0 * (times + 0.25 * times**2 / self.seconds)
        return 0.1 * sum((torch.sin(k * phase) / k for k in range(1, 8)), torch.zeros(()))


def write_corpus(folder: Path, said: Sequence[Said]) -> Path:
    cuts = []
    for one in said:
        path = folder / "audio" / f"{one.id.replace('/', '_')}.wav"
        custom = {"style": one.style} if one.style else {}
        count = save_wav(path, one.waveform())
        cuts.append(
            make_cut(
                one.id, path, sample_rate=16_000, num_samples=count, text=one.text, speaker=one.speaker, custom=custom
            )  # fmt: skip
        )
    save_corpus(folder, {"test": cuts}, name="tones", source="test", licence="none")
    return folder


def tokens_of(one: Said, layout: SpeechLayout = EXPRESSIVE, **changes: Any) -> UnitUtterance:
    """Units that tell one utterance from another by its text, pitch codes by F0, style codes by style."""
    frames = round(one.seconds * 25)
    rng = np.random.default_rng(sum(map(ord, one.text)))
    row = np.repeat(rng.integers(0, layout.size(UNIT), frames), 2)[:frames].astype(np.uint16)
    starts = run_starts(row)
    codes = {
        PITCH: (np.arange(frames // 2) // 5 + int(one.f0 > 150)).astype(np.uint16) % 5,
        STYLE: np.full(max(1, math.ceil(one.seconds)), len(one.style) % 4, dtype=np.uint16),
    }
    found = UnitUtterance(
        id=one.id,
        corpus="tones",
        speaker=one.speaker,
        duration=one.seconds,
        text=one.text,
        units=row[starts],
        unit_starts=starts.astype(np.uint32),
        num_frames=frames,
        custom={"style": one.style} if one.style else {},
        codes=codes if layout.expressive else {},
    )
    return replace(found, **changes)


def write_units(folder: Path, rows: Sequence[UnitUtterance], layout: SpeechLayout = EXPRESSIVE) -> Path:
    write_part(folder / "test", 0, rows, "x")
    finish_folder(folder / "test", ["x"], layout=layout, provenance={})
    return folder


def vocoder_config(layout: SpeechLayout, **changes: Any) -> InverseSTFTConfig:
    sizes = {f"num_{PLURALS[name]}": layout.size(name) for name in (UNIT, PITCH, STYLE)}
    small = {"embedding_dim": 4, "channels": 8, "hidden_channels": 8, "unit_blocks": 1, "frame_blocks": 1,
             "duration_channels": 4, "speakers": ("ann", "bob")}  # fmt: skip
    return InverseSTFTConfig(**(sizes | small | changes))


def vocoder(layout: SpeechLayout, **changes: Any) -> InverseSTFTVocoder:
    torch.manual_seed(0)
    return InverseSTFTVocoder(vocoder_config(layout, **changes))


class Parrot(InverseSTFTVocoder):
    """Says what it is told to, in turn, whatever the units."""

    def __init__(self, waveforms: Sequence[Tensor], layout: SpeechLayout = EXPRESSIVE, **changes: Any) -> None:
        super().__init__(vocoder_config(layout, **changes))
        self.waveforms = iter(waveforms)

    def synthesize(self, *arguments: Any, **options: Any) -> Tensor:
        return next(self.waveforms)


def originals(corpus: Path) -> list[Tensor]:
    return [load_waveform(cut) for cut in load_cuts(corpus, "test")]


def classifier_network(labels: Sequence[str]) -> StyleEncoder:
    """Random weights, MFCCs without the utterance's mean left in."""
    torch.manual_seed(0)
    settings = {"frame_rate": 50.0, "normalize": False}
    return StyleEncoder(StyleEncoderConfig(encoder="mfcc", settings=settings, projection_dim=8, labels=tuple(labels)))


@dataclass(frozen=True)
class Mini:
    """Folders of a miniature, as the commands take them."""

    corpus: Path
    units: Path
    base: Path
    expressive: Path
    style_classifier: Path
    speaker_classifier: Path

    def vocoders(self) -> str:
        return f'{{"Base": "{self.base}", "Expressive": "{self.expressive}"}}'


SAID = [
    Said(f"{style}-{speaker}-{number}", f0 + 20 * number, text, speaker, style)
    for number, text in enumerate(("press one", "hello there"))
    for speaker in ("ann", "bob")
    for style, f0 in (("high", 200.0), ("low", 110.0))
]


class Kit:
    """What tests make miniatures of."""

    Said, Parrot, said = Said, Parrot, SAID
    expressive, base = EXPRESSIVE, BASE
    tokens = staticmethod(tokens_of)
    units = staticmethod(write_units)
    corpus = staticmethod(write_corpus)
    vocoder = staticmethod(vocoder)
    originals = staticmethod(originals)
    classifier = staticmethod(classifier_network)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mini(self, said: Sequence[Said] = SAID, rows: Sequence[UnitUtterance] | None = None) -> Mini:
        """Write all that the commands take; tokens are made up for `said` unless given."""
        folder = self.folder
        return Mini(
            write_corpus(folder / "corpus", said),
            write_units(folder / "units", [tokens_of(one) for one in said] if rows is None else rows),
            save_network(folder / "base", vocoder(BASE), "vocoder"),
            save_network(folder / "expressive", vocoder(EXPRESSIVE), "vocoder"),
            save_network(folder / "style", classifier_network(("high", "low")), "style"),
            save_network(folder / "speaker", classifier_network(("ann", "bob")), "style"),
        )


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def save_words(folder: Path, words: Sequence[str], **names: str) -> None:
    """Write a tokenizer of `transformers` whose tokens are words; `names` are its special tokens."""
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **names).save_pretrained(folder)


@pytest.fixture
def save_tokenizer() -> Callable[..., None]:
    """`save_words`."""
    return save_words


@pytest.fixture
def text_model(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """Function that writes a small language model of words, of 12 places, with its tokenizer."""

    def write(words: Sequence[str]) -> Path:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=12,
            initializer_range=0.8,
        )
        folder = tmp_path / "text_model"
        LlamaForCausalLM(config).save_pretrained(folder)
        save_words(folder, words, bos_token="<s>")
        return folder

    return write
