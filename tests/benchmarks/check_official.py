"""Our figures of sWUGGY and sBLIMP beside those of the official toolkit, to the last digit that it writes.

The toolkit (`zerospeech-benchmarks`, GPL-3) is run as a program, in an environment of its own that is made at the
first use in `SPIRITLM_READERS` (a folder; 400 MB). Its index of data sets, which it fetches at every start, is served
from this machine, and lists a miniature. No part of the suite, for the file has another name than tests have:
`make test-official` runs it.
"""

import csv
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from spiritlm_pl.benchmarks.averages import sblimp, swuggy
from spiritlm_pl.benchmarks.averages.means import by_id
from spiritlm_pl.benchmarks.items import ChoiceItem, ChoiceLine, Figure
from spiritlm_pl.benchmarks.official import write_submission
from spiritlm_pl.benchmarks.readers.slm21 import read_sblimp, read_swuggy
from spiritlm_pl.corpora.audio import save_wav

ENVIRONMENT = Path(os.environ.get("SPIRITLM_READERS", Path.home() / ".cache" / "spiritlm-readers")) / "zerospeech"
PACKAGES = ("zerospeech-benchmarks==0.9.4", "pandas>=2.2,<3")
BANDS = {"oov": "oov", "1-5": "1_to_4", "6-20": "5_to_19", "21-100": "20_to_99", ">100": "100_and_more"}
WORDS = ["filename", "id", "voice", "frequency", "word", "phones", "length", "correct"]
SENTENCES = ["filename", "id", "voice", "type", "subtype", "transcription", "correct"]
FREQUENCIES = [0, 1, 3, 4, 5, 7, 19, 20, 50, 99, 100, 1000, 0]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def toolkit() -> Path:
    """The command of the toolkit."""
    command, done = ENVIRONMENT / "bin" / "zrc", ENVIRONMENT / "installed.txt"
    if not (done.is_file() and done.read_text() == repr(PACKAGES)):
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        python = ENVIRONMENT / "bin" / "python"
        subprocess.run([python, "-m", "pip", "--quiet", "install", *PACKAGES], check=True)
        done.write_text(repr(PACKAGES))
    return command


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an index that lists the miniature alone."""
    folder = tmp_path_factory.mktemp("index")
    entry = {"name": "sLM21-dataset", "zip_url": "http://127.0.0.1/none.zip", "md5sum": "0", "total_size": 1}
    index = {"last_modified": "2024-01-01T00:00:00", "datasets": [entry], "samples": [], "checkpoints": []}
    (folder / "repo.json").write_text(json.dumps(index))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/repo.json"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        del format, args


def word_rows(draw: random.Random) -> list[Row]:
    """Words in one to three voices, in any order; every second non-word without frequency and text."""
    rows: list[Row] = []
    for number, frequency in enumerate(FREQUENCIES):
        for voice in "ABC"[: 1 + number % 3]:
            for correct in (1, 0):
                bare = not correct and number % 2
                rows.append(
                    {
                        "filename": f"w{len(rows):04d}",
                        "id": number,
                        "voice": voice,
                        "frequency": "" if bare else frequency,
                        "word": "" if bare else f"word{number}",
                        "phones": f"p{number} {correct}",
                        "length": 3 + number % 4,
                        "correct": correct,
                    }
                )
    draw.shuffle(rows)
    return rows


def sentence_rows(draw: random.Random) -> list[Row]:
    """Pairs in two voices, in any order of pairs; ids are unique within type and subtype only."""
    pairs = []
    for kind, subtype, voice in product(("agreement", "npi", "ellipsis"), "xy", "AB"):
        for number in range(3 if kind == "npi" else 5):
            shared = {"id": number, "voice": voice, "type": kind, "subtype": subtype}
            pair = []
            for correct in (1, 0):
                text = f"{kind}, {subtype} {number} {correct}"
                name = f"{kind}{subtype}{number}{voice}{correct}"
                pair.append({"filename": name, **shared, "transcription": text, "correct": correct})
            pairs.append(pair)
    draw.shuffle(pairs)
    return [row for pair in pairs for row in pair]


def write_part(root: Path, part: str, rows: Sequence[Row], columns: Sequence[str]) -> dict[str, Any]:
    """Write a table with its wav files; return its entry of the index."""
    folder = root / part
    folder.mkdir(parents=True)
    with (folder / "gold.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        save_wav(folder / f"{row['filename']}.wav", 0.1 * torch.randn(400))
    names = [f"{part}/{row['filename']}.wav" for row in rows]
    return {
        "items": {
            "wav_list": {"item_type": "filelist_item", "file_type": "wav", "relative_path": True, "files_list": names},
            "gold": {"item_type": "file_item", "file_type": "csv", "relative_path": True, "file": f"{part}/gold.csv"},
        }
    }


def random_lines(items: Sequence[ChoiceItem], draw: random.Random) -> list[ChoiceLine]:
    """Scores among which are ties, and some that differ in the last digit only."""

    def score() -> float:
        return draw.choice([-1.0, -2.0, -1.0 - 2**-52, draw.gauss(0, 3), -1e300])

    return [ChoiceLine(item.id, item.names, item.labels, {"mean": (score(), score())}, (1, 1)) for item in items]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def digits(value: float) -> str:
    """A share as the toolkit writes it."""
    return f"{value:.4f}"


def by_name(figures: Sequence[Figure], prefix: str) -> dict[str, tuple[str, int]]:
    return {
        one.name.removeprefix(prefix): (digits(one.value / 100), one.count)
        for one in figures
        if one.name.startswith(prefix)
    }


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_same_figures_as_the_official_toolkit(toolkit: Path, address: str, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    root = tmp_path / "app" / "datasets" / "sLM21-dataset"
    entries, lines = {}, {}
    for split in ("dev", "test"):
        entries[f"lexical_{split}"] = write_part(root, f"lexical/{split}", word_rows(draw), WORDS)
        entries[f"syntactic_{split}"] = write_part(root, f"syntactic/{split}", sentence_rows(draw), SENTENCES)
        words, sentences = read_swuggy(root, split), read_sblimp(root, split)
        assert not [*words.notes, *words.skipped, *sentences.notes, *sentences.skipped]
        lines[f"lexical/{split}"] = random_lines(words.items, draw)
        lines[f"syntactic/{split}"] = random_lines(sentences.items, draw)
    (root / "index.json").write_text(json.dumps({"subsets": entries}))
    write_submission(tmp_path / "submission", lines, "mean")
    command = [toolkit, "benchmarks:run", "sLM21", tmp_path / "submission", "-t", "lexical", "syntactic"]
    settings = {"APP_DIR": str(tmp_path / "app"), "REPO_ORIGIN": address, "no_proxy": "127.0.0.1"}
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, env={**plain, **settings}, cwd=tmp_path)
    scores = tmp_path / "submission" / "scores"
    for split in ("dev", "test"):
        words, sentences = lines[f"lexical/{split}"], lines[f"syntactic/{split}"]
        figures = swuggy.figures(words, "mean")
        found = table(scores / f"score_lexical_{split}_by_pair.csv")
        assert sorted(row["score"] for row in found) == pairs_of(words, swuggy.ID)
        bands = table(scores / f"score_lexical_{split}_by_frequency.csv")
        theirs = {BANDS[row["frequency"]]: (row["score"], int(row["n"])) for row in bands}
        assert by_name(figures, "frequency/") == theirs
        lengths = table(scores / f"score_lexical_{split}_by_length.csv")
        assert by_name(figures, "length/") == {row["length"]: (row["score"], int(row["n"])) for row in lengths}
        figures = sblimp.figures(sentences, "mean")
        found = table(scores / f"score_syntactic_{split}_by_pair.csv")
        assert sorted(row["score"] for row in found) == pairs_of(sentences, sblimp.ID)
        types = table(scores / f"score_syntactic_{split}_by_type.csv")
        assert by_name(figures, "type/") == {row["type"]: (row["score"], int(row["n"])) for row in types}


def pairs_of(lines: Sequence[ChoiceLine], id_labels: Sequence[str]) -> list[str]:
    """Our mean over voices of each pair, as the toolkit writes it."""
    return sorted(digits(sum(points) / len(points)) for points in by_id(lines, "mean", id_labels).values())
