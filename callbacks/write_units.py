"""Callback that writes the units of a tokenizer in `predict`, as the same shards for any number of devices.

The data module plans the parts before any rank starts; a rank computes whole parts, so a part has the same
bytes in any run. A part appears when it is complete, and a later run of the same tokenizer over the same
corpus leaves it out, unless it was damaged since; rank zero writes the manifests at the end. Recordings that
cannot be read are left out, listed in `skipped.jsonl` and tried again once their file has changed.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

from lhotse import MonoCut
from lightning import Callback, LightningModule, Trainer

from spiritlm_pl.callbacks.record_run import config_file, write_run_file
from spiritlm_pl.contracts.batches import WaveformBatch
from spiritlm_pl.contracts.check import checked
from spiritlm_pl.contracts.data_modules import PlannedData
from spiritlm_pl.contracts.modules import TokenizingModule
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.contracts.units import Units, check_units
from spiritlm_pl.corpora.manifest import SKIPPED_FILE, word_alignment, write_jsonl
from spiritlm_pl.data.corpus_store import (
    MANIFEST,
    TimedWord,
    UnitUtterance,
    finish_folder,
    has_rows,
    num_parts,
    part_is_finished,
    recorded_fingerprint,
    write_part,
)
from spiritlm_pl.data.parts import CorpusPlan, Part
from spiritlm_pl.runtime.claims import only_writer
from spiritlm_pl.runtime.found import check_writable
from spiritlm_pl.tokenizers.expressive import speech_fingerprint


class WriteUnits(Callback):
    """Callback that writes units as tokenised corpora, `<folder>/<corpus>/<split>`.

    From the beginning of the run to its end, no other run may write to these corpora; rank zero claims them for all.

    Args:
        folder: folder of all tokenised corpora of this tokenizer.
        overwrite: whether to replace units of another tokenizer; if False, a folder that holds some is refused.
    """

    def __init__(self, folder: str, overwrite: bool = False) -> None:
        """Keep the options."""
        self.folder, self.overwrite = Path(folder), overwrite
        self._plan: CorpusPlan | None = None
        self._sha256 = ""
        self._fingerprints: dict[int, str] = {}
        self._pending: dict[int, dict[str, Units | Skipped]] = {}
        self._unreadable: dict[int, list[Skipped]] = {}
        self._claims = ExitStack()
        self._checks: list[Callable[[], None]] = []
        self._limit: int | float = 1.0  # `limit_predict_batches` of the trainer, 0 while there is nothing to do

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the finished parts before the data module makes its loader.

        Raises:
            ValueError: if the data module has no plan, the module is not a tokenizer, or the folder holds units of
                another corpus of the same name, or of another tokenizer without `overwrite`, another run writes to it,
                or nothing can be written there.
        """
        if stage != "predict":
            raise ValueError(f"WriteUnits must run in predict, but runs in {stage}")
        data = checked(getattr(trainer, "datamodule", None), PlannedData, "data", self)
        module = checked(pl_module, TokenizingModule, "module", self)
        plan = data.plan
        if not isinstance(plan, CorpusPlan):
            raise ValueError("WriteUnits must run in predict, but the data has no plan for that")
        trainer.predict_loop.return_predictions = False  # a corpus of units does not fit in memory
        self._sha256 = speech_fingerprint(module.folder)
        self._plan = plan
        self._fingerprints = {}
        self._limit = trainer.limit_predict_batches
        found: tuple[set[int], str | None] = (set(), None)
        if trainer.is_global_zero:
            try:
                self._claim()
                found = self._look()
            except ValueError as error:
                found = set(), str(error)
        plan.finished, refusal = trainer.strategy.broadcast(found)  # every rank must distribute the same parts
        if refusal is not None:
            raise ValueError(refusal)
        if not plan.remaining(rank=0, world_size=1):
            trainer.limit_predict_batches = 0  # of a loader without batches, Lightning would warn
            trainer.predict_loop.max_batches = []  # else those of an earlier run of the trainer would count

    def _claim(self) -> None:
        """Keep other runs from writing to the corpora of this one.

        Raises:
            ValueError: if one does.
        """
        folders = sorted({home.parent for home in self._homes()})
        self._checks = [self._claims.enter_context(only_writer(folder, "folder")) for folder in folders]

    def _look(self) -> tuple[set[int], str | None]:
        """Return positions of finished parts and why the folder is refused; remove manifests of splits that change."""
        assert self._plan is not None
        finished: set[int] = set()
        changing = []
        for home, positions in self._homes().items():
            done = {position for position in positions if self._finished(home, position)}
            finished |= done
            if len(done) < len(positions) or num_parts(home) > len(positions):
                changing.append(home)
        for home in changing:
            refusal = of_another_corpus(home, self._plan.sources[home.parent.name])
            if refusal is not None:
                return finished, refusal
        refusal = self._of_another_tokenizer() if changing and not self.overwrite else None
        if refusal is not None:
            return finished, refusal
        for home in changing:
            check_writable(home, "folder")
        for home in changing:
            (home / MANIFEST).unlink(missing_ok=True)
        return finished, None

    def _fingerprint(self, position: int) -> str:
        """Return the fingerprint of a part, which is computed when it is first asked for."""
        if position not in self._fingerprints:
            assert self._plan is not None
            self._fingerprints[position] = part_fingerprint(self._plan, self._plan.parts[position], self._sha256)
        return self._fingerprints[position]

    def _finished(self, home: Path, position: int) -> bool:
        """Whether a part is finished; one of an earlier version keeps its fingerprint."""
        assert self._plan is not None
        part = self._plan.parts[position]
        recorded = recorded_fingerprint(home, part.index)
        if recorded is None:
            return False
        if recorded != self._fingerprint(position):
            if recorded != earlier_fingerprint(self._plan, part, self._sha256):
                return False
            self._fingerprints[position] = recorded
        return part_is_finished(home, part.index, recorded)

    def _of_another_tokenizer(self) -> str | None:
        """Return why the folder must be left as it is, which is that another tokenizer wrote some of it; else None."""
        for home in sorted({path.parent for path in self.folder.glob("*/*/*.json")}):
            if recorded_tokenizers(home) - {self._sha256}:
                return (
                    f"folder must not hold units of another speech tokenizer, but {home} does: give another folder, or "
                    f"replace them with --trainer.callbacks.overwrite=true"
                )
        return None

    def _homes(self) -> dict[Path, list[int]]:
        """Return the positions of the parts of each folder."""
        assert self._plan is not None
        homes: dict[Path, list[int]] = {}
        for position, part in enumerate(self._plan.parts):
            homes.setdefault(self.home(part), []).append(position)
        return homes

    def home(self, part: Part) -> Path:
        """Return the folder of a part."""
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
        """Keep the units of a batch, and write a part once it is complete."""
        assert self._plan is not None
        tokenizer = cast(TokenizingModule, pl_module).tokenizer
        assert tokenizer is not None
        for units in outputs:
            check_units(units, tokenizer.layout)
        done = dict(zip(batch.ids, outputs, strict=True)) | {item.id: item for item in batch.skipped}
        for name, result in done.items():
            self._pending.setdefault(self._plan.position(name), {})[name] = result
        for position in list(self._pending):
            part = self._plan.parts[position]
            if len(self._pending[position]) == len(part.cuts):
                found = self._pending.pop(position)
                skipped = [item for item in found.values() if isinstance(item, Skipped)]
                if len(skipped) == len(part.cuts):
                    self._unreadable[position] = skipped  # broken files, or a missing disk
                    continue
                units = {name: item for name, item in found.items() if not isinstance(item, Skipped)}
                rows = [utterance(part.corpus, cut, units[cut.id]) for cut in part.cuts if cut.id in units]
                warn_of_one_unit(rows)
                write_part(self.home(part), part.index, rows, self._fingerprint(position), skipped, self._sha256)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the manifests, with the origin of the units, when all ranks are done.

        Unlike `on_predict_end`, this is also called on a rank that had nothing to do, and not after an error.

        Raises:
            FileNotFoundError: if a part is missing because the run was cut short, or because no recording of its corpus
                could be read.
            ValueError: if another run has begun to write there while this one stood still.
        """
        assert self._plan is not None
        module = cast(TokenizingModule, pl_module)
        trainer.limit_predict_batches = self._limit
        trainer.strategy.barrier("units written")
        self._write_empty_parts()
        trainer.strategy.barrier("empty parts written")
        if trainer.is_global_zero:
            with self._claims:
                for check in self._checks:
                    check()
                self._finish(trainer, module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the folders and the trainer's limit back; what has ended the run is told, and nothing else."""
        if self._plan is not None:
            trainer.limit_predict_batches = self._limit
        with suppress(ValueError):
            self._claims.close()

    def _finish(self, trainer: Trainer, module: TokenizingModule) -> None:
        """Write the manifests, where a split has none yet."""
        assert self._plan is not None
        tokenizer = module.tokenizer
        assert tokenizer is not None
        homes = self._homes()
        unfinished = [home for home in homes if not (home / MANIFEST).is_file()]
        if not unfinished:
            print(f"{self.folder} has the units of all {len(homes)} splits already: nothing was done")
            return
        for folder in sorted({home.parent for home in unfinished}):
            write_run_file(folder, trainer, cast(LightningModule, module))
        config = config_file(trainer)
        if config.is_file():
            shutil.copy(config, self.folder)
        missing: list[str] = []
        for home in unfinished:
            try:
                manifest = finish_folder(
                    home,
                    [self._fingerprint(position) for position in homes[home]],
                    layout=tokenizer.layout,
                    provenance={
                        "tokenizer": str(module.folder),
                        "tokenizer_sha256": self._sha256,
                        "f0_sha256": self._plan.f0.get(home.parent.name),
                        "corpora": [str(Path(name).resolve()) for name in self._plan.sources[home.parent.name]],
                    },
                )
            except FileNotFoundError as error:
                missing.append(str(error))
            else:
                list_skipped(home, manifest)
        if missing:
            reasons = [f"no utterance of the corpus could be read ({x[0].reason})" for x in self._unreadable.values()]
            raise FileNotFoundError(": ".join([missing[0], *reasons[:1]]))

    def _write_empty_parts(self) -> None:
        """Write the parts without readable recordings, unless no recording of their whole corpus could be read."""
        assert self._plan is not None
        readable = {
            part.corpus
            for position, part in enumerate(self._plan.parts)
            if has_rows(self.home(part), part.index, self._fingerprint(position))
        }
        for position in [p for p in self._unreadable if self._plan.parts[p].corpus in readable]:
            part = self._plan.parts[position]
            skipped = self._unreadable.pop(position)
            write_part(self.home(part), part.index, [], self._fingerprint(position), skipped, self._sha256)


