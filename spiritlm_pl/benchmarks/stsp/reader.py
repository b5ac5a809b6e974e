"""Reader of STSP: the published archive or a corpus, the judge that goes with it, and prompts with their shots."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spiritlm_pl.benchmarks.choices import CACHE
from spiritlm_pl.benchmarks.items import Labels, Reading
from spiritlm_pl.benchmarks.stsp.archive import archive_root, read_archive
from spiritlm_pl.benchmarks.stsp.corpus import read_corpus
from spiritlm_pl.benchmarks.stsp.items import Direction, SentimentItem
from spiritlm_pl.benchmarks.stsp.judges import JudgeSource, find_judge
from spiritlm_pl.benchmarks.stsp.labels import OTHER, Kind, LabelMap
from spiritlm_pl.benchmarks.stsp.samples import Collection, Sample, check_shots, draw_shots
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.manifest import INFO_FILE
from spiritlm_pl.generation.types import Piece, Speech, Text
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.storage.user_cache import cache_folder


@dataclass(frozen=True)
class SentimentReader:
    """Reader of the prompts of a direction.

    Args:
        direction: modality of prompts and of answers.
        num_shots: number of shots unless an option says otherwise.
    """

    direction: Direction
    num_shots: int = 0

    def __call__(
        self,
        folder: Path,
        split: str = "test",
        manifests: Sequence[str] | None = None,
        label: Kind = "sentiment",
        labels: Mapping[str, str | None] | None = None,
        speech_judge: str | Path | None = None,
        text_judge: str | Path | None = None,
        shots: int | None = None,
        shot_seed: int = 0,
    ) -> Reading:
        """Read prompts.

        Args:
            folder: the published archive, a folder that holds it, or a corpus of `spiritlm prepare`.
            split: train, dev or test.
            manifests: names of the archive's manifests, such as emov; None for all.
            label: "sentiment", or "emotion" for names as they are.
            labels: further names of references and of the judge's classes with their labels; null for a class that is
                never right.
            speech_judge: folder of the classifier of spoken answers; None for that of the archive.
            text_judge: folder of the classifier of written answers; None for that of the archive.
            shots: number of solved examples before each prompt; None for that of the benchmark.
            shot_seed: seed of their draw.

        Raises:
            ValueError: if the folder has no layout that is known, or the judge is missing or has other classes.
        """
        folder, names = Path(folder), LabelMap(label, labels or {})
        num_shots = self.num_shots if shots is None else shots
        if isinstance(num_shots, bool) or not isinstance(num_shots, int) or num_shots < 0:
            raise ValueError(f"shots must be a number such as 0, 3, 6 or 9, but are {num_shots!r} instead")
        found = self._collect(folder, split, manifests, names, num_shots > 0)
        judge = self._judge(found, speech_judge if self.direction.answer == "speech" else text_judge)
        wanted = sorted({sample.label for sample in found.samples} - {OTHER})
        who = f"{judge.side}_judge {judge.folder}"
        names.check_classes(judge.classes, wanted, who)
        shares = check_shots(found.shots, num_shots, folder) if num_shots else {}
        classes = sorted({names.label(one) or "" for one in judge.classes} - {OTHER})
        items: list[SentimentItem] = []
        skipped = list(found.skipped)
        for sample in found.samples:
            prompt, reason = self._prompt(sample)
            if sample.label == OTHER:
                reason = f"its {label} is mapped to no label"
            if prompt is None or reason:
                skipped.append(Skipped(sample.id, str(sample.audio or ""), f"{sample.id}: {reason}"))
                continue
            facts: Labels = {
                "corpus": sample.corpus,
                "own_id": sample.own_id,
                "label": sample.label,
                "speaker": sample.speaker,
                "classes": ", ".join(classes),
                "shots": num_shots,
            }
            drawn = draw_shots(shares, num_shots, shot_seed, sample.id) if num_shots else ()
            original = sample.audio if self.direction.answer == "speech" else sample.text or None
            items.append(
                SentimentItem(
                    sample.id, (prompt,), self.direction.answer, drawn, sample.label, facts, judge, names, original
                )
            )
        return Reading(items, found.layout, skipped, [*found.notes, *self._notes(items, judge)])

    def _collect(
        self, folder: Path, split: str, manifests: Sequence[str] | None, names: LabelMap, shots: bool
    ) -> Collection:
        root = archive_root(folder)
        if root is not None:
            return read_archive(root, self.direction, split, manifests, names, shots)
        if (folder / INFO_FILE).is_file():
            if manifests is not None:
                raise ValueError(f"manifests are of the published archive, but {folder} is a corpus")
            return read_corpus(folder, self.direction, split, names, shots, cache_folder(CACHE) / "stsp")
        raise ValueError(
            f"{folder} must be STSP's archive with manifest/ (or data/stsp_data/manifest/), or a corpus with "
            f"{INFO_FILE}, but has none of them"
        )

    def _judge(self, found: Collection, path: str | Path | None) -> JudgeSource:
        side = self.direction.answer
        default = None if found.judges is None else found.judges / f"{side}_classifier"
        if path is None and (default is None or not default.is_dir()):
            lacking = "this layout brings none" if default is None else found_at(default)
            raise ValueError(f"{side}_judge must be given, as {lacking}: --options '{{{side}_judge: FOLDER}}'")
        return find_judge(path or str(default), side)

    def _prompt(self, sample: Sample) -> tuple[Piece | None, str]:
        if self.direction.prompt == "speech":
            return (None, sample.reason or "no audio") if sample.audio is None else (Speech(sample.audio), "")
        return (Text(sample.text), "") if sample.text else (None, "it has no text")

    def _notes(self, items: Sequence[SentimentItem], judge: JudgeSource) -> list[str]:
        counts = Counter(item.reference for item in items)
        told = ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))
        notes = [f"{told}; judged by {judge.folder}, which tells {', '.join(judge.classes)} apart"]
        lacking = sum(item.original is None for item in items)
        if lacking:
            notes.append(f"{lacking} prompts have no original for the judge, whose own accuracy is of the others")
        return notes
