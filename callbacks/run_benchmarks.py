"""Benchmarks on a few items during training, logged as `val/benchmark_swuggy` ..."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning import LightningModule, Trainer
from transformers import PreTrainedModel

from spiritlm_pl.benchmarks.contract import Benchmark, RunSettings, Scorer
from spiritlm_pl.benchmarks.run import CHUNK, Selection
from spiritlm_pl.callbacks.evaluation_context import evaluation_context, text_tokenizer_of
from spiritlm_pl.callbacks.held_out_measurement import HeldOutMeasurement
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import WritingModule
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.registry import find_all
from spiritlm_pl.runtime.inference import prepare
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.tokenizers.expressive import load_tokenizer


class RunBenchmarks(HeldOutMeasurement):
    """Callback that runs benchmarks at every validation and test, and logs the first figure of each.

    The module must have a `network` (a causal language model of `transformers`) and a `vocabulary`. Every rank scores
    all items, since sharded parameters (ZeRO-3) need as many calls on each.

    Args:
        data: folder of each benchmark by its name (see `spiritlm benchmark list`), or a mapping with `folder` and the
            options of its reader, such as `{folder: data/sLM21-dataset, split: test}`.
        speech_tokenizer: folder of the speech tokenizer; None for benchmarks of texts.
        text_tokenizer: file or folder of the text tokenizer; None for the module's own `text_tokenizer`.
        limit: largest number of items of each benchmark, drawn at random; None for all.
        seed: seed of the draw.
        batch_tokens: largest number of tokens in a batch, padding included.
        speech_tokens: folder in which speech tokens of audio files are kept for other runs; None for this run alone.

    Raises:
        ValueError: if a benchmark is not known, or the limit is below 1.
    """

    def __init__(
        self,
        data: dict[str, Any],
        speech_tokenizer: str | None = None,
        text_tokenizer: str | None = None,
        limit: int | None = 100,
        seed: int = 0,
        batch_tokens: int = 4096,
        speech_tokens: str | None = None,
    ) -> None:
        """Keep the options; the items are read when training starts."""
        known = find_all("benchmarks")
        for name in data:
            if name not in known:
                raise ValueError(f"data must be of benchmarks among {', '.join(known)}, but has {name!r}")
        self.data, self.speech_tokenizer, self.text_tokenizer = data, speech_tokenizer, text_tokenizer
        self.selection = Selection(limit=limit, seed=seed)
        self.settings = RunSettings(
            batch_tokens=batch_tokens, speech_tokens=None if speech_tokens is None else Path(speech_tokens)
        )
        self._jobs: dict[str, tuple[Benchmark, list[Any], Scorer]] | None = None

    def prepare_items(self, pl_module: LightningModule) -> None:
        """Read the items, if they have not been read yet."""
        self._load(pl_module)

    def measure(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Measure and log the figures."""
        jobs = self._load(pl_module)
        network = cast(PreTrainedModel, checked(pl_module, WritingModule, "module", self).network)
        with evaluation_context(trainer, network):
            for name, (benchmark, items, score) in jobs.items():
                found = [line for start in range(0, len(items), CHUNK) for line in score(items[start : start + CHUNK])]
                lines = [line for line in found if not isinstance(line, Exception)]
                if not lines:
                    raise ValueError(f"at least one item of {name} must be scored, but all failed: {found[0]}")
                figures = benchmark.figures(lines)
                way = benchmark.info.published if benchmark.info.published in figures else next(iter(figures))
                scale = 100 if benchmark.info.unit.endswith("%") else 1  # shares are logged as shares
                pl_module.log(f"{stage}/benchmark_{name}", figures[way][0].value / scale)

    def _load(self, pl_module: LightningModule) -> "dict[str, tuple[Benchmark, list[Any], Scorer]]":
        if self._jobs is None:
            module = checked(pl_module, WritingModule, "module", self)
            path = self.text_tokenizer or text_tokenizer_of(pl_module, self)
            tokenizer = None
            if self.speech_tokenizer is not None:
                tokenizer = load_tokenizer(self.speech_tokenizer, pl_module.device)
                prepare(cast(Any, tokenizer), str(pl_module.device))
            text = TextTokenizer.load_fitting(path, module.vocabulary)
            model = SpiritLM(cast(PreTrainedModel, module.network), text, module.vocabulary, tokenizer)
            self._jobs = {name: self._job(name, entry, model) for name, entry in self.data.items()}
        return self._jobs

    def _job(self, name: str, entry: Any, model: SpiritLM) -> "tuple[Benchmark, list[Any], Scorer]":
        benchmark: Benchmark = find_all("benchmarks")[name]
        options = dict(entry) if isinstance(entry, Mapping) else {"folder": entry}
        if not isinstance(options.get("folder"), str):
            raise ValueError(f"data of {name} must be a folder, or have one, but is {entry!r}")
        items = self.selection.of(benchmark.read(Path(options.pop("folder")), options).items)
        if not items:
            raise ValueError(f"data of {name} must hold items that can be read, but {entry} has none")
        return benchmark, items, benchmark.scorer(model, self.settings, options)
