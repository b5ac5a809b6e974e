"""Synthetic rooms and backgrounds, and the treatments that put speech into them.

A room is an impulse response of noise that decays exponentially. Backgrounds are of families: coloured noise, rain,
wind, machines and clocks. Where a condition changes, it does so between the two parts of a recording, without a click.

Shapes: S samples, P samples of one part.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchaudio.functional import fftconvolve

from spiritlm_pl.benchmarks.make.speaking import LEVEL, Utterance, to_level
from spiritlm_pl.benchmarks.make.treatments import Joined, faded
from spiritlm_pl.corpora.audio import SAMPLE_RATE

ROOMS = {"booth": 0.1, "office": 0.35, "hall": 0.8, "church": 1.8}  # seconds in which the sound falls by 60 dB
REVERBERANT = 1.0  # energy of the room's answer beside the direct sound
TAIL = 0.5  # seconds that are kept after the last word, whatever the room
CROSSFADE = 0.04
LOWEST = 40.0  # Hz; below it backgrounds have nothing
PAUSE = 0.05


def impulse_response(seconds: float, seed: int) -> Tensor:
    """Make the response of a room (S,) to a click: the click, then noise that has fallen by 60 dB after `seconds`."""
    size = round(seconds * SAMPLE_RATE)
    noise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    decay = noise * torch.exp(-math.log(1000) * torch.arange(size) / size)
    response = decay * math.sqrt(REVERBERANT) / decay.norm()
    response[0] = 1.0
    return response


@dataclass(frozen=True)
class InRooms:
    """Parts said in rooms, one room a part; the first one's echo goes on into the second.

    Attributes:
        rooms: name of the room of each part.
        seed: seed of the rooms' walls.
    """

    rooms: tuple[str, ...]
    seed: int

    def __call__(self, parts: Sequence[Utterance]) -> Tensor:
        """Put each part into its room."""
        gap, tail = round(PAUSE * SAMPLE_RATE), round(TAIL * SAMPLE_RATE)
        total = sum(len(part.waveform) + gap for part in parts) - gap + tail
        result, start = torch.zeros(total), 0
        for part, room in zip(parts, self.rooms, strict=True):
            sound = fftconvolve(part.waveform, impulse_response(ROOMS[room], self.seed))
            own = sound[: len(part.waveform)]
            sound = (sound * LEVEL / own.square().mean().sqrt())[: total - start]
            result[start : start + len(sound)] += sound
            start += len(part.waveform) + gap
        result[-tail:] *= torch.linspace(1, 0, tail)
        return result


def _coloured(size: int, slope: float, random: torch.Generator) -> Tensor:
    """Make noise (S,) whose power falls by `slope` times 3 dB an octave."""
    spectrum = torch.fft.rfft(torch.randn(size, generator=random))
    frequencies = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE).clamp(min=LOWEST)
    return torch.fft.irfft(spectrum * frequencies ** (-slope / 2) * (frequencies > LOWEST), size)


def _rain(size: int, drops: float, random: torch.Generator) -> Tensor:
    """Make drops (a second) over a soft noise."""
    hits = (torch.rand(size, generator=random) < drops / SAMPLE_RATE) * torch.randn(size, generator=random)
    drop = torch.randn(400, generator=random) * torch.exp(-torch.arange(400) / 60)
    sound = fftconvolve(hits, drop)[:size]
    return sound / sound.std().clamp(min=1e-6) + 0.5 * _normal(_coloured(size, 0.0, random))


def _wind(size: int, gusts: float, random: torch.Generator) -> Tensor:
    """Make low noise that swells `gusts` times a second."""
    phase = 2 * math.pi * float(torch.rand(1, generator=random))
    swell = 1.2 + torch.sin(2 * math.pi * gusts * torch.arange(size) / SAMPLE_RATE + phase)
    return _coloured(size, 2.0, random) * swell


def _machine(size: int, pitch: float, random: torch.Generator) -> Tensor:
    """Make a hum of many overtones."""
    time = torch.arange(size) / SAMPLE_RATE
    tones = range(1, 25)
    phases = 2 * math.pi * torch.rand(len(tones), generator=random)
    return sum((torch.sin(2 * math.pi * pitch * k * time + phases[k - 1]) / k for k in tones), torch.zeros(size))


def _clock(size: int, ticks: float, random: torch.Generator) -> Tensor:
    """Make ticks (a second) over a very soft noise."""
    hits = torch.zeros(size)
    hits[int(float(torch.rand(1, generator=random)) * 1000) :: round(SAMPLE_RATE / ticks)] = 1.0
    tick = torch.sin(2 * math.pi * 2200 * torch.arange(500) / SAMPLE_RATE) * torch.exp(-torch.arange(500) / 70)
    return _normal(fftconvolve(hits, tick)[:size]) + 0.1 * _normal(_coloured(size, 1.0, random))


# Family -> name -> how it is made; two of one family are alike.
BACKGROUNDS: dict[str, dict[str, tuple[Callable[[int, float, torch.Generator], Tensor], float]]] = {
    "noise": {"white": (_coloured, 0.0), "pink": (_coloured, 1.0), "brown": (_coloured, 2.0)},
    "rain": {"drizzle": (_rain, 30.0), "shower": (_rain, 400.0)},
    "wind": {"breeze": (_wind, 0.3), "gusts": (_wind, 1.5)},
    "engine": {"fridge": (_machine, 50.0), "motor": (_machine, 87.0)},
    "clock": {"slow clock": (_clock, 1.0), "fast clock": (_clock, 4.0)},
}


def background(name: str, size: int, seed: int) -> Tensor:
    """Make a background (S,) of unit power by its name."""
    make, value = next(found[name] for found in BACKGROUNDS.values() if name in found)
    return _normal(make(size, value, torch.Generator().manual_seed(seed)))


def _normal(waveform: Tensor) -> Tensor:
    return waveform / waveform.square().mean().sqrt().clamp(min=1e-9)


@dataclass(frozen=True)
class OverBackground:
    """Parts over backgrounds, one a part, each drawn anew, whether it is another one or the same.

    Attributes:
        backgrounds: name of the background of each part.
        seed: seed of the backgrounds.
        snr: level of the speech above the background in dB.
    """

    backgrounds: tuple[str, ...]
    seed: int
    snr: float = 10.0

    def __call__(self, parts: Sequence[Utterance]) -> Tensor:
        """Put a background under each part."""
        speech = to_level(Joined(PAUSE)(parts))
        gap = round(PAUSE * SAMPLE_RATE)
        weight, start = torch.zeros(len(speech)), 0
        for number, (part, name) in enumerate(zip(parts, self.backgrounds, strict=True)):
            end = len(speech) if part is parts[-1] else start + len(part.waveform) + gap // 2
            window = _window(len(speech), start, end)
            weight += window * background(name, len(speech), self.seed + number)
            start = end
        noise = _normal(weight) * LEVEL * 10 ** (-self.snr / 20)
        return faded(speech + noise, start=True, end=True)


def _window(size: int, start: int, end: int) -> Tensor:
    """Return weights (S,) that are 1 from `start` to `end`; the squares of neighbours add up to 1 where they meet."""
    half = round(CROSSFADE * SAMPLE_RATE / 2)
    place = torch.arange(size)
    rise = torch.ones(size) if start == 0 else ((place - start + half) / (2 * half)).clamp(0, 1)
    fall = torch.ones(size) if end == size else ((end + half - place) / (2 * half)).clamp(0, 1)
    return (rise * fall).sqrt()
