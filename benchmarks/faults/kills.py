"""kill -9 at random moments: the same command again, and its results are those of a run that nobody disturbed.

A trial starts a command in a group of its own, kills the group after a random time, often several times in a row, and
lets the last run end. Results are compared bit by bit.
"""

import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.trial import TRACEBACK, Ended, Started, Trial, differing, digests, shortened, spiritlm
from benchmarks.faults.world import predict_words

LIMIT = 300.0
MOST_KILLS = 3  # in one trial
Words = list[object]


@dataclass(frozen=True)
class Stage:
    """A command that is killed.

    Attributes:
        words: makes the words of the command from the world.
        results: patterns of the files that must be the same in the end.
        copied: folders of the world that are copied into the working directory, since the command changes them.
        again: further words of the command when it is run again after a kill.
    """

    words: Callable[[Path], Words]
    results: tuple[str, ...]
    copied: tuple[str, ...] = ()
    again: tuple[str, ...] = ()


def _build(num_jobs: int) -> Callable[[Path], Words]:
    def words(root: Path) -> Words:
        texts = f"--text=[{root}/texts]"
        return [
            "build-blocks",
            f"[{root}/units/tones]",
            root / "text_tokenizer",
            "blocks",
            texts,
            f"--num-jobs={num_jobs}",
        ]

    return words


STAGES: dict[str, Stage] = {
    "build-blocks, 1 process": Stage(_build(1), ("blocks/**/*",)),
    "build-blocks, 2 processes": Stage(_build(2), ("blocks/**/*",)),
    "predict": Stage(lambda root: predict_words(root, "units"), ("units/**/*.parquet", "units/*/*/manifest.json")),
    "align": Stage(
        lambda root: ["align", "stories", "--overwrite", "--num-jobs=1"],
        ("stories/cuts_*", "stories/*.json"),
        ("stories",),
    ),
    "align, 2 processes": Stage(
        lambda root: ["align", "stories", "--overwrite", "--num-jobs=2"],
        ("stories/cuts_*", "stories/*.json"),
        ("stories",),
    ),
    "extract-f0": Stage(
        lambda root: ["extract-f0", "stories", "--extractor=yin", "--num-jobs=1", "--part_size=4"],
        ("stories/f0/**/*",),
        ("stories",),
    ),
    "prepare stories": Stage(
        lambda root: ["prepare", "stories", "corpus", "--count=40", "--num-jobs=1"], ("corpus/**/*",)
    ),
    "prepare folder": Stage(
        lambda root: ["prepare", "folder", root / "recordings", "corpus", "--num-jobs=1", "--min_sample_rate=8000"],
        ("corpus/**/*",),
    ),
    "fit": Stage(
        lambda root: ["fit", f"--config={root}/lm.yaml", "--trainer.max_steps=16"],
        ("lm/*.safetensors", "lm/spiritlm.json"),
        again=("--ckpt_path=last",),
    ),
    "train-text-tokenizer": Stage(
        lambda root: ["train-text-tokenizer", "tokenizer", f"--corpora=[{root}/stories]"], ("tokenizer/*",)
    ),
    "export-lm": Stage(lambda root: ["export-lm", root / "model" / "lm", "export"], ("export/*",)),
}


class Kills:
    """The campaign over all stages.

    Args:
        root: the world.
        scratch: folder to work in.
        seed: seed of the campaign.
    """

    def __init__(self, root: Path, scratch: Path, seed: int) -> None:
        """Run nothing yet."""
        self.root, self.work, self.seed = root, scratch / "killed", seed
        self._whole: dict[str, tuple[dict[str, str], float]] = {}

    def trial(self, kind: str, number: int) -> Trial:
        """Kill one command some times, and run it to its end."""
        stage = STAGES[kind]
        if kind not in self._whole:
            self._fresh(stage)
            ended = self._start(stage, False).wait(LIMIT)
            if ended.code != 0:
                raise RuntimeError(f"{kind} must end well, but ended with {ended.code}: {ended.err}")
            self._whole[kind] = self._found(stage), ended.seconds
        expected, seconds = self._whole[kind]
        draw = random.Random(f"kills {kind} {self.seed} {number}")
        self._fresh(stage)
        moments: list[str] = []
        survived: Ended | None = None
        for _ in range(draw.randint(1, MOST_KILLS)):
            moment = draw.uniform(0, 1.1 * seconds)
            survived = self._start(stage, bool(moments)).wait(moment)
            if survived.code is not None:
                break  # it had ended before
            moments.append(f"{moment:.2f}")
        ended = survived if survived is not None and survived.code is not None else None
        ended = ended or self._start(stage, bool(moments)).wait(LIMIT)
        verdict, differs = ended.fault(), list[str]()
        if verdict is None and ended.code == 0:
            differs = differing(self._found(stage), expected)
            verdict = "silent" if differs else "harmless"
        message = "" if verdict == "harmless" else shortened(ended.err.replace(TRACEBACK, "..."))
        change = f"killed after {', '.join(moments) or 'nothing'} of {seconds:.2f} s"
        more = {"kills": len(moments), "differs": differs[:8]}
        return Trial(
            "kills", kind, self.seed, number, verdict or "lost", change, round(ended.seconds, 2), message, more
        )

    def _fresh(self, stage: Stage) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        for name in stage.copied:
            shutil.copytree(self.root / name, self.work / name)

    def _start(self, stage: Stage, again: bool) -> Started:
        return Started(spiritlm(*stage.words(self.root), *(stage.again if again else ())), self.work)

    def _found(self, stage: Stage) -> dict[str, str]:
        paths: Iterable[Path] = {path for pattern in stage.results for path in self.work.glob(pattern)}
        return digests((path for path in paths if path.is_file() and not _noted(path)), self.work)


def _noted(path: Path) -> bool:
    """Whether a file tells of the run rather than of its result, or was left half-written under a hidden name."""
    return path.name in ("tracking.json", "metrics.json") or path.name.startswith(".")
