"""Command that measures how close the spoken and the written form of words are in each layer of language models."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spiritlm_pl.cli.evaluate.report import Split, check_reports, write_report, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spiritlm_pl.evaluation.interval import Estimate
    from spiritlm_pl.evaluation.word_similarity import LayerSimilarity


def word_similarity(
    lms: dict[str, str],
    units: str,
    out: str,
    split: Split = "test",
    utterances: int | None = 200,
    device: str = "cpu",
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored",
) -> None:
    """Measure how similar the hidden states of spoken and written words are, in each layer of language models.

    As in figure 6 of the paper: the largest cosine similarity between a state of a word's text tokens and one of its
    speech tokens. Beside it stands the same for other words of the utterance, which tells how alike any states are.

    Examples:
        spiritlm evaluate word-similarity '{mine: runs/mine/lm}' data/units/mine similarity.json
        spiritlm evaluate word-similarity '{a: runs/a/lm, b: runs/b/lm}' data/units/mine similarity.json --utterances 50

    Args:
        lms: folders of language models of one vocabulary by name, such as '{"with": "a", "without": "b"}'.
        units: folder of a tokenised corpus with word times.
        out: JSON file to write; a table and a plot are written beside it as Markdown and PNG.
        split: split to measure on: train, validation or test.
        utterances: largest number of utterances; null for all.
        device: device to compute on: cpu, cuda, cuda:1, ...
        dtype: number format of the weights; stored keeps that of the folder.
    """
    import torch

    from spiritlm_pl.data.unit_corpus import UnitCorpus
    from spiritlm_pl.evaluation.tables import Figures, cell
    from spiritlm_pl.evaluation.word_similarity import word_similarity
    from spiritlm_pl.lm.folder import load_lm
    from spiritlm_pl.runtime.devices import check_device

    check_reports(out=out)

    if not lms:
        raise ValueError("lms must name at least one language model, but is empty instead")
    if utterances is not None and utterances < 1:
        raise ValueError(f"utterances must be at least 1, but is {utterances} instead")
    number_format = None if dtype == "stored" else getattr(torch, dtype)
    corpus = UnitCorpus(units, split)
    found = {}
    for name, folder in lms.items():
        network, tokenizer, vocabulary = load_lm(folder, check_device(device), number_format)
        found[name] = word_similarity(network, tokenizer, vocabulary, corpus, utterances)
    write_report(out, {name: [layer.to_dict() for layer in layers] for name, layers in found.items()})
    depth = max(map(len, found.values()))
    rows = [
        [str(number), *(cell(one, ".2f") for layers in found.values() for one in _pair(layers, number))]
        for number in range(depth)
    ]
    columns = ["layer", *(f"{name}, {what}" for name in found for what in ("same word", "other word"))]
    notes = ["Largest cosine similarity of a word's text and speech tokens, mean over words with its 95 % interval."]
    write_table(out, Figures("Spoken and written words", columns, rows, notes))
    _draw(found).savefig(Path(out).with_suffix(".png"), dpi=130)


def _pair(layers: "list[LayerSimilarity]", number: int) -> "tuple[Estimate | None, Estimate | None]":
    return (layers[number].same, layers[number].other) if number < len(layers) else (None, None)


def _draw(found: "dict[str, list[LayerSimilarity]]") -> "Figure":
    from spiritlm_pl.evaluation.plots import curve_figure

    curves, bands = {}, {}
    for name, layers in found.items():
        for title, estimates in (
            (name, [layer.same for layer in layers]),
            (f"{name}, other words", [layer.other for layer in layers]),
        ):
            curves[title] = [one.value for one in estimates]
            bands[title] = [
                (one.value if one.low is None else one.low, one.value if one.high is None else one.high)
                for one in estimates
            ]
    pale = [f"{name}, other words" for name in found]
    return curve_figure(curves, bands, pale, "layer", "cosine similarity", "Spoken and written words")
