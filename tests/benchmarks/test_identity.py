"""Contents of items differ as soon as anything that a model is asked with does."""

from pathlib import Path
from typing import Any

import pytest
import torch

from spiritlm_pl.benchmarks.identity import content_of, model_identity
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Speech, Text
from spiritlm_pl.lm.folder import load_lm, save_lm

LONG = torch.linspace(0, 1, 5000)
CHANGED = LONG.clone().index_fill(0, torch.tensor([2500]), 0.3)  # where a printed tensor has dots


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Speech(LONG), Speech(CHANGED)),
        (Speech(LONG.numpy()), Speech(CHANGED.numpy())),
        (Speech(LONG), Speech(LONG, sample_rate=8000)),
        (Speech(LONG), Speech()),
        (Speech(units=torch.tensor([1, 2])), Speech(units=torch.tensor([1, 3]))),
        (
            Speech(units=torch.tensor([1, 2]), durations=torch.tensor([1, 1])),
            Speech(units=torch.tensor([1, 2]), durations=torch.tensor([1, 2])),
        ),
        (Speech("a.wav", units=torch.tensor([1, 2])), Speech("a.wav", units=torch.tensor([1, 3]))),
        (Speech("a.wav"), Speech("b.wav")),
        (Speech(tokens=(1, 2)), Speech(tokens=(1, 3))),
        (Text("a"), Text("b")),
        (LONG, CHANGED),
    ],
)
def test_contents_differ(one: Any, other: Any) -> None:
    assert content_of(one) != content_of(other)


def test_contents_are_the_same_again(tmp_path: Path) -> None:
    assert content_of(Speech(LONG)) == content_of(Speech(LONG.clone())) == content_of(Speech(LONG.numpy()))
    assert content_of(LONG[::2]) == content_of(LONG.numpy()[::2])
    fixed = LONG.numpy()[::-1]
    fixed.flags.writeable = False
    assert content_of(fixed) == content_of(LONG.flip(0))
    path = tmp_path / "a.wav"
    path.write_bytes(b"audio")
    assert content_of(Speech(path)) == content_of(Speech(str(path))) == content_of(path)
    assert content_of(LONG.bfloat16()) != content_of(LONG.half())


def test_a_model_that_was_moved_is_the_same(tiny_lm: Any, tmp_path: Path) -> None:
    network, text, vocabulary = tiny_lm
    hashes = []
    for name in ("here", "there"):
        save_lm(tmp_path / name, network, vocabulary, text)
        hashes.append(model_identity(SpiritLM(*load_lm(tmp_path / name))))
    assert hashes[0] == hashes[1]
