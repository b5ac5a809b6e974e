"""`spiritlm benchmark list|run|report`: published benchmarks of spoken language models."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiritlm_pl.cli.batch.items import MODEL, best_device
from spiritlm_pl.cli.benchmark_jobs import (
    benchmarks_named,
    check_model,
    known_benchmarks,
    loaded_jobs,
    options_of,
    planned_jobs,
    sets_of,
)
from spiritlm_pl.cli.benchmark_stsp import score_stsp
from spiritlm_pl.cli.extras import installation_advice
from spiritlm_pl.interop.release.layout import Variant

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

STORE = Path("~/.cache/spiritlm-pl/speech-tokens")


def list_benchmarks(*names: str) -> None:
    """List benchmarks: what each measures, its licence, where its data is fetched from, and what it needs.

    Examples:
        spiritlm benchmark list
        spiritlm benchmark list swuggy salmon

    Args:
        names: benchmarks or sets to list; all if left out.

    Raises:
        ValueError: if there is no such benchmark.
    """
    known = known_benchmarks()
    shown = {key: info for name in names or ("all",) for key, info in benchmarks_named(name).items()}
    for key, info in sorted(shown.items(), key=lambda pair: (pair[1].data or pair[0], pair[0])):
        print(f"{key:<28} {info.title}: {info.measures}\n{'':<29}{info.size}; needs {info.needs}")
        print(f"{'':<29}licence: {info.licence}; from {info.source}")
        if len(shown) <= len(names):
            print(f"{'':<29}options: {', '.join(options_of(key)) or 'none'}")
        print(f"{'':<29}published figures count by {info.published}; sets: {', '.join(info.sets) or 'none'}")
    print(f"\nsets: {', '.join(sets_of(known))}")


def run_benchmarks(
    name: str,
    data: Path,
    out: Path,
    model: Path = MODEL,
    adapter: Path | None = None,
    variant: Variant | None = None,
    speech_tokenizer: Path | None = None,
    unit_layout: dict[str, Any] | Path | None = None,
    options: dict[str, Any] | None = None,
    limit: int | None = None,
    seed: int = 0,
    model_name: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int = 4096,
    batch_size: int = 16,
    speech_tokens: Path | None = STORE,
    save_answers: bool = False,
    track: bool = True,
) -> None:
    """Run a benchmark, or a named set of them, on a model; a run that was interrupted goes on.

    Every benchmark has a folder below OUT with a line for each item (items.jsonl), from which its scores can be
    computed again without the model, and a summary. Several processes (torchrun, SLURM) share the items.

    Examples:
        spiritlm benchmark run swuggy data/sLM21-dataset results/mine --model runs/mine
        spiritlm benchmark run zero_shot BENCHMARKS.yaml results/mine --model runs/mine --limit 200
        spiritlm benchmark run swuggy data/sLM21-dataset results/mine --options '{split: test}'
        spiritlm benchmark run salmon data/salmon results/slam --model slam --speech-tokenizer tokenizers/mhubert

    Args:
        name: benchmark (see `spiritlm benchmark list`), named set, or "all".
        data: folder of the benchmark's data, or file of texts; for a set, a YAML file with a folder, or `folder` and
            options, by name.
        out: folder of the model's results.
        model: model folder, folder of a language model alone, or directory of the published release.
        adapter: folder of an adapter that was trained on this model (LoRA), to use with it; none if left out.
        variant: base or expressive, if the published release holds both.
        speech_tokenizer: folder of the speech tokenizer; that of the model folder if left out.
        unit_layout: ids of a language model of units alone that others have trained, inline or a YAML file; those that
            its folder tells if left out (slamkit, TWIST).
        options: options of the benchmark, such as split (see `spiritlm benchmark list NAME`); defaults if left out.
        limit: largest number of items of each benchmark, drawn at random; all if left out.
        seed: seed of the draw.
        model_name: name of the model in tables; the folder's name if left out, that of the adapter if there is one.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        dtype: number format of the weights, such as float32 or bfloat16; as stored if left out.
        batch_tokens: largest number of tokens in a batch that is scored, padding included.
        batch_size: number of answers that are generated together.
        speech_tokens: folder in which speech tokens are kept for the next model; null keeps none.
        save_answers: whether spoken answers are written as audio, below OUT/NAME/answers.
        track: whether the figures are logged to the MLflow run that trained the model, if its folder names one.

    Raises:
        ValueError: if an argument or the model is wrong; errors in an item are written to its line.
        FileNotFoundError: if the data or the model is missing.
    """
    planned = planned_jobs(name, data, options or {})
    check_model(model, speech_tokenizer)
    jobs = loaded_jobs(planned)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.benchmarks.contract import RunSettings
    from spiritlm_pl.benchmarks.report import Summary, details
    from spiritlm_pl.benchmarks.results import SUMMARY_FILE
    from spiritlm_pl.benchmarks.run import Selection, run_benchmark
    from spiritlm_pl.benchmarks.tracking import log_summary
    from spiritlm_pl.generation import LoadOptions, SpiritLM
    from spiritlm_pl.generation.loading import ModelFolders
    from spiritlm_pl.interop.unit_lms.layout import UnitLayout

    disable_progress_bar()  # the bar of reading the weights would disturb the output
    selection = Selection.of_this_process(limit, seed)
    alone = len(jobs) == 1  # what is wrong with its data is told before the model is loaded
    readings = [benchmark.read(job.folder, job.options) if alone else None for job, benchmark in jobs]
    settings = RunSettings(batch_tokens=batch_tokens, batch_size=batch_size, speech_tokens=speech_tokens)
    if speech_tokenizer is not None or unit_layout is not None:
        layout = None if unit_layout is None else UnitLayout.given(unit_layout)
        folders: Path | ModelFolders = ModelFolders.find(model, None, speech_tokenizer, unit_layout=layout)
    else:
        folders = model
    loading = LoadOptions(device=best_device(device or _own_gpu()), dtype=dtype, adapter=adapter)
    spirit_lm = SpiritLM.from_pretrained(folders, variant, loading)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failed = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        for (job, benchmark), reading in zip(jobs, readings, strict=True):
            key = job.name
            task = bar.add_task(key, total=None)
            try:
                found = run_benchmark(
                    key,
                    benchmark,
                    job.folder,
                    job.options,
                    spirit_lm,
                    model_name or _name_of(adapter or model),
                    out,
                    selection,
                    replace(settings, answers=out / key / "answers" if save_answers else None),
                    partial(_advance, bar, task),
                    reading,
                )
            except (ValueError, OSError, ModuleNotFoundError) as error:
                if alone:
                    raise
                why = installation_advice(error) if isinstance(error, ModuleNotFoundError) else error
                failed.append(f"{key}: {why}")  # the others of a set are run all the same
                continue
            if found is None:
                print(f"{key}: other processes have not finished yet; the last one writes the summary", file=sys.stderr)
                continue
            shown = (benchmark.info.published, "mean", "sum") if "mean" in found["figures"] else None
            details(Summary.read(out / key / SUMMARY_FILE), shown).show()
            for note in found["notes"]:
                print(f"{key}: {note}", file=sys.stderr)
            if found["num_skipped"]:
                print(f"{key}: {found['num_skipped']} items were skipped; summary.json says why", file=sys.stderr)
            if track:
                trained = adapter or model
                if log_summary(trained, found):
                    print(
                        f"{key}: figures are in the MLflow run of {trained} (--track=false logs none)", file=sys.stderr
                    )
    if failed:
        raise ValueError("these benchmarks could not be run:\n" + "\n".join(failed))


def report_benchmarks(
    *results: str, out: Path | None = None, counted_by: str | None = None, full: bool = False
) -> None:
    """Write a table of models side by side with the published rows, and a plot beside it.

    The first model is compared with each other one by a paired test on the items that both have.

    Examples:
        spiritlm benchmark report results/* --out table.md
        spiritlm benchmark report results/mine --full

    Args:
        results: folders that `spiritlm benchmark run` has written, each with one or more models.
        out: Markdown file to write, with a plot of the same name in PNG; the terminal alone if left out.
        counted_by: way of counting, such as sum or mean; that of each benchmark's published figures if left out.
        full: whether all figures in all ways of counting follow, such as those by frequency or type.

    Raises:
        ValueError: if a folder holds no results.
    """
    from spiritlm_pl.benchmarks.plot import plot
    from spiritlm_pl.benchmarks.report import comparisons, details, overview, published_table, read_summaries
    from spiritlm_pl.runtime.provenance import atomic_path

    if not results:
        raise ValueError("RESULTS must be at least one folder, but none is given")
    summaries = read_summaries(results)
    ways = sorted({way for summary in summaries for way in summary.figures})
    if counted_by is not None and counted_by not in ways:
        raise ValueError(
            f"--counted-by must be one of {', '.join(ways)} of these results, but is {counted_by!r} instead"
        )
    several = len({summary.model for summary in summaries}) > 1
    tables = [
        overview(summaries, counted_by),
        *([comparisons(summaries, counted_by)] if several else ()),
        *([known] if (known := published_table(summaries, counted_by)).rows else ()),
        *(map(details, summaries) if full else ()),
    ]
    for table in tables:
        table.show()
    if out is not None:
        with atomic_path(out) as path:
            path.write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")
        plot(summaries, counted_by).savefig(out.with_suffix(".png"), dpi=130)


def write_submission(results: Path, out: Path, counted_by: str = "mean") -> None:
    """Write the score files of the official sLM21 toolkit, so that `zrc benchmarks:run sLM21 OUT` can confirm figures.

    Examples:
        spiritlm benchmark submission results/mine submission
        spiritlm benchmark submission results/mine submission --counted-by sum

    Args:
        results: folder of a model's results, with swuggy, sblimp or both, run on the layout sLM21.
        out: folder to write.
        counted_by: way of counting, such as sum or mean.

    Raises:
        ValueError: if the results hold neither, are of another layout, or lack a pair that could not be scored.
    """
    from spiritlm_pl.benchmarks.items import ChoiceLine
    from spiritlm_pl.benchmarks.official import write_submission
    from spiritlm_pl.benchmarks.report import read_summaries
    from spiritlm_pl.benchmarks.results import read_identity, summarised_lines

    lines = {}
    for summary in read_summaries([results]):
        part = {"swuggy": "lexical", "sblimp": "syntactic"}.get(summary.name)
        if part is None:
            continue
        identity = read_identity(summary.folder)
        if identity["layout"] != "sLM21":
            raise ValueError(f"results must be of the layout sLM21, but {summary.folder} is of {identity['layout']}")
        found = summarised_lines(summary.folder, summary.items)
        if summary.num_skipped or not len(found) == summary.num_scored == summary.num_read:
            raise ValueError(
                f"every pair must be scored, but {summary.folder} has {summary.num_scored} of "
                f"{summary.num_read + summary.num_skipped}: run it without --limit into a new folder"
            )
        place = f"{part}/{identity['options'].get('split', 'dev')}"
        if place in lines:
            raise ValueError(f"RESULTS must be of one model, but {results} has several for {place}")
        lines[place] = [ChoiceLine.from_dict(line) for line in found]
    if not lines:
        raise ValueError(f"RESULTS must hold swuggy or sblimp, but {results} has neither")
    write_submission(out, lines, counted_by)
    print(f"{out}: {', '.join(lines)}")


def _name_of(model: Path) -> str:
    path = model.resolve()
    return path.name if path.name not in ("lm", "model", "export") else f"{path.parent.name}/{path.name}"


def _own_gpu() -> str | None:
    """Return the GPU of this process among those that a launcher has started on this machine; None without one."""
    import torch

    number = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID"))
    several = number is not None and torch.cuda.is_available() and torch.cuda.device_count() > 1
    return f"cuda:{number}" if several else None


def _advance(bar: "Progress", task: "TaskID", done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


COMMANDS = {
    "list": list_benchmarks,
    "run": run_benchmarks,
    "report": report_benchmarks,
    "submission": write_submission,
    "stsp-score": score_stsp,
}
