"""Mutated inputs of the newer commands: conversations, templates, lhotse, plans, pairs, adapters, codecs, findings."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults.change import ODD_VALUES, ODD_WORDS, mutated
from benchmarks.faults.newer_world import lora_words, make_newer
from benchmarks.faults.task import SLOW, Make, Task
from benchmarks.faults.trial import Ended, shortened, spiritlm

Words = Callable[[Path, Path, Path], tuple[object, ...]]  # of the world, the newer part of it, and the mutated copy


def _file(copied: str, files: str, words: Words, lost: Callable[[Path, Path, Ended], str] | None = None) -> Make:
    """Mutate one file of a folder and run a command.

    Args:
        copied: folder or file below `newer` that is copied.
        files: pattern of the files to mutate within a folder.
        words: makes the command.
        lost: tells from the folder of the command, the file and the ending what good thing is gone.
    """

    def make(root: Path, work: Path, draw: random.Random) -> Task:
        newer = make_newer(root)
        source, copy = newer / copied, work / copied
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
        path = draw.choice(sorted(copy.glob(files))) if source.is_dir() else copy
        for sums in work.rglob("SHA256SUMS"):  # as if it was changed on purpose
            sums.unlink()
        data, change = mutated(path.read_bytes(), path.name, draw)
        path.write_bytes(data)
        check = (lambda ended: lost(work / "run", path, ended)) if lost else (lambda ended: "")
        return Task(spiritlm(*words(root, newer, copy)), f"{path.name}: {change}", check, SLOW)

    return make


def _chat_lost(run: Path, path: Path, ended: Ended) -> str:
    """Tell which rows of files that were not mutated are missing."""
    if ended.code == 2 and path.name in ended.err:
        return ""  # a file of another form than its name says is refused, before anything is written
    held = "".join(file.read_text(encoding="utf-8") for file in run.glob("corpus/conversations-*.jsonl"))
    expected = {"rows.jsonl": "row0", "list.json": "row0-b", "table.parquet": "row0-c"}
    gone = [name for file, name in expected.items() if file != path.name and f'"{name}"' not in held]
    return f"{' '.join(gone)}: {shortened(ended.err)}" if gone else ""


def _option(root: Path, work: Path, draw: random.Random) -> Task:
    """Mutate one word of a command that is right."""
    newer = make_newer(root)
    prepare, few = "prepare", ("--num-jobs=1", "--min_sample_rate=8000")
    chat, lhotse, pairs = newer / "chat", newer / "lhotse", newer / "pairs" / "pairs.jsonl"
    codec, blocks = newer / "codec", root / "blocks"
    commands: list[tuple[object, ...]] = [
        ("plan", "--model=smollm2-135m", "--gpus=[1, 8]", "--rows=2", "--corpus.hours=100", "--cores=16", "--mfu=0.3"),
        ("plan", "--model=llama-1b", "--adapter-rank=16", "--gpus=[1]", "--bits=4", "--preferences.pairs=500"),
        (prepare, "conversations", f"[{chat}]", "corpus", *few, "--max_duration=20", "--validation_fraction=0.2"),
        (prepare, "conversations", f"[{newer}/tasks.csv]", "corpus", *few, "--task=asr", "--seed=3"),
        ("build-conversations", "[]", root / "text_tokenizer", "tune", f"--records=[{newer}/records]", "--seed=2"),
        ("build-conversations", f"[{root}/units/tones]", root / "text_tokenizer", "tune", "--tasks=[asr, tts]"),
        (prepare, "lhotse-manifest", lhotse / "cuts.jsonl", "corpus", *few, "--max_overlap=0.1", "--language=en"),
        (prepare, "lhotse-manifest", lhotse / "kaldi", "corpus", *few, "--channel=0", "--min_duration=0.1"),
        (prepare, "preferences", pairs, "pairs", f"--model={root}/model", "--validation_fraction=0.3", "--first=5"),
        ("import-codec", codec / "source", "codec", "--num-codebooks=2", "--semantic=true"),
        ("reproduce", newer / "findings", "--report-only=true", "--seeds=2", "--only=[1]"),
        (*lora_words(root, "adapter"), "--trainer.max_steps=1"),
        ("fit", f"--config={root}/lm.yaml", "--trainer.max_steps=1", "--model.init_args.optimizer.lr=0.01"),
        ("build-blocks", "[]", root / "text_tokenizer", "blocks", f"--text={{web: {root}/texts}}", "--text-field=text"),
        ("evaluate", "perplexity", f"{{a: {root}/model/lm}}", f"[{root}/texts/plain.txt]", "out.json", "--items=3"),
        ("merge-adapter", root / "model" / "lm", newer / "adapter", "merged"),
        ("export-lm", root / "model" / "lm", "exported"),
        ("extend-vocab", root / "model" / "lm", "lm", "--num-units=30", "--multiple_of=8"),
        ("fit", f"--config={root}/lm.yaml", f"--data.init_args.streams.text.folder={blocks}", "--trainer.max_steps=1"),
    ]
    words = [str(word) for word in draw.choice(commands)]
    first = 2 if words[0] in (prepare, "evaluate") else 1
    at = draw.randrange(first, len(words))
    option, equals, value = words[at].partition("=") if words[at].startswith("--") else ("", "", words[at])
    new = str(draw.choice([*ODD_WORDS, *ODD_VALUES])).replace("\0", "").encode(errors="replace").decode()
    cut = value[: draw.randrange(len(value) + 1)]
    changed = [f"{option}={new}", f"{option}={new}", f"{option}={cut}", f"{option}x={value}", option]
    words[at] = draw.choice(changed) if equals else draw.choice([new, cut, f"{value}x"])
    if draw.random() < 0.1:
        words.pop(draw.randrange(first, len(words)))
    return Task(spiritlm(*words), f"{' '.join(words[:first])} ... {words[min(at, len(words) - 1)][:60]!r}", limit=SLOW)


def _report(root: Path, newer: Path, copy: Path) -> tuple[object, ...]:
    return ("reproduce", copy, "--report-only=true", "--seeds=2")


_FEW = ("--num-jobs=1", "--min_sample_rate=8000")
NEWER: dict[str, Make] = {
    "conversations": _file(
        "chat", "*", lambda root, newer, copy: ("prepare", "conversations", f"[{copy}]", "corpus", *_FEW), _chat_lost
    ),
    "table of a task": _file(
        "tasks.csv",
        "",
        lambda root, newer, copy: ("prepare", "conversations", f"[{copy}]", "corpus", "--task=asr", *_FEW),
    ),
    "records of conversations": _file(
        "records",
        "*.json*",
        lambda root, newer, copy: (
            *("build-conversations", f"[{root}/units/tones]", root / "text_tokenizer", "tune"),
            f"--records=[{copy}]",
        ),
    ),
    "template": _file(
        "files",
        "template.yaml",
        lambda root, newer, copy: (
            *("build-conversations", f"[{root}/units/tones]", root / "text_tokenizer", "tune", "--tasks=[asr]"),
            f"--template={copy}/template.yaml",
        ),
    ),
    "lhotse cuts": _file(
        "lhotse",
        "cuts.jsonl",
        lambda root, newer, copy: ("prepare", "lhotse-manifest", copy / "cuts.jsonl", "corpus", *_FEW),
    ),
    "lhotse recordings": _file(
        "lhotse",
        "[rs]*.jsonl",
        lambda root, newer, copy: (
            *("prepare", "lhotse-manifest", copy / "recordings.jsonl", "corpus"),
            *(f"--supervisions={copy}/supervisions.jsonl", *_FEW),
        ),
    ),
    "Kaldi folder": _file(
        "lhotse", "kaldi/*", lambda root, newer, copy: ("prepare", "lhotse-manifest", copy / "kaldi", "corpus", *_FEW)
    ),
    "figures of plan": _file(
        "files",
        "figures.yaml",
        lambda root, newer, copy: ("plan", "--model=llama-1b", f"--figures={copy}/figures.yaml"),
    ),
    "pairs": _file(
        "pairs",
        "*",
        lambda root, newer, copy: (
            *("prepare", "preferences", copy / "pairs.jsonl", "out", f"--model={root}/model"),
            "--reference=false",
        ),
    ),
    "adapter descriptions": _file(
        "adapter",
        "*.json",
        lambda root, newer, copy: (
            *("generate", "--text=the fox", f"--model={root}/model", f"--adapter={copy}"),
            *("--output=text", "--max_new_tokens=4"),
        ),
    ),
    "codec of transformers": _file(
        "codec",
        "source/*.json",
        lambda root, newer, copy: ("import-codec", copy / "source", "out", "--num-codebooks=2"),
    ),
    "codec descriptions": _file(
        "codec",
        "model/**/*.json",
        lambda root, newer, copy: (
            *("tokenize", root / "recordings" / "speaker0", f"--model={copy}/model", "--out=tokens.jsonl"),
        ),
    ),
    "results of findings": _file("findings", "results/*.json", _report),
    "settings of findings": _file("findings", "settings.json", _report),
    "options of newer commands": _option,
}
