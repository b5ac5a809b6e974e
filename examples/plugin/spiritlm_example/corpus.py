"""A kind of corpus: `spiritlm prepare tones OUT`."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from spiritlm_pl.cli.prepare.report import report
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.collect import collect
from spiritlm_pl.corpora.ingest import Rules, Utterance

NAMES = ("low", "middle", "high", "top")
SAMPLE_RATE = 16_000


def tones(out: str, utterances: int = 40, seed: int = 0, overwrite: bool = False) -> None:
    """Make a corpus of tones whose words are the names of the tones, three in each utterance.

    Args:
        out: corpus folder to write.
        utterances: number of utterances to make.
        seed: seed for drawing the words and the splits.
        overwrite: replace a corpus in `out` that was made with other settings, which is refused otherwise.
    """
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    sounds = [0.3 * torch.sin(2 * math.pi * 200.0 * 2**place * time) for place in range(len(NAMES))]
    with TemporaryDirectory() as folder:
        found = []
        for index in range(utterances):
            places = torch.randint(len(NAMES), (3,), generator=generator).tolist()
            path = Path(folder) / f"tones-{index:03d}.wav"
            save_wav(path, torch.cat([sounds[place] for place in places]))
            words = " ".join(NAMES[place] for place in places)
            found.append(Utterance(path.stem, path, words, "machine", stays=False))
        rules = Rules(min_duration=0.1)
        collect(
            out,
            found,
            rules,
            name=Path(out).name,
            source="spiritlm_example",
            licence="CC0-1.0",
            seed=seed,
            arguments={"utterances": utterances},
            overwrite=overwrite,
        )
    report(out)
