"""`spiritlm evaluate`: measure what a stage has learnt, on held-out data, into a JSON file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import track

from spiritlm_pl.provenance import atomic_path

Split = Literal["train", "validation", "test"]


def write_report(out: str, values: dict[str, Any]) -> None:
    """Write measured values as JSON."""
    with atomic_path(Path(out)) as path:
        path.write_text(json.dumps(values, indent=2) + "\n")


def units(
    tokenizers: dict[str, str], corpora: list[str], out: str, split: Split = "test", utterances: int = 100
) -> None:
    """Compare speech tokenizers: codebook use, units a second, phone purity, PNMI, edits under augmentation.

    Args:
        tokenizers: name to folder, such as '{"mfcc": "a", "hubert": "b"}'.
        corpora: corpus folders; phone purity and PNMI are measured on those with phone alignments.
        out: JSON file to write.
        split: which split to measure on.
        utterances: at most so many of each corpus.
    """
    from spiritlm_pl.speech.unit_metrics import unit_report, unit_table

    reports = {
        name: unit_report(folder, corpora, split=split, max_utterances=utterances)
        for name, folder in tokenizers.items()
    }
    write_report(out, reports)
    for row in unit_table(reports):
        print(
            "  ".join(f"{name} {value:.3g}" if isinstance(value, float) else str(value) for name, value in row.items())
        )


def choice(
    lm: str,
    units: str,
    out: str,
    split: Split = "test",
    kind: Literal["stories", "sentences"] = "stories",
    items: int | None = None,
    seed: int = 0,
) -> None:
    """Which of two continuations belongs to this context? Accuracy in the four directions of text and speech.

    Args:
        lm: exported language model.
        units: tokenised corpus.
        out: JSON file to write.
        split: which split to measure on.
        kind: stories are cut before their last sentence, sentences in their middle.
        items: at most so many; all when left out.
        seed: of the pairs.
    """
    from spiritlm_pl.evaluation.choice import choice_items, evaluate_choice
    from spiritlm_pl.lm.folder import load_lm
    from spiritlm_pl.tokens.corpus_store import UnitCorpus

    network, tokenizer, vocabulary = load_lm(lm)
    pairs = choice_items(UnitCorpus(units, split), tokenizer, vocabulary, kind=kind, num_items=items, seed=seed)
    results = evaluate_choice(network, pairs, vocabulary)
    write_report(out, {name: result.to_dict() for name, result in results.items()})
    for name, result in results.items():
        print(
            f"{name:<18}{100 * result.accuracy:6.1f} %   95 % interval {100 * result.low:.1f} to "
            f"{100 * result.high:.1f}   of {result.num_items}, chance 50"
        )


def resynthesis(
    vocoder: str,
    units: str,
    corpus: str,
    out: str,
    split: Split = "test",
    utterances: int | None = None,
    audio: str | None = None,
    whisper: str | None = None,
) -> None:
    """Resynthesise held-out recordings from their units, and let recognisers compare them with the originals.

    Args:
        vocoder: exported vocoder.
        units: tokenised corpus.
        corpus: corpus folder with the recordings.
        out: JSON file to write.
        split: which split to measure on.
        utterances: at most so many; all when left out.
        audio: folder for the first wav files and their pictures, original beside resynthesis; none when left out.
        whisper: folder of a faster-whisper model, a second judge.
    """
    import torch

    from spiritlm_pl.checkpoint import load_network
    from spiritlm_pl.corpora.audio import load_waveform
    from spiritlm_pl.corpora.manifest import load_cuts
    from spiritlm_pl.evaluation.resynthesis import Resynthesis, evaluate_resynthesis
    from spiritlm_pl.tokens.corpus_store import UnitCorpus
    from spiritlm_pl.vocoder.vocoder import Vocoder

    network = load_network(vocoder, "vocoder")
    assert isinstance(network, Vocoder)
    stored = UnitCorpus(units, split).by_id()
    pairs = []
    for cut in track(list(load_cuts(corpus, split))[:utterances], "resynthesis", console=Console(stderr=True)):
        utterance = stored.get(cut.id)
        if utterance is None or not utterance.num_frames:
            continue
        ends = torch.tensor([*utterance.unit_starts[1:].tolist(), utterance.num_frames])
        durations = ends - torch.from_numpy(utterance.unit_starts.astype("int64"))
        runs = torch.from_numpy(utterance.units.astype("int64"))
        made = network.synthesize(runs, cut.supervisions[0].speaker, durations)
        pairs.append(
            Resynthesis(
                id=cut.id, text=cut.supervisions[0].text, original=load_waveform(cut, network.sample_rate), made=made
            )
        )
    report = evaluate_resynthesis(pairs, whisper_folder=whisper, sample_rate=network.sample_rate)
    write_report(out, report.as_dict())
    for judge, scores in report.recognition.items():
        for name, score in scores.items():
            print(f"{judge}, {name}: word accuracy {score.word_accuracy:.1f} %, CER {score.character_error_rate:.1f} %")
    if audio is not None:
        _save_examples(Path(audio), pairs[:4], network.sample_rate)


def _save_examples(folder: Path, pairs: Sequence[Any], sample_rate: int) -> None:
    from spiritlm_pl.corpora.audio import save_wav
    from spiritlm_pl.evaluation.figures import spectrogram_figure

    folder.mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        name = pair.id.replace("/", "_")
        save_wav(folder / f"{name}_original.wav", pair.original, sample_rate)
        save_wav(folder / f"{name}_resynthesis.wav", pair.made, sample_rate)
        panels = {f"original: {pair.text}": pair.original, "resynthesis": pair.made}
        spectrogram_figure(panels, sample_rate, f0=True).savefig(folder / f"{name}.png", dpi=120)


COMMANDS = {"units": units, "choice": choice, "resynthesis": resynthesis}
