"""Commands that measure tokens and language models."""

from typing import Literal

from spiritlm_pl.cli.evaluate.report import EXAMPLES, Split, check_reports, write_report, write_table


def units(
    tokenizers: dict[str, str], corpora: list[str], out: str, split: Split = "test", utterances: int = 100
) -> None:
    """Compare speech tokenizers: codebook use, units per second, phone purity, PNMI, edits under augmentation.

    Examples:
        spiritlm evaluate units '{mfcc: tokenizers/mfcc, hubert: tokenizers/hubert}' '[data/corpora/mine]' units.json
        spiritlm evaluate units '{mine: data/speech_tokenizer}' '[data/corpora/mine]' units.json --utterances 500

    Args:
        tokenizers: tokenizer folders by name, such as '{"mfcc": "a", "hubert": "b"}'.
        corpora: corpus folders; phone purity and PNMI are measured on those with phone alignments.
        out: JSON file to write.
        split: split to measure on: train, validation or test.
        utterances: largest number of utterances of each corpus, spread evenly over the split.
    """
    from spiritlm_pl.evaluation.unit_metrics import unit_report, unit_table

    check_reports(out=out)

    reports = {
        name: unit_report(folder, corpora, split=split, max_utterances=utterances)
        for name, folder in tokenizers.items()
    }
    write_report(out, reports)
    for row in unit_table(reports):
        print(
            "  ".join(f"{name} {value:.3g}" if isinstance(value, float) else str(value) for name, value in row.items())
        )


def codes(units: list[str], out: str, split: Split = "test") -> None:
    """Measure the tokens of corpora: bitrate, codebook use and entropy of units, pitch and style codes.

    If utterances have styles (`custom["style"]`) and speakers, also how much each kind of code reveals of them.

    Examples:
        spiritlm evaluate codes '[data/units/mine]' codes.json
        spiritlm evaluate codes '[data/units/a, data/units/b]' codes.json --split validation

    Args:
        units: folders of tokenised corpora of one tokenizer; several are also measured together.
        out: JSON file to write; a table is written beside it as Markdown.
        split: split to measure on: train, validation or test.
    """
    from spiritlm_pl.data.unit_corpus import UnitCorpus
    from spiritlm_pl.evaluation.codes import code_report, code_table

    check_reports(out=out)

    if not units:
        raise ValueError("units must name at least one tokenised corpus, but is empty instead")
    corpora = {folder: UnitCorpus(folder, split) for folder in units}
    reports = {folder: code_report(corpus) for folder, corpus in corpora.items()}
    if len(corpora) > 1:
        reports["all of them"] = code_report(*corpora.values())
    write_report(out, reports)
    write_table(out, code_table(reports, f"Codes of split {split}"))


def choice(
    lm: str,
    units: str,
    out: str,
    split: Split = "test",
    kind: Literal["stories", "sentences"] = "stories",
    items: int | None = None,
    seed: int = 0,
    rivals: Literal["any", "near"] = "any",
    scores: str | None = None,
    device: str = "cpu",
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored",
) -> None:
    """Measure how often a model prefers the right of two continuations, in the four directions of text and speech.

    Examples:
        spiritlm evaluate choice quickstart/model/lm quickstart/units/stories choice.json
        spiritlm evaluate choice runs/lm_7b/export data/units/mine choice.json --kind sentences --device cuda

    Args:
        lm: folder of an exported language model.
        units: folder of a tokenised corpus with word times.
        out: JSON file to write.
        split: split to measure on: train, validation or test.
        kind: stories (utterances with `custom["sentence_ends"]`) are cut before their last sentence, sentences (all
            others) in their middle.
        items: largest number of contexts; all if left out.
        seed: seed of the choice of pairs.
        rivals: wrong continuations are those of any other utterance, or of a near one: the one whose continuation has
            the largest share of words of this utterance, which is harder.
        scores: JSON file that each item's log-likelihoods per token are written to; none if left out.
        device: device to compute on: cpu, cuda, cuda:1, ...
        dtype: number format of the weights; stored keeps that of the folder.
    """
    import torch

    from spiritlm_pl.data.unit_corpus import UnitCorpus
    from spiritlm_pl.evaluation.choice import choice_items, score_choices
    from spiritlm_pl.lm.folder import load_lm
    from spiritlm_pl.runtime.devices import check_device

    check_reports(out=out, scores=scores)

    number_format = None if dtype == "stored" else getattr(torch, dtype)
    network, tokenizer, vocabulary = load_lm(lm, check_device(device), number_format)
    corpus = UnitCorpus(units, split)
    pairs = choice_items(corpus, tokenizer, vocabulary, kind=kind, num_items=items, seed=seed, rivals=rivals)
    scored = score_choices(network, pairs, vocabulary, opening=tokenizer.opening)
    results = scored.results()
    if scores is not None:
        write_report(scores, scored.to_dict())
    write_report(out, {name: result.to_dict() for name, result in results.items()})
    for name, result in results.items():
        print(
            f"{name:<18}{100 * result.accuracy:6.1f} %   95 % interval {100 * result.low:.1f} to "
            f"{100 * result.high:.1f}   of {result.num_items}, chance 50"
            + (f", {result.num_ties} ties counted one half" if result.num_ties else "")
        )


