"""`spiritlm extract-f0 CORPUS`: put the F0 of a corpus beside it."""

from spiritlm_pl.registry import trust_given


def extract_f0(
    corpus: str,
    extractor: str = "fcpe",
    name: str | None = None,
    device: str = "cpu",
    num_jobs: int | None = None,
    part_size: int = 1000,
) -> None:
    """Extract F0 and voicing, 200 frames a second, and the mean F0 of every speaker.

    An interrupted run goes on where it stopped. Recordings that cannot be read, or have samples
    that are not finite, are skipped and listed.

    Examples:
        spiritlm extract-f0 data/corpora/mine
        spiritlm extract-f0 data/corpora/mine --extractor yaapt --num-jobs 8

    Args:
        corpus: a folder made by `spiritlm prepare`.
        extractor: fcpe (fast, on a GPU too), yaapt (what the paper trains on; slow), yin (no further package),
            torchaudio (coarse), another that is registered, or the path of a class.
        name: under which the F0 is kept; that of the extractor if not given.
        device: of fcpe: cpu, cuda, cuda:1, ...
        num_jobs: processes; one a core if not given; on a GPU there is one. The result is the same.
        part_size: utterances in a file.
    """
    trust_given(extractor)
    from spiritlm_pl.corpora.manifest import SKIPPED_FILE
    from spiritlm_pl.f0.store import extract_corpus, f0_folder

    kept = name or extractor
    info = extract_corpus(corpus, kept, extractor, device=device, num_jobs=num_jobs, part_size=part_size)
    folder = f0_folder(corpus, kept)
    skipped = f"; {info.skipped} skipped, listed in {folder / SKIPPED_FILE}" if info.skipped else ""
    means = ", ".join(f"{speaker} {mean:.0f}" for speaker, mean in list(info.speaker_means.items())[:5])
    print(f"{folder}: F0 of {info.utterances} utterances{skipped}; mean F0, Hz: {means}")
