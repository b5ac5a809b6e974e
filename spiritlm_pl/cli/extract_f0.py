"""`spiritlm extract-f0 CORPUS`: put the F0 of a corpus beside it."""

from pathlib import Path
from typing import Literal


def extract_f0(
    corpus: str,
    extractor: Literal["fcpe", "yaapt", "yin", "torchaudio"] = "fcpe",
    name: str | None = None,
    device: str = "cpu",
    batch_seconds: float = 100.0,
    part_size: int = 1000,
) -> None:
    """Extract F0 and voicing, 200 frames a second, and the mean F0 of every speaker.

    An interrupted run goes on where it stopped. Recordings that cannot be read are skipped and listed.

    Args:
        corpus: a folder made by `spiritlm prepare`.
        extractor: fcpe (fast, on a GPU too), yaapt (what the paper trains on; slow), yin (no further package) or
            torchaudio (coarse).
        name: under which the F0 is kept; that of the extractor if not given.
        device: of fcpe: cpu, cuda, cuda:1, ...
        batch_seconds: audio in a batch, padding included.
        part_size: utterances in a file.
    """
    from rich.progress import Progress

    from spiritlm_pl.corpora.manifest import SKIPPED_FILE
    from spiritlm_pl.speech.f0 import make_extractor
    from spiritlm_pl.speech.f0_store import extract_corpus, f0_folder, read_f0_info

    kept = name or extractor
    made = make_extractor(extractor, device)
    with Progress(transient=True) as bar:
        task = bar.add_task("extracting F0", total=None)
        parts = extract_corpus(
            corpus,
            kept,
            made,
            {"extractor": extractor},
            device=device,
            batch_seconds=batch_seconds,
            part_size=part_size,
        )
        for done, total in parts:
            bar.update(task, completed=done, total=total)
    info, folder = read_f0_info(corpus, kept), Path(f0_folder(corpus, kept))
    skipped = f"; {info.skipped} skipped, listed in {folder / SKIPPED_FILE}" if info.skipped else ""
    means = ", ".join(f"{speaker} {mean:.0f}" for speaker, mean in list(info.speaker_means.items())[:5])
    print(f"{folder}: F0 of {info.utterances} utterances{skipped}; mean F0, Hz: {means}")
