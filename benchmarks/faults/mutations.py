"""Mutated inputs: whatever a file, a prompt or a request holds, it is refused in one line or read, and the rest stays.

Each kind makes a command and a check of what must still be there; a failed check is the verdict "lost".
"""

import base64
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.change import ODD_VALUES, ODD_WORDS, changed_tree, mutated
from benchmarks.faults.flips import TARGETS
from benchmarks.faults.newer import NEWER
from benchmarks.faults.task import SLOW, Make, Task
from benchmarks.faults.trial import Ended, Trial, ran, shortened, spiritlm
from benchmarks.faults.world import CONTAINERS, predict_words

PIECES = (
    "the fox",
    "",
    " ",
    "[Speech]",
    "[Text]",
    "[Hu3]",
    "[Hu99999]",
    "[Hu",
    "<s>",
    "\0",
    "\ud800",
    "é",
    "字",
    "\u202e",
)


def _mutate(path: Path, draw: random.Random) -> str:
    data, change = mutated(path.read_bytes(), path.name, draw)
    path.write_bytes(data)
    return f"{path.name}: {change}"


def _copied(root: Path, work: Path, name: str) -> Path:
    return Path(shutil.copytree(root / name, work / name, symlinks=True))


def _utterances(corpus: Path) -> set[str]:
    from spiritlm_pl.corpora.manifest import SPLITS, load_cuts

    return {cut.id for split in SPLITS for cut in load_cuts(corpus, split)}


def _prepared(work: Path, others: set[str], path: Path) -> Callable[[Ended], str]:
    """Make the check of a corpus: it has all others, and the mutated one, too, or says that it is left out."""

    def lost(ended: Ended) -> str:
        if ended.code != 0:
            return f"all: {shortened(ended.err)}"
        corpus = work / "run" / "corpus"
        held = _utterances(corpus)
        told = (corpus / "skipped.jsonl").read_text(encoding="utf-8") + ended.out + ended.err
        gone = sorted(others - held)
        if f"{path.parent.name}-{path.stem}" not in held and path.stem not in told:
            gone.append(f"{path.name}, without a word")
        return " ".join(gone)

    return lost


def _audio(container: str) -> Make:
    """Prepare a folder in which one recording is mutated."""

    def make(root: Path, work: Path, draw: random.Random) -> Task:
        recordings = _copied(root, work, "recordings")
        path = draw.choice(sorted(recordings.glob(f"*/*.{container}")))
        change = _mutate(path, draw)
        others = {f"{one.parent.name}-{one.stem}" for one in recordings.glob("*/*.txt") if one.stem != path.stem}
        words = ("prepare", "folder", recordings, "corpus", "--num-jobs=1", "--min_sample_rate=8000")
        return Task(spiritlm(*words), change, _prepared(work, others, path))

    return make


def _transcript(root: Path, work: Path, draw: random.Random) -> Task:
    recordings = _copied(root, work, "recordings")
    path = draw.choice(sorted(recordings.glob("*/*.txt")))
    change = _mutate(path, draw)
    others = {f"{one.parent.name}-{one.stem}" for one in recordings.glob("*/*.txt") if one != path}
    words = ("prepare", "folder", recordings, "corpus", "--num-jobs=1", "--min_sample_rate=8000")
    return Task(spiritlm(*words), change, _prepared(work, others, path))


def _table(root: Path, work: Path, draw: random.Random) -> Task:
    recordings = _copied(root, work, "recordings")
    change = _mutate(recordings / "table.csv", draw)
    words = (f"--table={recordings}/table.csv", "--num-jobs=1", "--min_sample_rate=8000")
    return Task(spiritlm("prepare", "folder", recordings, "corpus", *words), change)


def _spoken(container: str) -> Make:
    """Tokenise a mutated recording beside a whole one."""

    def make(root: Path, work: Path, draw: random.Random) -> Task:
        recordings = _copied(root, work, "recordings")
        path = draw.choice(sorted(recordings.glob(f"*/*.{container}")))
        good = draw.choice([one for one in sorted(recordings.glob("*/*.wav")) if one != path])
        change = _mutate(path, draw)

        def lost(ended: Ended) -> str:
            lines = work / "run" / "tokens.jsonl"
            found = (
                [json.loads(one) for one in lines.read_text(encoding="utf-8").splitlines()] if lines.is_file() else []
            )
            return "" if any(str(good) in json.dumps(one) and one.get("tokens") for one in found) else "the good one"

        words = ("tokenize", path, good, f"--model={root}/model", "--out=tokens.jsonl")
        return Task(spiritlm(*words), change, lost)

    return make


def _grid(root: Path, work: Path, draw: random.Random) -> Task:
    corpus, times = _copied(root, work, "stories"), _copied(root, work, "times")
    path = draw.choice(sorted(times.glob("grids/*")))
    change = _mutate(path, draw)

    def lost(ended: Ended) -> str:
        from spiritlm_pl.corpora.manifest import SPLITS, load_cuts, word_alignment

        cuts = [cut for split in SPLITS for cut in load_cuts(corpus, split)]
        return " ".join(cut.id for cut in cuts if cut.id != path.stem and not word_alignment(cut))

    words = ("align", corpus, "--method=textgrid", f"--source={times}/grids", "--overwrite", "--num-jobs=1")
    return Task(spiritlm(*words), change, lost)


