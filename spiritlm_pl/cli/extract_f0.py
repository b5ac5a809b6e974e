"""`spiritlm extract-f0 CORPUS`: extract the F0 of a corpus and store it beside the corpus."""

from spiritlm_pl.registry import trust_given


def extract_f0(
    corpus: str,
    extractor: str = "fcpe",
    name: str | None = None,
    device: str = "cpu",
    half: bool = False,
    num_jobs: int | None = None,
    part_size: int = 1000,
    overwrite: bool = False,
) -> None:
    """Extract F0 and voicing, 200 frames a second, and the mean F0 of every speaker.

    An interrupted run goes on where it stopped. Recordings that cannot be read, or have samples
    that are not finite, are skipped and listed.

    Examples:
        spiritlm extract-f0 data/corpora/mine
        spiritlm extract-f0 data/corpora/mine --extractor yaapt --num-jobs 8

    Args:
        corpus: a corpus folder made by `spiritlm prepare`.
        extractor: fcpe (fast, also on a GPU), yaapt (used in the paper's training; slow), yin (needs no other package),
            torchaudio (coarse), the name of another registered extractor, or the path of a class.
        name: name under which the F0 is stored; if not given, that of the extractor.
        device: device to compute on, such as cpu, cuda or cuda:1; yaapt computes on the CPU in any case.
        half: compute fcpe in bfloat16, in two thirds of the time on processors that support it (on others nothing
            changes, which is printed); F0 differs by 0.1 cents on average.
        num_jobs: number of processes, which does not change the result; if not given, one per core, but one on a GPU.
        part_size: number of utterances in one file of the store.
        overwrite: replace the F0 of another extractor that has this name.
    """
    trust_given(extractor)
    from spiritlm_pl.corpora.manifest import SKIPPED_FILE
    from spiritlm_pl.f0.contour_index import f0_folder
    from spiritlm_pl.f0.store import extract_corpus

    kept = name or extractor
    info = extract_corpus(
        corpus, kept, extractor, device=device, half=half, num_jobs=num_jobs, part_size=part_size, overwrite=overwrite
    )
    folder = f0_folder(corpus, kept)
    skipped = f"; {info.skipped} skipped, listed in {folder / SKIPPED_FILE}" if info.skipped else ""
    whole = "; computed in float32, as this processor has no bfloat16" if half and "half" not in info.extractor else ""
    means = ", ".join(f"{speaker} {mean:.0f}" for speaker, mean in list(info.speaker_means.items())[:5])
    print(f"{folder}: F0 of {info.utterances} utterances{skipped}{whole}; mean F0, Hz: {means}")
