"""Run of a benchmark: all items that are not done yet, in chunks, then a summary of all lines."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.contract import Benchmark, Line, RunSettings
from spiritlm_pl.benchmarks.identity import asked_of, content_of, digest_of, model_identity, named_content
from spiritlm_pl.benchmarks.items import Reading, check_unique
from spiritlm_pl.benchmarks.modalities import check_modalities
from spiritlm_pl.benchmarks.results import Results
from spiritlm_pl.runtime.launch import rank_and_size
from spiritlm_pl.runtime.provenance import code_version

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

PERCENT = 100.0
CHUNK = 128  # items between two writes
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Items of a benchmark that are run, and the share of them that this process runs.

    Args:
        limit: largest number of items, drawn at random; None for all.
        seed: seed of the draw.
        rank: number of this process.
        world_size: number of processes that share the items.
    """

    limit: int | None = None
    seed: int = 0
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        """Check the limit."""
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit must be at least 1, but is {self.limit} instead")

    @classmethod
    def of_this_process(cls, limit: int | None, seed: int) -> "Selection":
        """Return a selection whose process number is that of torchrun or of SLURM's srun; 0 of 1 without them."""
        rank, size = rank_and_size()
        return cls(limit=limit, seed=seed, rank=rank, world_size=size)

    def of(self, items: Sequence[Any]) -> list[Any]:
        """Return the selected items in their order; the same seed gives the same ones."""
        if self.limit is None or self.limit >= len(items):
            return list(items)
        chosen = random.Random(self.seed).sample(range(len(items)), self.limit)
        return [items[place] for place in sorted(chosen)]


def run_benchmark(
    name: str,
    benchmark: Benchmark,
    data: Path,
    options: Mapping[str, Any],
    model: "SpiritLM",
    model_name: str,
    out: Path,
    selection: Selection | None = None,
    settings: RunSettings | None = None,
    progress: Progress | None = None,
    reading: Reading | None = None,
) -> dict[str, Any] | None:
    """Run a benchmark and write lines and a summary to `out/name`; a run that was interrupted goes on.

    Args:
        name: name of the benchmark.
        benchmark: benchmark to run.
        data: folder of its data.
        options: options of its reader.
        model: model that is measured.
        model_name: name that tables show for the model.
        out: folder of the model's results.
        selection: items to run; None for all, in this process.
        settings: batch size and store of speech tokens; None for the defaults.
        progress: function called after every chunk with the number of items done and to do; None for none.
        reading: what `benchmark.read` gives for the data and the options; None to read it here.

    Returns:
        The summary; None if other processes have not finished their share yet, of which the last writes it.

    Raises:
        ValueError: if the data cannot be read, the folder holds other results, or no item could be scored.
    """
    selection, settings = selection or Selection(), settings or RunSettings()
    reading = benchmark.read(data, options) if reading is None else reading
    check_unique(reading.items, data)
    items = selection.of(reading.items)
    if not items:
        why = f": {reading.skipped[0].reason}" if reading.skipped else ""
        raise ValueError(f"DATA must hold items of {name}, but {data} has none that can be read{why}")
    identity = {
        "benchmark": name,
        "data": str(data.resolve()),  # items of another language may have the same ids
        "layout": reading.layout,
        "options": dict(options),
        "judges": named_content(options),
        **model_identity(model),
    }
    with Results(out / name, identity, selection.rank) as results:
        contents = {item.id: content_of(item) for item in items}  # lines of data that has changed are of no use
        known = results.lines(contents)
        share = items[selection.rank :: selection.world_size]
        left = [item for item in share if item.id not in known or "error" in known[item.id]]
        if left:
            check_modalities(name, left, model)
            scorer = benchmark.scorer(model, settings, options)
            for start in range(0, len(left), CHUNK):
                chunk = left[start : start + CHUNK]
                results.write(_lines(chunk, scorer(chunk), contents))
                if progress is not None:
                    progress(min(start + CHUNK, len(left)), len(left))
        lines = results.lines(contents)
        if any(item.id not in lines for item in items):
            return None
        unread = reading.skipped if len(items) == len(reading.items) else ()  # those of a draw are not known
        found = summary(name, benchmark, items, [lines[item.id] for item in items], [one.reason for one in unread])
        found |= {"model": model_name, "notes": list(reading.notes), "num_read": len(reading.items), **identity}
        found |= {"asked": _asked([lines[item.id] for item in items]), "items": digest_of(contents)}
        results.summarise(found, contents)
        write_files = getattr(benchmark, "write_files", None)  # such as predictions, of benchmarks that have more
        if write_files is not None:
            write_files(results.folder, [lines[item.id] for item in items if "error" not in lines[item.id]])
        return found


def _lines(items: Sequence[Any], found: Sequence[Line | Exception], contents: Mapping[str, str]) -> list[Line]:
    return [
        ({"id": item.id, "error": f"{type(one).__name__}: {one}"} if isinstance(one, Exception) else one)
        | {"content": contents[item.id], "asked": asked_of(item)}
        for item, one in zip(items, found, strict=True)
    ]


def _asked(lines: Sequence[Line]) -> str | None:
    """Return a hash of all that was asked; None if some lines are of an earlier version, which did not tell it."""
    known = {line["id"]: line["asked"] for line in lines if "asked" in line}
    return digest_of(known) if len(known) == len(lines) else None


def summary(
    name: str, benchmark: Benchmark, items: Sequence[Any], lines: Sequence[Line], unread: Sequence[str]
) -> dict[str, Any]:
    """Return figures in every way of counting, with what was skipped and why.

    Args:
        name: name of the benchmark.
        benchmark: benchmark that averages.
        items: items of the run.
        lines: lines of the items in their order, those of failed ones with `error`.
        unread: reasons why further items could not be read.

    Raises:
        ValueError: if every item failed.
    """
    good = [line for line in lines if "error" not in line]
    errors = [line["error"] for line in lines if "error" in line] + list(unread)
    if not good:
        raise ValueError(f"at least one item of {name} must be scored, but all failed, the first with: {errors[0]}")
    figures = benchmark.figures(good)
    return {
        "title": benchmark.info.title,
        "published": benchmark.info.published,
        "unit": benchmark.info.unit,
        "chance": benchmark.info.chance,
        "higher_is_better": benchmark.info.higher_is_better,
        "num_scored": len(good),
        "num_skipped": len(errors),
        "skipped": dict(Counter(errors).most_common(10)),
        "figures": {variant: [asdict(figure) for figure in found] for variant, found in figures.items()},
        "skipped_as_wrong": _skipped_as_wrong(benchmark, items, lines, len(unread)),
        "code_version": code_version(),
    }


def _skipped_as_wrong(
    benchmark: Benchmark, items: Sequence[Any], lines: Sequence[Line], num_unread: int
) -> dict[str, float] | None:
    """Return what the first figures would be if the model had been wrong wherever it could not be asked.

    Items that could not even be read count as items of their own; None for a benchmark that cannot tell.
    """
    as_wrong = getattr(benchmark, "as_wrong", None)
    if as_wrong is None:
        return None
    ways = list(benchmark.figures([line for line in lines if "error" not in line]))
    whole = [as_wrong(item, ways) if "error" in line else line for item, line in zip(items, lines, strict=True)]
    figures = {way: found[0] for way, found in benchmark.figures(whole).items()}
    worst = 0.0 if benchmark.info.higher_is_better else PERCENT
    return {
        way: (figure.value * figure.count + worst * num_unread) / (figure.count + num_unread)
        for way, figure in figures.items()
    }
