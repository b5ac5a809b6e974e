"""`spiritlm evaluate resynthesis`: recognition of resynthesised speech."""

from pathlib import Path

from spiritlm_pl.cli.evaluate.report import EXAMPLES, Split, check_reports, followed, save_wavs, write_report
from spiritlm_pl.corpora.files import plain_name


def resynthesis(
    vocoder: str,
    units: str,
    corpus: str,
    out: str,
    split: Split = "test",
    utterances: int | None = None,
    audio: str | None = None,
    pocketsphinx: bool = True,
    whisper: str | None = None,
    language: str = "en",
    device: str = "cpu",
) -> None:
    """Resynthesise held-out recordings from their units, and let recognisers compare them with the originals.

    Examples:
        spiritlm evaluate resynthesis runs/vocoder/export data/units/mine data/corpora/mine out.json --audio heard
        spiritlm evaluate resynthesis runs/vocoder/export data/units/mine data/corpora/mine out.json --whisper FOLDER

    Args:
        vocoder: folder of an exported vocoder; an expressive one is also given the pitch and style codes.
        units: folder of a tokenised corpus.
        corpus: corpus folder with the recordings.
        out: JSON file to write.
        split: split to measure on: train, validation or test.
        utterances: largest number of utterances, spread evenly over the split; all if left out.
        audio: folder that the first originals and resyntheses are written to as wav files and plots; none if left out.
        pocketsphinx: whether to use this recogniser, which knows only English.
        whisper: folder of a faster-whisper model, which is used as another recogniser; none if left out.
        language: language of the transcripts, which Whisper expects: en, de, pl, ...
        device: device that the vocoder computes on.
    """
    from spiritlm_pl.corpora.audio import load_waveform
    from spiritlm_pl.corpora.manifest import speaker_of
    from spiritlm_pl.evaluation.plots import spectrogram_figure
    from spiritlm_pl.evaluation.recognition import check_whisper
    from spiritlm_pl.evaluation.resynthesis import Resynthesis, evaluate_resynthesis
    from spiritlm_pl.evaluation.stored_speech import (
        check_vocoders,
        load_evaluated_vocoder,
        speak_tokens,
        stored_speech,
        text_of,
    )

    check_reports(out=out)

    if whisper is not None:
        check_whisper(whisper)
    network = load_evaluated_vocoder(vocoder, device)
    stored = stored_speech(units, corpus, split, utterances)
    check_vocoders({vocoder: network}, stored)
    pairs = [
        Resynthesis(
            id=cut.id,
            text=text_of(cut),
            original=load_waveform(cut, network.sample_rate),
            made=speak_tokens(network, utterance, stored.layout, speaker_of(cut)),
        )
        for cut, utterance in followed(stored, len(stored), "resynthesis")
    ]
    report = evaluate_resynthesis(
        pairs, pocketsphinx=pocketsphinx, whisper_folder=whisper, language=language, sample_rate=network.sample_rate
    )
    write_report(out, report.as_dict())
    for recogniser, scores in report.recognition.items():
        for name, score in scores.items():
            accuracy, errors = score.word_accuracy, score.character_error_rate
            print(f"{recogniser}, {name}: word accuracy {accuracy:.1f} %, CER {errors:.1f} %")
    for pair in pairs[:EXAMPLES] if audio is not None else ():
        waveforms = {"original": pair.original, "resynthesis": pair.made}
        save_wavs(Path(str(audio)), pair.id, waveforms, network.sample_rate)
        panels = {f"original: {pair.text}": pair.original, "resynthesis": pair.made}
        picture = Path(str(audio)) / f"{plain_name(pair.id)}.png"
        spectrogram_figure(panels, network.sample_rate, f0=True).savefig(picture, dpi=120)
