"""Tables of a plan, 80 columns wide."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from spiritlm_pl.lm.cost import GIB, AdapterSize, Memory, ModelSize, memory
from spiritlm_pl.planning.checkpoints import Checkpoints
from spiritlm_pl.planning.data_path import Stage
from spiritlm_pl.planning.traffic import Traffic, fsdp2, zero3

GB = 1e9


def memory_table(
    size: ModelSize,
    gpus: int,
    capacity: float,
    rows: int,
    row_length: int,
    adapter: AdapterSize | None = None,
    quantized: bool = False,
) -> Table:
    """Make the table of a GPU's memory by ZeRO stage.

    Args:
        size: sizes of the model.
        gpus: number of GPUs.
        capacity: memory of one GPU in GB.
        rows: number of rows in one GPU's batch.
        row_length: number of tokens in a row.
        adapter: adapters that are trained in place of the model; None if the model is.
        quantized: whether the frozen matrices are quantized, which no stage of ZeRO can divide.
    """
    title = f"{'Memory of 1 GPU' if gpus == 1 else f'Memory of each of {gpus} GPUs'} of {capacity:g} GB, in GiB"
    names = ("weights", "grads", "Adam", "working", "layers", "sum", "recomp.", "sum", "host")
    table = _table(title, "ZeRO", *names)
    table.add_column("fits", no_wrap=True)
    stages = ((0, False), (1, False), (2, False), (3, False), (3, True))
    for stage, offload in stages[:1] if quantized else stages:
        kept, recomputed = (
            memory(size, gpus, stage, rows, row_length, checkpointing, offload, adapter=adapter)
            for checkpointing in (False, True)
        )
        cells = (
            *(kept.weights, kept.gradients, kept.optimizer, kept.working, kept.activations, kept.gpu),
            *(recomputed.activations, recomputed.gpu, kept.host),
        )
        name = f"{stage}, host" if offload else str(stage)
        table.add_row(name, *(f"{cell / GIB:.1f}" for cell in cells), _verdict(kept, recomputed, capacity))
    return table


def _verdict(kept: Memory, recomputed: Memory, capacity: float) -> str:
    limit = capacity * GB * 0.95  # allocators cannot use all memory, since they leave gaps
    if kept.gpu <= limit:
        return "yes"
    return "recomp." if recomputed.gpu <= limit else "no"


def network_table(
    size: ModelSize, steps: Sequence[tuple[int, int]], bandwidth: float, seconds: Sequence[tuple[float, float]]
) -> Table:
    """Make the table of what a step sends.

    Args:
        size: sizes of the model.
        steps: numbers of GPUs, each with the number of batches that one of them accumulates in a step.
        bandwidth: bytes a second that a GPU sends, while it receives as many.
        seconds: time in which a step computes, for each of `steps`, without and with recomputed layers.
    """
    title = f"Network: GB and seconds of a step, with {bandwidth / GB:g} GB/s a GPU"
    table = _table(title, "", "weights", "grads", "a GPU sends", "all send", "sending", "computing")
    for (gpus, batches), (kept_seconds, recomputed_seconds) in zip(steps, seconds, strict=True):
        table.add_row(f"{_count(gpus, 'GPU', 's')}, {_count(batches, 'batch', 'es')}")
        engines: tuple[tuple[str, Traffic, float], ...] = (
            ("ZeRO-3", zero3(size, gpus, batches, False), kept_seconds),
            ("  recomp.", zero3(size, gpus, batches, True), recomputed_seconds),
            ("FSDP2", fsdp2(size, gpus, batches), kept_seconds),
            ("  recomp.", fsdp2(size, gpus, batches), recomputed_seconds),
        )
        for name, found, computing in engines:
            cells = [_rounded(value / GB) for value in (found.gathered, found.reduced, found.each, found.total)]
            table.add_row(f"  {name}", *cells, _seconds(found.each / bandwidth), _seconds(computing))
    return table


def checkpoint_table(found: Iterable[tuple[Checkpoints, float]], every: int) -> Table:
    """Make the table of checkpoints.

    Args:
        found: checkpoints for each number of GPUs, with the seconds that a step takes.
        every: number of steps from one checkpoint to the next.
    """
    table = _table(
        f"Checkpoints of ZeRO-3 and FSDP2 every {every:,} steps",
        *("GPUs", "size, GB", "a GPU writes, GB", "seconds", "of the time, %", "room, GB"),
    )
    for one, step_seconds in found:
        sizes = (f"{one.size / GB:,.1f}", f"{one.part / GB:,.2f}", _seconds(one.seconds))
        share = 100 * one.share(every, step_seconds)
        table.add_row(str(one.gpus), *sizes, f"{share:.2f}", f"{one.room / GB:,.1f}")
    return table


def data_table(stages: Sequence[Stage], cores: int) -> Table:
    """Make the table of the data path.

    Args:
        stages: what is done; the last is on the disk only for a while.
        cores: number of cores that share the work.
    """
    table = _table("Data path", "stage", "amount", "CPU hours", f"days, {cores} cores", "disk, GB")
    for stage in stages:
        hours = None if stage.cpu_seconds is None else stage.cpu_seconds / 3600
        times = ("", "") if hours is None else (_rounded(hours), _rounded(hours / cores / 24))
        table.add_row(stage.name, f"{_amount(stage.amount)} {stage.unit}", *times, _rounded(stage.disk / GB))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _count(number: int, name: str, ending: str) -> str:
    return f"{number} {name}{ending if number > 1 else ''}"


def _amount(value: float) -> str:
    return f"{value / 1e9:,.1f} G" if value >= 1e9 else f"{value / 1e6:,.1f} M" if value >= 1e6 else f"{value:,.0f}"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 1 or value == 0 else f"{value:.2g}"


def _seconds(value: float) -> str:
    return f"{value:,.1f}" if value >= 1 or value == 0 else f"{value:.2g}"
