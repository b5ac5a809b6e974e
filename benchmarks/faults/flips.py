"""Flipped bits and truncations: a damaged file is named before what it holds is used.

Each target is a folder that is copied, one of its files damaged, and a command that reads it. A command that ends well
with the same result as before has not used what was damaged, or has made it anew; with another result, it was wrong
without a word.
"""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.change import damaged
from benchmarks.faults.trial import Ended, Trial, digests, guarded, ran, shortened, spiritlm
from benchmarks.faults.world import predict_words

LIMIT = 60.0
Action = Callable[[], None]


@dataclass(frozen=True)
class Target:
    """Files that are damaged and the command that reads them.

    Attributes:
        copied: folder of the world that is copied, to be damaged.
        files: pattern of the files within it.
        action: makes the command from the world and the copy; it works in a fresh folder.
        results: patterns of the files that the command writes, which must not change.
    """

    copied: str
    files: str
    action: Callable[[Path, Path], Action]
    results: tuple[str, ...]


def _f0(copy: Path) -> None:
    from spiritlm_pl.corpora.manifest import load_cuts
    from spiritlm_pl.f0.reader import StoredF0

    cuts = list(load_cuts(copy, "train"))
    lengths = [round(cut.duration * 16_000) for cut in cuts]
    f0, voiced, means = StoredF0([str(copy)], "yin").batch(cuts, lengths)
    Path("found.txt").write_text(f"{f0.tolist()} {voiced.tolist()} {means.tolist()}", encoding="utf-8")


def _corpus(copy: Path) -> None:
    from spiritlm_pl.data.parts import plan_corpus

    plan = plan_corpus([copy])
    kept = [cut.to_dict() | {"recording": cut.recording.id} for cut in plan.cuts]
    parts = [(part.corpus, part.split, part.index, part.batches) for part in plan.parts]
    Path("found.txt").write_text(f"{parts} {kept}".replace(str(copy), ""), encoding="utf-8")


def _fit(root: Path, *words: object) -> Action:
    return spiritlm("fit", f"--config={root}/lm.yaml", "--trainer.max_steps=4", *words)


def _blocks(root: Path, copy: Path) -> Action:
    streams = [f"--data.init_args.streams.{kind}.folder={copy}" for kind in ("text", "speech", "aligned")]
    return _fit(root, *streams)


def _resume(root: Path, copy: Path) -> Action:
    return _fit(root, f"--ckpt_path={next(copy.glob('*.ckpt'))}")


def _consolidate(root: Path, copy: Path) -> Action:
    return spiritlm("consolidate", next(copy.glob("*.ckpt")), "lm")


def _build(root: Path, copy: Path) -> Action:
    return spiritlm("build-blocks", f"[{copy}/tones]", root / "text_tokenizer", "blocks", "--num-jobs=1")


def _align(root: Path, copy: Path) -> Action:
    def action() -> None:
        shutil.copytree(copy, "corpus")
        words = ("align", "corpus", "--method=ctm", f"--source={root}/times/words.ctm", "--overwrite", "--num-jobs=1")
        spiritlm(*words)()

    return action


def _predict_again(root: Path, copy: Path) -> Action:
    def action() -> None:
        shutil.copytree(copy, "units")
        spiritlm(*predict_words(root, "units"))()

    return action


def _score(root: Path, copy: Path) -> Action:
    def action() -> None:
        line = '{"context": "[Text]the fox", "hypotheses": ["[Speech][Hu3][Hu5]", "[Text]the river"]}'
        Path("items.jsonl").write_text(f"{line}\n", encoding="utf-8")
        spiritlm("score", "items.jsonl", f"--model={copy}", "--out=scores.jsonl")()

    return action


def _tokenize(root: Path, copy: Path) -> Action:
    return spiritlm("tokenize", root / "recordings" / "speaker0", f"--model={copy}", "--out=tokens.jsonl")


def _vocode(root: Path, copy: Path) -> Action:
    def action() -> None:
        Path("items.jsonl").write_text('{"tokens": "[Hu3][Hu5][Hu7][Hu11][Hu2][Hu19]"}\n', encoding="utf-8")
        spiritlm("vocode", "items.jsonl", f"--model={copy}", "--out=spoken.jsonl")()

    return action


