"""Commands import what they use and no more: most of the time of a short one is the import of its libraries."""

import json
import subprocess
import sys

import numpy as np

from spiritlm_pl.cli.main import COMMANDS
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.streams import SpeechLayout

NETWORKS = ["torch", "transformers"]
AUDIO = ["lhotse", "av"]  # transformers imports torchaudio and soundfile
TRAINING = ["lightning", "deepspeed", "torchmetrics", "mlflow", "matplotlib"]
NOTHING = [*NETWORKS, *AUDIO, "torchaudio", "soundfile", *TRAINING]
# In one process, one after the other: what a command must not import, those before it must not either.
RUN = """
import json, sys
from spiritlm_pl.cli.main import run
for words, unused in json.load(sys.stdin):
    try:
        run(words)
    except SystemExit as end:  # of a parser that has shown its help
        assert not end.code
    found = [name for name in unused if name in sys.modules]
    assert not found, f"{' '.join(words)} has imported {', '.join(found)}"
"""


def said(number):
    text = " ".join(["the", "cat", "sat", "on", "a", "mat"][number:] + ["the", "dog", "ran", "off"])
    words = tuple(TimedWord(word, 0.4 * place, 0.4 * place + 0.3) for place, word in enumerate(text.split()))
    return UnitUtterance(
        id=f"said{number}",
        duration=0.4 * len(words),
        text=text,
        words=words,
        units=np.arange(10 * len(words), dtype=np.uint16) % (20 - number),
        unit_starts=np.arange(10 * len(words), dtype=np.uint32),
        num_frames=10 * len(words),
    )


def test_commands_import_what_they_use(model_folder, tmp_path):
    write_part(tmp_path / "units" / "train", 0, [said(number) for number in range(6)], "test")
    layout = SpeechLayout.spirit_lm(num_units=20, frame_rate=25.0)
    finish_folder(tmp_path / "units" / "train", ["test"], layout=layout, provenance={})
    (tmp_path / "lines.txt").write_text("the cat sat\n" * 9)
    answer = f"generate --text cat --output text --max-new-tokens 3 --model {model_folder}".split()
    helped = [name for name in COMMANDS if name not in ("plan", "quickstart")]  # whose options tell what they import
    commands = [
        *(([name, "--help"], NOTHING) for name in helped),
        (["train-text-tokenizer", "text", "--units", "[units]"], NOTHING),
        # Of a model like Llama, one answer comes without transformers, whose import takes longer than all else.
        *(
            ([*answer, *more], ["transformers", "torchaudio", *AUDIO, *TRAINING])
            for more in ([], ["--stream"], ["--num-samples", "2"])
        ),
        # This one tries whether transformers reads the text tokenizer as it will be exported.
        ("build-blocks [units] text blocks --text [lines.txt] --num-jobs 1".split(), [*AUDIO, *TRAINING]),
        (
            f"evaluate choice {model_folder}/lm units choice.json --split train --kind sentences".split(),
            [*AUDIO, *TRAINING],
        ),
    ]
    run_one_by_one(commands, tmp_path)
    assert (tmp_path / "blocks").is_dir() and (tmp_path / "choice.json").is_file()


def test_speech_comes_without_transformers(model_folder, tmp_path):
    command = f"generate --text cat --output speech --stream --max-new-tokens 9 --model {model_folder}".split()
    run_one_by_one([(command, ["transformers", *TRAINING])], tmp_path)  # writing it takes lhotse
    assert (tmp_path / "generated" / "answer1_1.wav").is_file()


def run_one_by_one(commands, folder):
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(commands), cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
