"""`spiritlm align CORPUS`: add word times to a corpus folder."""

from pathlib import Path
from typing import Literal

from spiritlm_pl.registry import trust_given


def align(
    corpus: str,
    method: str = "pocketsphinx",
    source: str | None = None,
    word_tier: str | None = None,
    phone_tier: str | None = None,
    phone_source: str | None = None,
    network: str = "MMS_FA",
    device: str = "cpu",
    unknown: Literal["error", "star"] = "error",
    phones: bool = True,
    overwrite: bool = False,
    num_jobs: int | None = None,
) -> None:
    """Add word times to the utterances of a corpus folder, in place.

    Utterances that cannot be aligned stay in the corpus without times and are listed in unaligned.jsonl.
    An interrupted run goes on where it stopped.

    Examples:
        spiritlm align data/corpora/librispeech
        spiritlm align data/corpora/mine --method ctc --device cuda
        spiritlm align data/corpora/mine --method textgrid --source /my/textgrids --overwrite

    Args:
        corpus: a folder made by `spiritlm prepare`.
        method: pocketsphinx (English, offline), ctc (forced alignment with a CTC network), or times that are
            already there: textgrid (a folder of Praat files, such as the output folder of the Montreal Forced Aligner),
            ctm (one file), lhotse (a manifest of cuts with alignments); or another that is registered, or the path of
            a class.
        source: the folder or file of textgrid, ctm and lhotse. Utterances are found by their path (spk1/utt1), or by
            the end of it where that is of one utterance only.
        word_tier: of textgrid: the tier of words, by name or pattern; if not given words, "* - words", word or ORT-MAU.
        phone_tier: of textgrid: the tier of phones; if not given phones, "* - phones", phone or MAU, if there is one.
        phone_source: of ctm: a file of phones.
        network: of ctc: MMS_FA (torchaudio downloads its weights once, licence CC-BY-NC 4.0; it knows the letters
            a to z only, so transcripts in other scripts must be romanised) or a folder with a CTC checkpoint of
            transformers.
        device: of ctc: cpu, cuda, cuda:1, ...
        unknown: of ctc: words of which the network knows no letter are an error of their utterance, or get the
            sound between their neighbours (star).
        phones: pocketsphinx finds phones too (for phone purity), in a second pass.
        overwrite: align utterances that have times already, too.
        num_jobs: processes; one a core if not given, and one for ctc on a GPU.
    """
    trust_given(method)
    from spiritlm_pl.alignment.run import align_corpus
    from spiritlm_pl.alignment.sources import make_aligner

    chosen = make_aligner(
        method,
        source=source,
        network=network,
        device=device,
        phones=phones,
        unknown=unknown,
        word_tier=word_tier,
        phone_tier=phone_tier,
        phone_source=phone_source,
    )
    if method == "ctc" and network == "MMS_FA":
        print("licence of the weights of MMS_FA: CC-BY-NC 4.0 (Meta)")
    jobs = 1 if method == "ctc" and device != "cpu" else num_jobs
    report = align_corpus(corpus, chosen, overwrite=overwrite, num_jobs=jobs)
    print(
        f"{corpus}: {report['aligned']} utterances aligned ({report['newly_aligned']} now), "
        f"{report['words']} words; {report['unaligned']} could not be"
        + (f", listed in {Path(corpus) / 'unaligned.jsonl'}" if report["unaligned"] else "")
    )
