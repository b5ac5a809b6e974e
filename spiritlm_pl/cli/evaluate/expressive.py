"""`spiritlm evaluate expressivity` and `prosody`: measures of what pitch and style tokens carry."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spiritlm_pl.cli.evaluate.report import (
    EXAMPLES,
    Split,
    check_reports,
    followed,
    save_wavs,
    write_report,
    write_table,
)
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.registry import trust_given

if TYPE_CHECKING:
    from spiritlm_pl.evaluation.contours import Contour
    from spiritlm_pl.evaluation.resyntheses import Resynthesis


def expressivity(
    vocoders: dict[str, str],
    units: str,
    corpus: str,
    out: str,
    split: Split = "test",
    utterances: int | None = None,
    style_classifier: str | None = None,
    speaker_classifier: str | None = None,
    pocketsphinx: bool = True,
    whisper: str | None = None,
    language: str = "en",
    f0: str = "fcpe",
    codes: Literal["stream", "frames"] = "stream",
    speaker: int | str | None = None,
    audio: str | None = None,
    device: str = "cpu",
) -> None:
    """Measure how much of words, melody, style and voice survives the tokens, of originals and vocoders in one table.

    Recordings are resynthesised with their true durations. In the JSON file as in the table, recognition and style
    are in percent, errors of F0 and voicing in shares of frames, every figure with the number of utterances and, where
    they are not all alike, a 95 % interval. Pictures of the first utterances' F0 go to `audio`, or else to the folder
    named as `out` without its suffix.

    Examples:
        spiritlm evaluate expressivity '{Base: a, Expressive: b}' data/units/mine data/corpora/mine out.json
        spiritlm evaluate expressivity '{Base: a}' data/units/mine data/corpora/mine out.json --style-classifier FOLDER

    Args:
        vocoders: exported vocoders by the name of their column, such as '{"Base": "a", "Expressive": "b"}'; a Base one
            is given the units alone.
        units: tokenised corpus, with pitch and style codes for an expressive vocoder.
        corpus: corpus folder with the recordings.
        out: JSON file to write; a table is written beside it as Markdown.
        split: split to measure on: train, validation or test.
        utterances: largest number of utterances, spread evenly over the split; all if left out.
        style_classifier: exported network of stage "style" that classifies styles; without it style is not measured.
            Its label is compared with the style of utterances (`custom["style"]`) that it knows; if there are none,
            with its label of the original.
        speaker_classifier: exported network of stage "style" that classifies speakers; without it voices are not
            compared.
        pocketsphinx: whether to use this recogniser; none is used if the corpus has no transcripts.
        whisper: folder of a faster-whisper model, which is used as another recogniser; none if left out.
        language: language of the transcripts, which Whisper expects: en, de, pl, ...
        f0: name of the F0 extractor: fcpe, yaapt, yin, torchaudio, another that is registered, or the path of a class.
        codes: stream gives each unit the latest pitch and style before it, as a language model's tokens do; frames
            gives each frame its own, for comparison.
        speaker: voice of all resyntheses, by name or number; that of the utterance if left out.
        audio: folder that the first utterances are written to as wav files of 16 kHz; none are written if left out.
        device: device for vocoders, the classifiers of style and speaker, and F0.
    """
    check_reports(out=out)
    trust_given(f0)
    from spiritlm_pl.evaluation.classifiers import load_classifier
    from spiritlm_pl.evaluation.expressivity import Expressivity, ExpressivityModels
    from spiritlm_pl.evaluation.recognition import recognisers
    from spiritlm_pl.evaluation.resyntheses import resyntheses
    from spiritlm_pl.evaluation.stored_speech import load_evaluated_vocoder, stored_speech, text_of
    from spiritlm_pl.f0.extractors import make_extractor
    from spiritlm_pl.vocoder.vocoder import Vocoder

    networks = {name: load_evaluated_vocoder(folder, device) for name, folder in vocoders.items()}
    stored = stored_speech(units, corpus, split, utterances)
    said = resyntheses(networks, stored, codes=codes, speaker=speaker)
    texts = [text_of(cut) for cut in stored.cuts]
    style = None if style_classifier is None else load_classifier("style_classifier", style_classifier, "style", device)
    voice = (
        None
        if speaker_classifier is None
        else load_classifier("speaker_classifier", speaker_classifier, "speaker", device)
    )
    ears = recognisers(texts, pocketsphinx=pocketsphinx, whisper_folder=whisper, language=language)
    models = ExpressivityModels(
        extractor=make_extractor(f0, device),
        recognisers=ears,
        style=style,
        speaker=voice,
        device=device,
        language=language,
    )
    full = {name: not isinstance(network, Vocoder) or network.expressive for name, network in networks.items()}
    measure = Expressivity(models, stored.layout, full)
    folder = Path(audio) if audio is not None else Path(out).with_suffix("")
    for index, resynthesis in enumerate(followed(said, len(stored), "expressivity")):
        contours = measure.add(resynthesis)
        if index < EXAMPLES:
            save_example(folder, resynthesis, contours, with_audio=audio is not None)
    report = measure.report()
    settings: dict[str, Any] = {
        "vocoders": vocoders,
        "units": units,
        "corpus": corpus,
        "split": split,
        "utterances_without_units": stored.num_without,
        "style_classifier": style_classifier,
        "speaker_classifier": speaker_classifier,
        "f0": f0,
        "codes": codes,
        "speaker": speaker,
    }
    write_report(out, {**settings, **report.as_dict()})
    notes = [f"F0 by {f0}, codes by {codes}, 95 % intervals over utterances"]
    if codes == "frames":
        notes.append("bits a second are those of the stream, which carries less than codes at frames")
    if stored.num_without:
        notes.append(f"{stored.num_without} utterances of the split have no units")
    title = f"Expressivity: {Path(corpus).name}, {split}, {report.num_utterances} utterances, {report.seconds:.0f} s"
    write_table(out, report.table(title, notes))


def save_example(folder: Path, resynthesis: "Resynthesis", contours: "Mapping[str, Contour]", with_audio: bool) -> None:
    """Write a plot of an utterance's F0, original and resyntheses over each other, and the audio if asked for."""
    from spiritlm_pl.evaluation.contours import FRAME_RATE
    from spiritlm_pl.evaluation.plots import contour_figure
    from spiritlm_pl.f0.frames import SAMPLE_RATE

    name = resynthesis.tokens.id
    folder.mkdir(parents=True, exist_ok=True)
    curves = {title: contour.drawn() for title, contour in contours.items()}
    figure = contour_figure(curves, FRAME_RATE, f"{name}: {resynthesis.text}")
    figure.savefig(folder / f"{plain_name(name)}.png", dpi=120)
    if with_audio:
        save_wavs(folder, name, resynthesis.waveforms(), SAMPLE_RATE)


