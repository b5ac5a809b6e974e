"""Accuracy of cross-modal choice on held-out data during training, logged as `val/accuracy_speech_to_text` ..."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from lightning import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from transformers import PreTrainedModel

from spiritlm_pl.callbacks.evaluation_context import evaluation_context, on_rank_zero, text_tokenizer_of
from spiritlm_pl.callbacks.held_out_measurement import HeldOutMeasurement
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.modules import WritingModule
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.evaluation.choice import DIRECTIONS, ChoiceItem, choice_items, score_choices
from spiritlm_pl.runtime.found import check_writable_file
from spiritlm_pl.runtime.provenance import atomic_path
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


class EvaluateChoice(HeldOutMeasurement):
    """Callback that measures at every validation and test how often the right of two continuations is preferred.

    The module must have a `network` (a causal language model of `transformers`) and a `vocabulary`.

    Args:
        units: folder of a tokenised corpus with word times.
        split: held-out split of the corpus.
        text_tokenizer: file or folder of the text tokenizer; None for the module's own `text_tokenizer`.
        kind: "stories", which have sentence ends, or "sentences", which are cut in the middle.
        num_items: largest number of contexts; None for all.
        continuation_sentences: number of sentences at the end of a story that form the continuation.
        same_speaker: whether wrong continuations are taken from the same speaker where possible.
        seed: seed of the choice of pairs.
        directions: names of the directions, from `spiritlm_pl.evaluation.choice.DIRECTIONS`.
        batch_tokens: largest number of tokens in a batch, padding included.
        output: JSON file that the latest results of a fit are written to; None writes no file.
        name: name in the logged figures between `accuracy` and the direction, to tell several of these callbacks apart;
            "" for none.
    """

    def __init__(
        self,
        units: str,
        split: str = "validation",
        text_tokenizer: str | None = None,
        kind: Literal["stories", "sentences"] = "stories",
        num_items: int | None = 200,
        continuation_sentences: int = 1,
        same_speaker: bool = True,
        seed: int = 0,
        directions: Sequence[str] = tuple(DIRECTIONS),
        batch_tokens: int = 4096,
        output: str | None = None,
        name: str = "",
    ) -> None:
        """Keep the options; the items are read when they are first needed."""
        self.units, self.split, self.text_tokenizer = units, split, text_tokenizer
        self.kind, self.num_items, self.continuation_sentences = kind, num_items, continuation_sentences
        self.same_speaker, self.seed, self.directions = same_speaker, seed, tuple(directions)
        self.batch_tokens, self.output, self.name = batch_tokens, output, name
        self._items: list[ChoiceItem] | None = None
        self._opening: tuple[int, ...] = ()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before training that the results can be written.

        Raises:
            ValueError: if they cannot.
        """
        output = self.output
        if stage == "fit" and output is not None:
            on_rank_zero(trainer, lambda: check_writable_file(output, f"output of {type(self).__name__}"))

    def prepare_items(self, pl_module: LightningModule) -> None:
        """Read the items, if they have not been read yet."""
        self._load(pl_module, checked(pl_module, WritingModule, "module", self).vocabulary)

    def measure(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Measure and log the figures."""
        network = cast(PreTrainedModel, checked(pl_module, WritingModule, "module", self).network)
        vocabulary = checked(pl_module, WritingModule, "module", self).vocabulary
        with evaluation_context(trainer, network):
            results = score_choices(
                network,
                self._load(pl_module, vocabulary),
                vocabulary,
                self.directions,
                self.batch_tokens,
                trainer.global_rank,
                trainer.world_size,
                self._opening,
            ).results()
        prefix = f"{stage}/accuracy_{self.name}_" if self.name else f"{stage}/accuracy_"
        pl_module.log_dict({prefix + name: result.accuracy for name, result in results.items()})
        if self.output is not None and trainer.is_global_zero and trainer.state.fn is TrainerFn.FITTING:
            description = {
                "step": trainer.global_step,
                "kind": self.kind,
                "units": self.units,
                "split": self.split,
                "same_speaker": self.same_speaker,
                "continuation_sentences": self.continuation_sentences,
                "seed": self.seed,
                "results": {name: result.to_dict() for name, result in results.items()},
            }
            with atomic_path(Path(self.output)) as path:
                path.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

    def _load(self, pl_module: LightningModule, vocabulary: Vocabulary) -> list[ChoiceItem]:
        if self._items is None:
            path = self.text_tokenizer or text_tokenizer_of(pl_module, self)
            tokenizer = TextTokenizer.load_fitting(path, vocabulary)
            self._opening = tokenizer.opening
            self._items = choice_items(
                UnitCorpus(self.units, self.split),
                tokenizer,
                vocabulary,
                self.kind,
                self.num_items,
                self.continuation_sentences,
                self.same_speaker,
                self.seed,
            )
        return self._items