def warn_of_one_unit(rows: Sequence[UnitUtterance]) -> None:
    """Warn if all frames of several utterances are the same unit or codes, which no later stage can learn from."""
    first = next((row.units[0] for row in rows if len(row.units)), None)
    if len(rows) > 1 and first is not None and all((row.units == first).all() for row in rows):
        warnings.warn(
            f"all frames of {len(rows)} utterances ({rows[0].id}, ...) are unit {first}: the speech is silent, "
            "or the quantizer has learnt too little; train it for more steps (its log has the units' perplexity)",
            stacklevel=2,
        )


def list_skipped(home: Path, manifest: Mapping[str, Any]) -> None:
    """List the utterances that a split lacks in a file, and print their number."""
    skipped = [item for file in manifest["files"] for item in file["skipped"]]
    write_jsonl(home / SKIPPED_FILE, skipped)
    if skipped:
        total = manifest["rows"] + len(skipped)
        first = skipped[0]["reason"]
        print(f"{home}: skipped {len(skipped)} of {total} utterances, see {SKIPPED_FILE}; the first: {first}")


def of_another_corpus(home: Path, sources: Sequence[str]) -> str | None:
    """Return why units must not be replaced, which is that their source folder is another and exists; else None."""
    path = home / MANIFEST
    if not path.is_file():
        return None
    own = {Path(name).resolve() for name in sources}
    recorded = [Path(name) for name in json.loads(path.read_text(encoding="utf-8"))["provenance"]["corpora"]]
    others = [name for name in recorded if name.is_dir() and name.resolve() not in own]
    if not others:
        return None
    return (
        f"folder must not hold units of another corpus of the same name, but {home} was made from {others[0]} "
        f"instead of {', '.join(sources)}: give another folder, or remove {home.parent}"
    )