def _ctm(root: Path, work: Path, draw: random.Random) -> Task:
    corpus, times = _copied(root, work, "stories"), _copied(root, work, "times")
    change = _mutate(times / "words.ctm", draw)
    before = _utterances(corpus)
    words = ("align", corpus, "--method=ctm", f"--source={times}/words.ctm", "--overwrite", "--num-jobs=1")
    return Task(spiritlm(*words), change, lambda ended: " ".join(sorted(before - _utterances(corpus))))


def _reader(kind: str) -> Make:
    """Mutate, within its form, what the campaign of flips damages, and read it with the same command."""

    def make(root: Path, work: Path, draw: random.Random) -> Task:
        target = TARGETS[kind]
        place = _copied(root, work, target.copied)
        path = draw.choice(sorted(place.glob(target.files)))
        for sums in place.rglob("SHA256SUMS"):  # as if it was changed on purpose
            sums.unlink()
        return Task(target.action(root, place), _mutate(path, draw), limit=SLOW)

    return make


def _description(root: Path, work: Path, draw: random.Random) -> Task:
    """Tokenise a corpus whose description is mutated."""
    corpus = _copied(root, work, "tones")
    change = _mutate(corpus / "corpus.json", draw)
    words = (*predict_words(root, "units"), f"--data.init_args.corpora=[{corpus}]")
    return Task(spiritlm(*words), change, limit=SLOW)


def _configuration(root: Path, work: Path, draw: random.Random) -> Task:
    shutil.copy(root / "lm.yaml", work / "lm.yaml")
    change = _mutate(work / "lm.yaml", draw)
    return Task(spiritlm("fit", f"--config={work}/lm.yaml", "--trainer.max_steps=1"), change, limit=SLOW)


def _options(root: Path, work: Path, draw: random.Random) -> Task:
    """Mutate a word of a command line."""
    commands: list[list[Any]] = [
        ["plan", "--gpus=8"],
        ["build-blocks", f"[{root}/units/tones]", f"{root}/text_tokenizer", "blocks", "--num-jobs=1", "--seed=3"],
        [
            "generate",
            "--text",
            "the fox",
            f"--model={root}/model",
            "--output=text",
            "--max_new_tokens=5",
            "--top_p=0.9",
        ],
        ["extract-f0", f"{root}/tones", "--extractor=yin", "--part_size=5", "--name=other"],
        ["prepare", "folder", f"{root}/recordings", "corpus", "--num-jobs=1", "--max_duration=50"],
        ["prepare", "stories", "corpus", "--count=3", "--speed=200", "--voices=[en-us]"],
        ["train-text-tokenizer", "tokenizer", f"--corpora=[{root}/tones]", "--vocab_size=300"],
        ["tokenize", f"{root}/recordings/speaker0/wav0.wav", f"--model={root}/model", "--batch_seconds=4"],
    ]
    words = [str(word) for word in draw.choice(commands)]
    at = draw.randrange(1, len(words))
    option, equals, value = words[at].partition("=")
    new = str(draw.choice([*ODD_WORDS, *ODD_VALUES])).replace("\0", "")
    new = new.encode(errors="replace").decode()
    words[at] = draw.choice([new, f"{option}={new}", f"{option}{new}", f"{option}={value[:-1]}"]) if equals else new
    if draw.random() < 0.15:
        words.pop(draw.randrange(1, len(words)))
    return Task(spiritlm(*words), f"{words[0]} ... {words[min(at, len(words) - 1)][:60]!r}", limit=SLOW)


def _text(root: Path, work: Path, draw: random.Random) -> Task:
    texts = _copied(root, work, "texts")
    path = draw.choice(sorted(texts.iterdir()))
    change = _mutate(path, draw)
    words = (f"[{root}/units/tones]", f"{root}/text_tokenizer", "blocks", f"--text=[{texts}]", "--num-jobs=1")
    return Task(spiritlm("build-blocks", *words), change)


def _book(root: Path, work: Path, draw: random.Random) -> Task:
    path = work / "book.txt"
    path.write_text((root / "texts" / "plain.txt").read_text(encoding="utf-8").replace("\n", ".\n"), encoding="utf-8")
    change = _mutate(path, draw)
    action = draw.choice(
        [
            spiritlm("prepare", "text", path, "corpus", "--num-jobs=1"),
            spiritlm("train-text-tokenizer", "tokenizer", f"--text=[{path}]"),
        ]
    )
    return Task(action, change, limit=SLOW)