def endings(
    lm: str,
    units: str,
    out: str,
    split: Split = "test",
    kind: Literal["stories", "sentences"] = "stories",
    items: int = 24,
    max_new_tokens: int | None = None,
    corpus: str | None = None,
    audio: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored",
) -> None:
    """Measure how often answers stop by themselves, from text or speech to text or speech.

    Examples:
        spiritlm evaluate endings quickstart/model/lm quickstart/units/stories endings.json
        spiritlm evaluate endings runs/lm_7b/export data/units/mine endings.json --kind sentences --max-new-tokens 300

    Args:
        lm: folder of an exported language model.
        units: folder of a tokenised corpus with word times.
        out: JSON file to write.
        split: split to measure on: train, validation or test.
        kind: stories (utterances with `custom["sentence_ends"]`) are continued after all but their last sentence,
            sentences (all others) from their middle.
        items: largest number of utterances to continue.
        max_new_tokens: largest number of new tokens; if left out, 4 times the longest true continuation.
        corpus: corpus folder with the recordings; needed for `audio`.
        audio: folder that the first beginnings are written to as wav files, to try generation with; none if left out.
        seed: seed of the choice of utterances and of sampling, whose other options are those of the paper.
        device: device to compute on: cpu, cuda, cuda:1, ...
        dtype: number format of the weights; stored keeps that of the folder.
    """
    import torch

    from spiritlm_pl.data.unit_corpus import UnitCorpus
    from spiritlm_pl.evaluation.choice import choice_items
    from spiritlm_pl.evaluation.endings import measure_endings, save_beginnings
    from spiritlm_pl.generation import GenerationSettings, SpiritLM
    from spiritlm_pl.lm.folder import load_lm
    from spiritlm_pl.runtime.devices import check_device

    check_reports(out=out)

    if audio is not None and corpus is None:
        raise ValueError(f"corpus must be given for audio {audio}, but is missing")
    number_format = None if dtype == "stored" else getattr(torch, dtype)
    network, tokenizer, vocabulary = load_lm(lm, check_device(device), number_format)
    end_token = SpiritLM(network, tokenizer, vocabulary).end_token
    if end_token is None:
        raise ValueError(f"text tokenizer must have an end token for answers to stop, but that of {lm} has none")
    tokenised = UnitCorpus(units, split)
    found = choice_items(tokenised, tokenizer, vocabulary, kind=kind, num_items=items, seed=seed)
    if audio is not None and corpus is not None:
        save_beginnings(audio, corpus, tokenised, split, found[:EXAMPLES])
    settings = GenerationSettings(seed=seed, max_new_tokens=max_new_tokens)
    results = measure_endings(network, found, vocabulary, end_token, tokenizer.opening, settings)
    write_report(out, {name: result.to_dict() for name, result in results.items()})
    for name, result in results.items():
        lengths = "" if result.mean_tokens is None else f"after {result.mean_tokens:.0f} tokens, "
        print(
            f"{name:<18}{result.stopped:>4} of {result.num_prompts} stopped by themselves, {lengths}true endings have "
            f"{result.mean_true_tokens:.0f}, the limit was {result.limit}; probability of the end after a whole "
            f"utterance {result.end_probability:.2g}"
        )