def recorded_tokenizers(folder: Path) -> set[str]:
    """Return the fingerprints of the tokenizers that wrote a split, finished or not, where they are recorded."""
    path = folder / MANIFEST
    if path.is_file():
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = [manifest.get("provenance", {}).get("tokenizer_sha256")]
    else:
        entries = sorted(folder.glob("part-*.json"))
        found = [json.loads(entry.read_text(encoding="utf-8")).get("tokenizer_sha256") for entry in entries]
    return {name for name in found if name is not None}


def part_fingerprint(plan: CorpusPlan, part: Part, tokenizer_sha256: str) -> str:
    """Return a hash of all that a part depends on: tokenizer, utterances, batches and stored F0."""
    digest = hashlib.sha256(json.dumps([tokenizer_sha256, part.corpus, plan.f0.get(part.corpus, "")]).encode())
    digest.update(json.dumps([batch.tolist() for batch in part.places]).encode())
    digest.update(part.cuts.digests())
    return digest.hexdigest()


def earlier_fingerprint(plan: CorpusPlan, part: Part, tokenizer_sha256: str) -> str:
    """Return the hash that earlier versions gave to a part, for which all its utterances are parsed."""
    digest = hashlib.sha256(tokenizer_sha256.encode())
    digest.update(json.dumps(part.batches).encode())
    digest.update(plan.f0.get(part.corpus, "").encode())
    for cut in part.cuts:
        words = [(word.text, word.start, word.end) for word in word_alignment(cut)]
        description = [part.corpus, cut.id, cut.duration, words, *_said(cut)]
        digest.update(json.dumps(description, sort_keys=True).encode())
    return digest.hexdigest()


def _said(cut: MonoCut) -> tuple[str, str, dict[str, Any]]:
    """Return speaker, text and custom values of an utterance."""
    supervision = cut.supervisions[0]
    return supervision.speaker or "", supervision.text or "", dict(supervision.custom or {})


def utterance(corpus: str, cut: MonoCut, units: Units) -> UnitUtterance:
    """Build the row of one utterance of a corpus."""
    speaker, text, custom = _said(cut)
    return UnitUtterance(
        id=cut.id,
        corpus=corpus,
        speaker=speaker,
        duration=cut.duration,
        text=text,
        words=tuple(TimedWord(word.text, word.start, word.end) for word in word_alignment(cut)),
        units=units.values.numpy().astype("uint16"),
        unit_starts=units.starts.numpy().astype("uint32"),
        num_frames=units.num_frames,
        custom=custom,
        codes={name: codes.numpy().astype("uint16") for name, codes in units.codes.items()},
    )