def prosody(
    vocoders: dict[str, str],
    units: str,
    corpus: str,
    out: str,
    split: Split = "test",
    contrasts: list[tuple[str, str]] | None = None,
    f0: str = "fcpe",
    codes: Literal["stream", "frames"] = "stream",
    speaker: int | str | None = None,
    device: str = "cpu",
) -> None:
    """Compare pairs of one text said by one speaker in two styles: units should agree, and the melody should follow.

    For the corpus of `spiritlm prepare styles`, or any other with styles (`custom["style"]`) of the same texts.

    Examples:
        spiritlm evaluate prosody '{Base: a, Expressive: b}' data/units/styles data/corpora/styles prosody.json
        spiritlm evaluate prosody '{Base: a}' data/units/styles data/corpora/styles out.json --contrasts '[[high, low]]'

    Args:
        vocoders: exported vocoders by the name of their column, such as '{"Base": "a", "Expressive": "b"}'.
        units: folder of a tokenised corpus.
        corpus: corpus folder with the recordings.
        out: JSON file to write; a table is written beside it as Markdown.
        split: split to measure on: train, validation or test.
        contrasts: pairs of styles, such as '[[high, low], [fast, slow]]'; all pairs of the corpus if left out.
        f0: name of the F0 extractor: fcpe, yaapt, yin, torchaudio, another that is registered, or the path of a class.
        codes: stream or frames, the place of pitch and style codes, as in `expressivity`.
        speaker: voice of all resyntheses, by name or number; that of the utterance if left out.
        device: device for vocoders and F0.
    """
    check_reports(out=out)
    trust_given(f0)
    from dataclasses import replace

    from spiritlm_pl.evaluation.prosody import find_pairs, other_text_distance, pair_contours, prosody_report
    from spiritlm_pl.evaluation.resyntheses import resyntheses
    from spiritlm_pl.evaluation.stored_speech import load_evaluated_vocoder, stored_speech
    from spiritlm_pl.f0.extractors import make_extractor

    networks = {name: load_evaluated_vocoder(folder, device) for name, folder in vocoders.items()}
    stored = stored_speech(units, corpus, split)
    utterances = [utterance for _, utterance in stored]
    pairs = find_pairs(utterances, contrasts or ())
    needed = {utterance.id for pair in pairs for utterance in (pair.first, pair.second)}
    stored = replace(stored, cuts=[cut for cut in stored.cuts if cut.id in needed])
    said = resyntheses(networks, stored, codes=codes, speaker=speaker)
    contours = pair_contours(followed(said, len(stored), "prosody"), make_extractor(f0, device), device)
    report = prosody_report(pairs, contours, other_text_distance(utterances))
    settings: dict[str, Any] = {"vocoders": vocoders, "units": units, "corpus": corpus, "split": split, "f0": f0}
    write_report(out, {**settings, "codes": codes, "speaker": speaker, **report.as_dict()})
    title = f"Prosody: {Path(corpus).name}, {split}, {len(pairs)} pairs of {len(needed)} utterances"
    write_table(out, report.table(title, [f"F0 by {f0}, codes by {codes}, 95 % intervals over pairs"]))
