"""`spiritlm align CORPUS`: add word times to a corpus folder."""

from pathlib import Path
from typing import Literal

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.registry import trust_given


@writes("corpus", new=False)
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
        corpus: a corpus folder made by `spiritlm prepare`.
        method: pocketsphinx (English, offline), ctc (forced alignment with a CTC network), or a method that reads
            existing times: textgrid (a folder of Praat files, such as the output folder of the Montreal Forced
            Aligner), ctm (one file), lhotse (a manifest of cuts with alignments); or the name of another registered
            aligner, or the path of a class.
        source: the folder or file that textgrid, ctm or lhotse reads. The times of an utterance are found by its path
            (spk1/utt1), or by the end of it if only one utterance's path ends so.
        word_tier: name or pattern of the tier of words, for textgrid; if not given, words, "* - words", word or
            ORT-MAU.
        phone_tier: name or pattern of the tier of phones, for textgrid; if not given, phones, "* - phones", phone or
            MAU, if there is one.
        phone_source: a CTM file of phones, for ctm; if not given, only words get times.
        network: the network of ctc: MMS_FA (torchaudio downloads its weights once, licence CC-BY-NC 4.0; it knows only
            the letters a to z, so transcripts in other scripts must be romanised) or a folder with a CTC checkpoint of
            transformers.
        device: device of ctc, such as cpu, cuda or cuda:1.
        unknown: what ctc does with a word of which the network knows no letter: error leaves the utterance unaligned,
            star gives the word the sound between its neighbours.
        phones: whether pocketsphinx finds phones as well, in a second pass; measuring phone purity needs them.
        overwrite: also align utterances that have times already, replacing these.
        num_jobs: number of processes; if not given, one per core. It is always one for ctc on a GPU and for times from
            files.
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
        f"{report['words']} words; {report['unaligned']} could not be aligned"
        + (f", listed in {Path(corpus) / 'unaligned.jsonl'}" if report["unaligned"] else "")
    )
