"""A tiny corpus that is made when a test asks for it: tones of four pitches stand for words and phones."""

import logging
import math
import multiprocessing
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import Word, make_cut, save_corpus
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

from .warm_python import warm_python

MakeCorpus = Callable[..., Path]
StartRanks = Callable[..., Callable[..., str]]


TINY = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary.spirit_lm(num_text=50, num_units=20, multiple_of=16)


@pytest.fixture
def tiny() -> LanguageModelConfig:
    return LanguageModelConfig(config=TINY)


@pytest.fixture(autouse=True, scope="session")
def nobody_waits_for_the_disk() -> Iterator[None]:
    """Files are written, but not waited for: tests write thousands, and none of them ends in a power failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses what is no file, too
        yield


@pytest.fixture(autouse=True)
def interrupts_as_usual() -> Iterator[None]:
    """Ctrl-C means the same to every test: a job in the background ignores it, trainers and servers change it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(autouse=True)
def nothing_deprecated_is_called() -> Iterator[None]:
    """What transformers says only in its log, where `filterwarnings` does not see it, is an error, too."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    assert not [message for message in told if "deprecated" in message]


def make_tone_corpus(folder: Path, name: str = "tones", train: int = 8, held_out: int = 2, seed: int = 0) -> Path:
    """A corpus folder of sequences of tones, two speakers, words and phones aligned."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    cuts = {}
    for split, count in (("train", train), ("validation", held_out), ("test", held_out)):
        cuts[split] = []
        for index in range(count):
            parts, words, time = [], [], 0.0
            for _ in range(draw.randint(3, 6)):
                pitch, seconds = draw.choice([200, 400, 800, 1600]), draw.randint(20, 50) / 100
                samples = torch.arange(round(seconds * 16_000))
                tone = 0.3 * torch.sin(2 * math.pi * pitch * samples / 16_000)
                parts.append(tone + 0.01 * torch.randn(len(samples), generator=generator))
                words.append(Word(f"w{pitch}", time, time + seconds))
                time += seconds
            cut_id = f"{name}-{split}-{index}"
            num_samples = save_wav(folder / "audio" / f"{cut_id}.wav", torch.cat(parts))
            cuts[split].append(
                make_cut(
                    cut_id,
                    folder / "audio" / f"{cut_id}.wav",
                    sample_rate=16_000,
                    num_samples=num_samples,
                    text=" ".join(word.text for word in words),
                    speaker=f"speaker{index % 2}",
                    words=words,
                    phones=words,
                    custom={"story": cut_id},
                )
            )
    save_corpus(folder, cuts, name=name, source="test", licence="none")
    return folder


@pytest.fixture(autouse=True)
def master_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port for the ranks of this test, outside the range from which the system gives ports to everybody."""
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        monkeypatch.setenv("MASTER_PORT", str(port))
        return


@pytest.fixture(scope="session")
def python() -> Iterator[Path]:
    """Runs scripts in processes of their own in place of `sys.executable`: their libraries are imported already."""
    with warm_python() as program:
        yield program


@pytest.fixture
def warm_processes(python: Path) -> Iterator[None]:
    """Lets processes that multiprocessing starts, and its server that others are forked from, begin in that way."""
    server: Any = forkserver._forkserver  # has no public way to be started again
    fresh = multiprocessing.spawn.get_executable()
    server._stop()
    multiprocessing.set_executable(str(python))
    yield
    server._stop()
    multiprocessing.set_executable(fresh)


@pytest.fixture
def start_ranks(python: Path) -> Iterator[StartRanks]:
    """Starts a script that starts ranks; gives a function that waits for its end and returns what all have printed."""
    started: list[subprocess.Popen[str]] = []

    def start(script: Path, *arguments: object, cwd: Path | None = None) -> Callable[..., str]:
        process = subprocess.Popen(
            [python, script, *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # to end all ranks together
        )
        started.append(process)

        def finish(codes: tuple[int, ...] = (0,), seconds: float = 280) -> str:
            try:
                printed, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired as error:  # a rank that has ended leaves others to wait for it
                told = (error.output or b"").decode(errors="replace")
                raise AssertionError(f"ranks still run after {seconds} s, and have printed:\n{told}") from None
            assert process.returncode in codes, printed
            return printed

        return finish

    yield start
    for process in started:
        if process.poll() is None:  # the test has failed
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
        assert process.stdout is not None
        process.stdout.close()  # which a rank may hold open for as long as it waits for the others


@pytest.fixture(scope="session")
def tone_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One corpus for all tests that only read it."""
    return make_tone_corpus(tmp_path_factory.mktemp("corpora") / "tones")


@pytest.fixture
def make_corpus() -> MakeCorpus:
    """Makes a corpus that a test may change."""
    return make_tone_corpus


@pytest.fixture(scope="session")
def tiny_lm() -> tuple[LlamaForCausalLM, TextTokenizer, Vocabulary]:
    """An untrained language model over 20 units, its text tokenizer and vocabulary."""
    torch.manual_seed(0)
    text = train_text_tokenizer(["the cat sat on the mat", "a dog ran off"] * 5)
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, num_units=20)
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary.num_rows,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=128,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    return network.eval(), text, vocabulary