TARGETS: dict[str, Target] = {
    "block": Target("blocks", "train/*/block-*", _blocks, ("lm/*.safetensors",)),
    "block manifest": Target("blocks", "train/*/manifest.json", _blocks, ("lm/*.safetensors",)),
    "unit shard": Target("units", "tones/*/part-*.parquet", _build, ("blocks/**/block-*",)),
    "unit shard record": Target("units", "tones/*/part-*.json", _predict_again, ("units/**/*.parquet",)),
    "unit manifest": Target("units", "tones/*/manifest.json", _build, ("blocks/**/block-*",)),
    "corpus manifest": Target(
        "tones", "cuts_*.jsonl.gz", lambda root, copy: guarded(lambda: _corpus(copy)), ("found.txt",)
    ),
    "corpus manifest, align": Target("stories", "cuts_*.jsonl.gz", _align, ("corpus/cuts_*",)),
    "corpus description": Target("stories", "corpus.json", _align, ("corpus/cuts_*",)),
    "F0 store": Target(
        "tones", "f0/yin/train-*.parquet", lambda root, copy: guarded(lambda: _f0(copy)), ("found.txt",)
    ),
    "F0 description": Target(
        "tones", "f0/yin/info.json", lambda root, copy: guarded(lambda: _f0(copy)), ("found.txt",)
    ),
    "checkpoint, fit": Target("run/checkpoints", "*.ckpt", _resume, ("lm/*.safetensors",)),
    "checkpoint, consolidate": Target("run/checkpoints", "*.ckpt", _consolidate, ("lm/*",)),
    "LM weights": Target("model", "lm/model.safetensors", _score, ("scores.jsonl",)),
    "LM descriptions": Target("model", "lm/[cs]*.json", _score, ("scores.jsonl",)),
    "text tokenizer": Target("model", "lm/tokenizer*", _score, ("scores.jsonl",)),
    "speech tokenizer weights": Target("model", "speech_tokenizer/*/*.safetensors", _tokenize, ("tokens.jsonl",)),
    "speech tokenizer descriptions": Target("model", "speech_tokenizer/**/config.json", _tokenize, ("tokens.jsonl",)),
    "vocoder weights": Target("model", "vocoder/*.safetensors", _vocode, ("spoken/*",)),
    "vocoder description": Target("model", "vocoder/config.json", _vocode, ("spoken/*",)),
}


def names(path: Path, folder: Path) -> list[str]:
    """Return the words by which a message may name a file: its path, its name if no other file has it, its target."""
    alone = len([*folder.rglob(path.name)]) == 1
    return [str(path), path.name if alone else f"{path.parent.name}/{path.name}", *([path.resolve().name] * alone)]


class Flips:
    """The campaign over all targets.

    Args:
        root: the world.
        scratch: folder to work in.
        seed: seed of the campaign.
    """

    def __init__(self, root: Path, scratch: Path, seed: int) -> None:
        """Run nothing yet."""
        self.root, self.scratch, self.seed = root, scratch, seed
        self._expected: dict[str, dict[str, str]] = {}

    def trial(self, kind: str, number: int) -> Trial:
        """Damage one file and run the command that reads it."""
        target = TARGETS[kind]
        if kind not in self._expected:
            found, ended = self._run(kind, target, None)
            if ended.code != 0:
                raise RuntimeError(f"{kind} must be read when it is whole, but ended with {ended.code}: {ended.err}")
            self._expected[kind] = found
        draw = random.Random(f"flips {kind} {self.seed} {number}")
        place = self._copy(target)
        path = draw.choice(sorted(place.glob(target.files)))
        data, change = damaged(path.read_bytes(), draw)
        path.write_bytes(data)
        found, ended = self._run(kind, target, place)
        words = names(path, place)
        verdict = ended.fault()
        if verdict is None and ended.code == 2:
            verdict = "detected" if ended.names(words) else "unnamed"
        elif verdict is None and found == self._expected[kind]:
            verdict = "harmless"
        elif verdict is None:
            verdict = "detected" if ended.names(words) else "silent"
        message = "" if verdict == "harmless" else shortened(ended.err)
        change = f"{path.relative_to(place)}: {change}"
        return Trial("flips", kind, self.seed, number, verdict, change, round(ended.seconds, 2), message)

    def _copy(self, target: Target) -> Path:
        place = self.scratch / "copy"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.root / target.copied, place, symlinks=True)
        return place

    def _run(self, kind: str, target: Target, place: Path | None) -> tuple[dict[str, str], Ended]:
        place = place or self._copy(target)
        work = self.scratch / "work"
        shutil.rmtree(work, ignore_errors=True)
        ended = ran(target.action(self.root, place), work, LIMIT)
        found = [path for pattern in target.results for path in work.glob(pattern) if path.is_file()]
        return digests(found, work), ended
