"""Commands that make pairs for preference tuning, and the log-likelihoods of pairs under a reference model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spiritlm_pl.cli.batch.items import MODEL, best_device
from spiritlm_pl.cli.parser import look, writes
from spiritlm_pl.cli.prepare.preference_sources import Direction, PreferenceSource
from spiritlm_pl.runtime.found import held_in

if TYPE_CHECKING:
    from spiritlm_pl.generation.loading import ModelFolders
    from spiritlm_pl.generation.spirit_lm import SpiritLM
    from spiritlm_pl.preferences.folder import PreferenceManifest
    from spiritlm_pl.preferences.selection import Rules
    from spiritlm_pl.preferences.sources import FoundPairs

FORM = "answers.csv"
GROUPS = {
    "source": (
        "source",
        "out",
        "benchmark",
        "scorer",
        "template",
        "options",
        "split",
        "directions",
        "prompt_seconds",
        "prompt_words",
        "first",
        "overwrite",
    ),
    "continuations": ("output", "num_samples", "temperature", "top_p", "top_k", "max_new_tokens", "seed", "batch_size"),
    "pairs": ("margin", "pairs_per_prompt", "only_stopped", "length_ratio", "validation_fraction"),
    "model": ("model", "lm", "speech_tokenizer", "vocoder", "device", "dtype", "batch_tokens", "reference"),
}


@look(groups=GROUPS)
def preferences(
    source: str,
    out: str,
    scorer: str | None = None,
    benchmark: str | None = None,
    options: dict[str, Any] | None = None,
    template: str | None = None,
    split: Literal["train", "validation", "test"] | None = None,
    directions: tuple[Direction, ...] | None = None,
    prompt_seconds: float = 3.0,
    prompt_words: int = 10,
    first: int | None = None,
    output: Literal["text", "speech", "any"] | None = None,
    num_samples: int = 8,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    max_new_tokens: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    margin: float = 0.0,
    pairs_per_prompt: int = 1,
    only_stopped: bool = True,
    length_ratio: float | None = None,
    validation_fraction: float = 0.05,
    model: Path = MODEL,
    lm: Path | None = None,
    speech_tokenizer: Path | None = None,
    vocoder: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int = 4096,
    reference: bool = True,
    overwrite: bool = False,
) -> None:
    """Make pairs of continuations, of which one is preferred, for `spiritlm fit --config prefer/...`.

    With a scorer, the model continues each prompt several times; the best and the worst continuation become a pair if
    their scores differ by the margin. Without one, the source holds what is right and what is wrong. Log-likelihoods of
    all pairs under the model are computed and stored, since the model that is tuned must be this one.

    A run that was interrupted goes on when the same command is typed again. What gave no pair is listed in
    OUT/skipped.jsonl, and counted.

    Examples:
        spiritlm prepare preferences pairs.jsonl data/preferences/mine
        spiritlm prepare preferences quickstart/units/stories quickstart/preferences/endings
        spiritlm prepare preferences quickstart/units/stories quickstart/preferences/repeats --scorer auto_bleu
        spiritlm prepare preferences prompts.jsonl data/preferences/people --scorer table

    Args:
        source: JSON lines of pairs (prompt, chosen and rejected, as in `spiritlm generate --jsonl`, or token ids) or,
            with a scorer, of prompts; a tokenised corpus with word times, whose stories end rightly with their own last
            sentence, or are continued without it; with a benchmark, its folder; with a scorer, also a corpus or a
            folder of recordings or texts, whose beginnings are continued.
        out: folder to write.
        scorer: auto_bleu, likelihood, table, or the path of a class (package.module.Class); none if left out. table
            without options writes OUT/answers.csv, in which people fill in the column score.
        benchmark: benchmark whose right and wrong hypotheses become pairs, such as tstorycloze; none if left out.
        options: options of the scorer or of the benchmark.
        template: form in which a tuned model is asked, for prompts and for JSON lines of pairs: the name of a task or
            "chat", if it was tuned on that; or a YAML file. A prompt is then the user's turn, and a continuation the
            assistant's. If left out, only lines with messages are asked by a template: "chat", or the only one.
        split: split of a corpus; train if left out.
        directions: from which modality to which, for a tokenised corpus, and for beginnings of speech or text;
            speech_to_speech if left out.
        prompt_seconds: length of the beginnings of recordings, in seconds.
        prompt_words: number of words of the beginnings of texts.
        first: number of prompts, or without a scorer of pairs, that are taken in order; all if left out.
        output: modality of the continuations of JSON lines; any if left out.
        num_samples: number of continuations of each prompt.
        temperature: divisor of the logits; higher values give more varied continuations.
        top_p: sample only from the likeliest tokens that together have this probability; 1 samples from all.
        top_k: sample only from this number of likeliest tokens; 0 samples from all.
        max_new_tokens: largest number of tokens in a continuation; if left out, that of `spiritlm generate`.
        seed: seed of the sampling, and of the choice of other endings.
        batch_size: number of continuations that are generated together.
        margin: smallest difference of the scores of a pair.
        pairs_per_prompt: largest number of pairs of one prompt.
        only_stopped: leave out continuations that reached their limit.
        length_ratio: how many times as long the longer continuation of a pair may be; any number if left out.
        validation_fraction: share of the prompts in the validation split.
        model: model folder.
        lm: folder of the language model; MODEL/lm if left out.
        speech_tokenizer: folder of the speech tokenizer; if left out, MODEL/speech_tokenizer if it exists.
        vocoder: folder of the vocoder; if left out, MODEL/vocoder if it exists.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        dtype: number format of the weights, such as float32 or bfloat16; as stored if left out.
        batch_tokens: largest number of tokens in a batch that is scored, padding included.
        reference: compute the log-likelihoods under the model, which DPO needs and SimPO does not.
        overwrite: replace pairs in `out` that were made with other settings, which is refused otherwise.

    Raises:
        ValueError: if an option would have no effect, the source cannot be read, no pair is found, or `out` has pairs
            of other settings, without `overwrite`.
        FileNotFoundError: if a file or the model is missing.
    """
    from spiritlm_pl.generation import GenerationSettings
    from spiritlm_pl.lm.identity import model_hash
    from spiritlm_pl.preferences.selection import Rules
    from spiritlm_pl.preferences.store import report, store

    if scorer is not None and benchmark is not None:
        raise ValueError(f"scorer must be left out with a benchmark, whose answers are known, but is {scorer}")
    if options and scorer is None and benchmark is None:
        raise ValueError(f"options must be left out without a scorer or a benchmark, but are {options}")
    _check_out(Path(out))
    rules = Rules(
        margin=margin, pairs_per_prompt=pairs_per_prompt, only_stopped=only_stopped, length_ratio=length_ratio
    )
    settings = GenerationSettings(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_new_tokens=max_new_tokens,
        seed=seed,
        num_samples=num_samples,
        batch_size=batch_size,
    )
    from_source = PreferenceSource(
        source, split, directions, prompt_seconds, prompt_words, first, output, seed, benchmark
    )
    given = None if scorer is None else _scorer(scorer, options or {}, Path(out))
    if template is not None and (benchmark is not None or (scorer is None and not from_source.lines)):
        raise ValueError(
            f"template must be left out unless there are prompts or JSON lines, but is {template}: hypotheses of "
            "benchmarks and endings of stories continue what is before them"
        )
    sources: dict[str, Any] = {
        **{
            "source": str(Path(source).resolve()),
            "scorer": scorer,
            "benchmark": benchmark,
            "options": options,
            "template": template,
        },
        **{"split": split, "directions": directions, "prompt_seconds": prompt_seconds, "prompt_words": prompt_words},
        **{"first": first, "output": output, "seed": seed, "validation_fraction": validation_fraction},
        "rules": vars(rules),
    }
    if scorer is not None:
        sources |= _sampling(settings)
    if not overwrite:
        _check_same(Path(out), sources)
    spirit_lm, folders = _load(model, lm, speech_tokenizer, vocoder, device, dtype, template)
    if scorer is not None:
        sources["model"] = model_hash(folders.lm)
        if not overwrite:
            _check_same(Path(out), sources)
    if scorer is None:
        found = from_source.pairs(spirit_lm, options or {})
    else:
        sampled = _sampled(from_source, spirit_lm, folders, sources["model"], Path(out), scorer, given, settings, rules)
        if sampled is None:
            return
        found = sampled
    manifest = store(
        Path(out),
        found.pairs,
        found.skipped,
        spirit_lm.vocabulary,
        spirit_lm.text_tokenizer.fingerprint,
        validation_fraction,
        sources,
    )
    print("\n".join(report(Path(out), manifest, found.skipped)))
    if reference:
        _add_reference(Path(out), manifest, spirit_lm, folders.lm, batch_tokens)


@writes("folder", new=False)
@look(groups={"model": ("model", "lm", "device", "dtype", "batch_tokens")})
def reference(
    folder: str,
    model: Path = MODEL,
    lm: Path | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int = 4096,
) -> None:
    """Compute the log-likelihoods of stored pairs under a model, in place of those that are stored, if any.

    Preference tuning begins with the model that its pairs' log-likelihoods are of. A run that was interrupted goes on.

    Examples:
        spiritlm prepare reference data/preferences/mine --model runs/tuned
        spiritlm prepare reference data/preferences/mine --model data/model_7b --dtype bfloat16 --device cuda

    Args:
        folder: folder that `spiritlm prepare preferences` made.
        model: model folder.
        lm: folder of the language model; MODEL/lm if left out.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        dtype: number format of the weights, such as float32 or bfloat16; as stored if left out.
        batch_tokens: largest number of tokens in a batch, padding included.

    Raises:
        ValueError: if the model has another vocabulary than the pairs.
    """
    from spiritlm_pl.preferences.folder import read_manifest

    manifest = read_manifest(folder)
    spirit_lm, folders = _load(model, lm, None, None, device, dtype, alone=True)
    _check_same_tokens(spirit_lm, manifest, folder)
    _add_reference(Path(folder), manifest, spirit_lm, folders.lm, batch_tokens)


def _check_out(out: Path) -> None:
    """Refuse a folder that holds something else than preferences, or what their preparation has begun with."""
    held = held_in(out)
    if held and not any(name.startswith(("preferences.", "answers", "scores")) for name in held):
        raise ValueError(f"out must be a new folder or one of preferences, but {out} holds {', '.join(held[:3])}")


def _check_same(out: Path, sources: dict[str, Any]) -> None:
    """Refuse to replace pairs that were made with other settings."""
    from spiritlm_pl.corpora.replacing import check_same_settings
    from spiritlm_pl.preferences.folder import MANIFEST, read_manifest

    if (out / MANIFEST).is_file():
        made = read_manifest(out).sources
        wanted = {name: value for name, value in sources.items() if name != "rules"} | sources["rules"]
        check_same_settings(out, made | made.get("rules", {}), wanted)


def _sampling(settings: Any) -> dict[str, Any]:
    """Return the options that sampled continuations depend on."""
    from dataclasses import asdict

    return {key: value for key, value in asdict(settings).items() if key != "batch_size"}


def _check_same_tokens(model: "SpiritLM", manifest: "PreferenceManifest", folder: str) -> None:
    from spiritlm_pl.streams import differences

    if model.vocabulary != manifest.vocabulary:
        theirs, own = differences(manifest.vocabulary.to_dict(), model.vocabulary.to_dict())
        raise ValueError(f"model must have the vocabulary of {folder}, with {theirs}, but has one with {own} instead")
    if manifest.text_fingerprint not in (None, model.text_tokenizer.fingerprint):
        raise ValueError(f"model must have the text tokenizer of {folder}, but has one that gives other ids")


def _add_reference(
    out: Path, manifest: "PreferenceManifest", model: "SpiritLM", checkpoint: Path, batch_tokens: int
) -> None:
    from spiritlm_pl.preferences.reference import add_reference

    add_reference(out, manifest, model.model, checkpoint, batch_tokens)
    print(f"{out}: log-likelihoods are those of {checkpoint}")


def _load(
    model: Path,
    lm: Path | None,
    speech_tokenizer: Path | None,
    vocoder: Path | None,
    device: str | None,
    dtype: str | None,
    template: str | None = None,
    alone: bool = False,
) -> "tuple[SpiritLM, ModelFolders]":
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.generation import LoadOptions, SpiritLM
    from spiritlm_pl.generation.asking import find_template, trained_templates
    from spiritlm_pl.generation.loading import ModelFolders

    disable_progress_bar()  # the bar of reading the weights would disturb the output
    folders = ModelFolders.find(model, lm, speech_tokenizer, vocoder)
    if alone:
        folders = ModelFolders(folders.lm)
    form = None if template is None else find_template(trained_templates(folders), template)
    spirit_lm = SpiritLM.from_pretrained(folders, None, LoadOptions(device=best_device(device), dtype=dtype))
    return spirit_lm if form is None else spirit_lm.asked_by(form), folders


def _scorer(name: str, options: dict[str, Any], out: Path) -> Any:
    """Make a scorer; None for a table that is not there yet.

    Raises:
        ValueError: if there is no such scorer, or it does not take the options.
    """
    from inspect import signature

    from spiritlm_pl.contracts.check import checked
    from spiritlm_pl.preferences.contract import ContinuationScorer
    from spiritlm_pl.registry import check_name, find

    check_name("scorers", name, "scorer")
    if name == "table" and not options:
        if not (out / FORM).is_file():
            return None
        options = {"path": str(out / FORM)}
    kind = find("scorers", name, "scorer")
    try:
        signature(kind).bind(**options)
    except TypeError as error:
        takes = ", ".join(signature(kind).parameters) or "none"
        raise ValueError(f"options of the scorer {name} must be among {takes}, but are {options}: {error}") from None
    return checked(kind(**options), ContinuationScorer, "scorer", object())


def _sampled(
    source: PreferenceSource,
    model: "SpiritLM",
    folders: "ModelFolders",
    model_identity: str,
    out: Path,
    name: str,
    scorer: Any,
    settings: Any,
    rules: "Rules",
) -> "FoundPairs | None":
    """Sample and score continuations, and choose pairs; None where people have to fill in a table first."""
    from spiritlm_pl.cli.batch.candidates import lines_file, sample, score, write_form
    from spiritlm_pl.contracts.skipped import Skipped
    from spiritlm_pl.preferences.contract import KeptScorer
    from spiritlm_pl.preferences.identity import content_hash
    from spiritlm_pl.preferences.selection import select
    from spiritlm_pl.preferences.sources import FoundPairs

    prompts = source.prompts(model)
    if not prompts.prompts:
        why = f": {prompts.skipped[0].reason}" if prompts.skipped else ""
        raise ValueError(f"{source.source} must hold prompts, but holds none{why}")
    identity = {"model": model_identity, "output": source.answered, "settings": _sampling(settings)}
    path = lines_file(out, "answers", identity | {"prompts": {key: one.tokens for key, one in prompts.prompts.items()}})
    candidates = sample(model, prompts.prompts, path, source.answered, settings)
    if scorer is None:
        write_form(model, candidates, out / FORM, out / "audio")
        print(f"{out / FORM}: fill in the column score (higher is better), and type the same command again")
        return None
    kept = None
    if isinstance(scorer, KeptScorer):
        speaks = folders.vocoder or folders.speech_tokenizer  # without a vocoder, it is a codec that speaks
        depends = {"of": path.name, "text_tokenizer": model.text_tokenizer.fingerprint, "scorer": scorer.identity()}
        kept = lines_file(out, f"scores-{name}", depends | {"vocoder": speaks and content_hash(speaks)})
    scores = score(model, scorer, candidates, kept)
    pairs, skipped = [], list(prompts.skipped)
    for one in candidates:
        found = select(one, scores[one.id], rules, model.vocabulary.end_of_document)
        if isinstance(found, str):
            skipped.append(Skipped(one.id, str(source.source), found))
        else:
            pairs += found
    return FoundPairs(pairs, skipped)
