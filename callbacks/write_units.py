"""Keeps what a tokenizer gives in `predict`: one shard set, whatever the number of devices and nodes.

The data module plans the parts before any rank starts; a rank computes whole parts, so a part has the same
bytes in any run. A part appears when it is complete, and a later run of the same tokenizer over the same
corpus leaves it out, unless it was damaged since; rank zero writes the manifests at the end.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from lhotse import MonoCut
from lightning import Callback, LightningModule, Trainer

from spiritlm_pl.batches import WaveformBatch
from spiritlm_pl.callbacks.record_run import config_file, write_run_file
from spiritlm_pl.corpora.manifest import word_alignment
from spiritlm_pl.modules.tokenize import TokenizeModule
from spiritlm_pl.speech.contract import Units
from spiritlm_pl.speech.tokenizer import tokenizer_fingerprint
from spiritlm_pl.tokens.corpus_store import (
    MANIFEST,
    TimedWord,
    UnitUtterance,
    finish_folder,
    part_is_finished,
    write_part,
)
from spiritlm_pl.tokens.plan import CorpusPlan, Part


class WriteUnits(Callback):
    """Writes units as tokenised corpora, `<folder>/<corpus>/<split>`.

    Args:
        folder: of all tokenised corpora of this tokenizer.
    """

    def __init__(self, folder: str) -> None:
        """Keep the folder."""
        self.folder = Path(folder)
        self._plan: CorpusPlan | None = None
        self._fingerprints: dict[int, str] = {}
        self._position: dict[str, int] = {}
        self._pending: dict[int, dict[str, Units]] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out which parts are finished, before the data module makes its loader.

        Raises:
            ValueError: if the data module has no plan, or the module is no tokenizer.
        """
        plan = getattr(getattr(trainer, "datamodule", None), "plan", None)
        if not isinstance(plan, CorpusPlan) or not isinstance(pl_module, TokenizeModule):
            raise ValueError("WriteUnits must run in predict, with a TokenizeModule and a WaveformDataModule")
        trainer.predict_loop.return_predictions = False  # a corpus of units does not fit in memory
        sha256 = tokenizer_fingerprint(pl_module.folder)
        self._plan = plan
        self._fingerprints = {
            position: part_fingerprint(plan, part, sha256) for position, part in enumerate(plan.parts)
        }
        self._position = {name: position for position, part in enumerate(plan.parts) for name in part.ids}
        finished: set[int] = set()
        if trainer.is_global_zero:
            for position, part in enumerate(plan.parts):
                if part_is_finished(self.home(part), part.index, self._fingerprints[position]):
                    finished.add(position)
                else:
                    (self.home(part) / MANIFEST).unlink(missing_ok=True)
        plan.finished = trainer.strategy.broadcast(finished)  # every rank must share out the same parts

    def home(self, part: Part) -> Path:
        """The folder of a part."""
        return self.folder / part.corpus / part.split

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: WaveformBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the units of a batch; write its part once that is complete."""
        assert self._plan is not None
        for name, units in zip(batch.ids, outputs, strict=True):
            self._pending.setdefault(self._position[name], {})[name] = units
        for position in list(self._pending):
            part = self._plan.parts[position]
            if len(self._pending[position]) == len(part.ids):
                found = self._pending.pop(position)
                rows = [utterance(self._plan, name, found[name]) for name in part.ids]
                write_part(self.home(part), part.index, rows, self._fingerprints[position])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the manifests when all ranks are done, and what the units were made by.

        Unlike `on_predict_end`, this is also called on a rank that had nothing to do, and not after an error.

        Raises:
            FileNotFoundError: if a part is missing because the run was cut short.
        """
        assert self._plan is not None and isinstance(pl_module, TokenizeModule)
        trainer.strategy.barrier("units written")
        if not trainer.is_global_zero:
            return
        tokenizer = pl_module.tokenizer
        assert tokenizer is not None
        for corpus in sorted({part.corpus for part in self._plan.parts}):
            write_run_file(self.folder / corpus, trainer, pl_module)
        config = config_file(trainer)
        if config.is_file():
            shutil.copy(config, self.folder)
        for home in sorted({self.home(part) for part in self._plan.parts}):
            finish_folder(
                home,
                sum(self.home(part) == home for part in self._plan.parts),
                frame_rate=tokenizer.frame_rate,
                num_units=tokenizer.cardinality,
                provenance={
                    "tokenizer": str(pl_module.folder),
                    "tokenizer_sha256": tokenizer.fingerprint,
                    "corpora": list(self._plan.sources),
                },
            )


def part_fingerprint(plan: CorpusPlan, part: Part, tokenizer_sha256: str) -> str:
    """Hash of all that the bytes of a part depend on: tokenizer, utterances, batches."""
    digest = hashlib.sha256(tokenizer_sha256.encode())
    digest.update(json.dumps(part.batches).encode())
    for name in part.ids:
        cut = plan.cuts[name]
        words = [(word.text, word.start, word.end) for word in word_alignment(cut)]
        description = [plan.corpora[name], name, cut.duration, words, *_said(cut)]
        digest.update(json.dumps(description, sort_keys=True).encode())
    return digest.hexdigest()


def _said(cut: MonoCut) -> tuple[str, str, dict[str, Any]]:
    """Speaker, text and custom values of an utterance."""
    supervision = cut.supervisions[0]
    return supervision.speaker or "", supervision.text or "", dict(supervision.custom or {})


def utterance(plan: CorpusPlan, name: str, units: Units) -> UnitUtterance:
    """The row of one utterance."""
    cut = plan.cuts[name]
    speaker, text, custom = _said(cut)
    return UnitUtterance(
        id=name,
        corpus=plan.corpora[name],
        speaker=speaker,
        duration=cut.duration,
        text=text,
        words=tuple(TimedWord(word.text, word.start, word.end) for word in word_alignment(cut)),
        units=units.values.numpy().astype("uint16"),
        unit_starts=units.starts.numpy().astype("uint32"),
        num_frames=units.num_frames,
        custom=custom,
    )