def _prompt(root: Path, work: Path, draw: random.Random) -> Task:
    """Mutate a line of prompts, items to score or tokens to speak, beside a good one."""
    good: dict[str, dict[str, Any]] = {
        "generate": {"id": "good", "prompt": [{"text": "the fox"}, {"audio": f"{root}/recordings/speaker0/wav0.wav"}]},
        "score": {"id": "good", "context": "[Text]the fox", "hypotheses": ["[Speech][Hu3]", "[Text]the river"]},
        "vocode": {"id": "good", "tokens": "[Hu3][Hu5][Hu7]", "durations": [2, 3, 1]},
    }
    command = draw.choice([*good])
    bad, change = changed_tree(json.loads(json.dumps(good[command])) | {"id": "bad"}, draw)
    if draw.random() < 0.4 and isinstance(bad, dict):
        key = {"generate": "prompt", "score": "context", "vocode": "tokens"}[command]
        bad[key] = "".join(draw.choices(PIECES, k=draw.randrange(6)))
        change = f"{key}: {bad[key]!r}"
    path = work / "lines.jsonl"
    lines = json.dumps(bad) + "\n" + json.dumps(good[command]) + "\n"
    path.write_text(lines, encoding="utf-8")
    options = {"generate": (f"--jsonl={path}", "--max_new_tokens=8", "--lines=out.jsonl")}
    words = options.get(command, (path, "--out=out.jsonl"))

    def lost(ended: Ended) -> str:
        out = work / "run" / "out.jsonl"
        if ended.code == 2 and re.search(r"\bids?\b|line \d of", ended.err):
            return ""  # lines without a form and ids that clash are refused before any work
        rows = [json.loads(one) for one in out.read_text(encoding="utf-8").splitlines()] if out.is_file() else []
        kept = any(row.get("id") == "good" and "error" not in row for row in rows)
        return "" if kept else f"the good line: {shortened(ended.err)}"

    return Task(spiritlm(command, *words, f"--model={root}/model"), f"{command}, {change}", lost)


def _request(root: Path, work: Path, draw: random.Random) -> Task:
    """Send a mutated body to the API, and then a good one."""
    wav = (root / "recordings" / "speaker0" / "wav0.wav").read_bytes()
    bodies: dict[str, dict[str, Any]] = {
        "generate": {"prompt": [{"text": "the fox"}, {"tokens": "[Hu3][Hu5]"}], "output": "text", "max_new_tokens": 6},
        "tokenize": {"audio": base64.b64encode(wav).decode()},
        "vocode": {"units": [3, 5, 7], "durations": [2, 3, 1], "speaker": "anna"},
    }
    name = draw.choice([*bodies])
    whole = json.dumps(bodies[name]).encode()
    if name == "tokenize" and draw.random() < 0.5:
        found, change = mutated(wav, "a.wav", draw)
        body = json.dumps({"audio": base64.b64encode(found).decode()}).encode()
    else:
        body, change = mutated(whole, "body.json", draw)

    def action() -> None:
        from fastapi.testclient import TestClient

        from spiritlm_pl.generation import SpiritLM
        from spiritlm_pl.serve.api import build_api
        from spiritlm_pl.serve.session import Limits, Session

        model = SpiritLM.from_pretrained(root / "model")
        client = TestClient(build_api(Session(model, Limits())), raise_server_exceptions=True)
        headers = {"content-type": "application/json"}
        status = client.post(f"/api/{name}", content=body, headers=headers).status_code
        assert status in (200, 413, 422), status
        assert client.post(f"/api/{name}", content=whole, headers=headers).status_code == 200, "good one afterwards"

    return Task(action, f"{name}, {change}", limit=SLOW)


KINDS: dict[str, Make] = {
    **{f"audio {container}": _audio(container) for container in CONTAINERS},
    **{f"tokenize {container}": _spoken(container) for container in CONTAINERS},
    "transcript": _transcript,
    "table": _table,
    "TextGrid": _grid,
    "CTM": _ctm,
    **{kind: _reader(kind) for kind in TARGETS if "weights" not in kind and not kind.startswith("checkpoint")},
    "corpus description, predict": _description,
    "configuration": _configuration,
    "options": _options,
    "text": _text,
    "book": _book,
    "prompt": _prompt,
    "request": _request,
    **NEWER,
}


class Mutations:
    """The campaign over all kinds.

    Args:
        root: the world.
        scratch: folder to work in.
        seed: seed of the campaign.
    """

    def __init__(self, root: Path, scratch: Path, seed: int) -> None:
        """Run nothing yet."""
        self.root, self.scratch, self.seed = root, scratch, seed

    def trial(self, kind: str, number: int) -> Trial:
        """Mutate one input and run the command that reads it."""
        draw = random.Random(f"mutations {kind} {self.seed} {number}")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        task = KINDS[kind](self.root, self.scratch, draw)
        ended = ran(task.action, self.scratch / "run", task.limit)
        verdict = ended.fault() or ("detected" if ended.code == 2 else "harmless")
        message = shortened(ended.err)
        if verdict in ("detected", "harmless") and (gone := task.lost(ended)):
            verdict, message = "lost", f"{gone}; {message}"
        if verdict == "harmless":
            message = ""
        return Trial("mutations", kind, self.seed, number, verdict, task.change, round(ended.seconds, 2), message)
