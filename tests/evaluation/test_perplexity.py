"""Perplexity of texts: of a model with known likelihoods, and by the command."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from spiritlm_pl.cli.main import run
from spiritlm_pl.evaluation.perplexity import perplexity_table, text_perplexity
from spiritlm_pl.evaluation.text_likelihood import load_text_likelihood

WORDS = ["<s>", "<unk>", "the", "cat", "sat", "down"]


class Known:
    """Model that needs `nats` for each word, and cannot score what is longer than three words, the first included."""

    def __init__(self, nats: float) -> None:
        self.nats = nats

    def losses(self, texts: Sequence[tuple[str, str]], batch_tokens: int) -> list[tuple[float, int] | ValueError]:
        counts = [len(whole.split()) - len(before.split()) for before, whole in texts]
        return [ValueError("too long") if count > 2 else (self.nats * count, count) for count in counts]

    def unknown_share(self, texts: Sequence[str]) -> float:
        return sum(text.count("?") for text in texts) / sum(len(text.split()) for text in texts)


@pytest.fixture
def lm(text_model: Callable[[Sequence[str]], Path]) -> Path:
    return text_model(WORDS)


def test_known_likelihoods_give_known_figures() -> None:
    texts = ["the cat sat", " the cat", "", "cat", "the cat sat down"]
    found, reasons = text_perplexity({"before": Known(math.log(4)), "after": Known(math.log(8))}, texts)  # type: ignore[dict-item]
    before, after = found["before"], found["after"]
    assert before.per_token.value == pytest.approx(4) and after.per_token.value == pytest.approx(8)
    assert before.change is None and after.change is not None and after.change.value == pytest.approx(math.log(2))
    assert (before.documents, before.tokens, before.words) == (2, 3, 3)
    assert reasons == ["a text must have a word and a token to score after its first word, but has none"] * 2 + [
        "too long"
    ]
    with pytest.raises(ValueError, match="all 1 were skipped .too long."):
        text_perplexity({"one": Known(1.0)}, texts[4:])  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("texts", "doubt"),
    [
        (["the cat sat"] * 50, None),
        (["the cat sat"] * 49, "only 98 tokens were scored; fewer than 100 tell little"),
        (["the cat ?"] * 10 + ["the cat sat"] * 60, None),
        (["the cat ?"] * 12 + ["the cat sat"] * 60, "much of the text: 6% of its tokens are bytes or unknown"),
    ],
)
def test_figures_that_cannot_be_trusted_are_told(texts: list[str], doubt: str | None) -> None:
    found, _ = text_perplexity({"mine": Known(1.0)}, texts)  # type: ignore[dict-item]
    told = perplexity_table(found, "title").notes[1:]
    if doubt is None:
        assert found["mine"].doubt is None and not told
    else:
        assert doubt in str(found["mine"].doubt) and told[0].startswith("The figures of mine cannot be trusted: ")


def test_what_begins_a_text_does_not_change_what_is_scored(lm: Path) -> None:
    """A model without a token that begins a text cannot score the first token; another must not be asked for it."""
    plain, begun = (load_text_likelihood("lms", lm) for _ in range(2))
    assert begun.begin == [0]
    plain.begin = []
    for model in (plain, begun):  # then a token tells the next one whatever stands before
        for name, weight in model.network.named_parameters():
            if name.endswith("o_proj.weight"):
                torch.nn.init.zeros_(weight)
    found, _ = text_perplexity(
        {"plain": plain, "begun": begun}, ["the cat sat", "down the", "cat", " sat the cat down"]
    )
    assert found["plain"].tokens == found["begun"].tokens == found["plain"].words == 6
    assert found["begun"].change is not None and found["begun"].change.value == pytest.approx(0, abs=1e-5)


def test_the_command_compares_models_on_held_out_text(lm: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "out.json"
    long = " ".join(["cat"] * 12)
    text.write_text(f"the cat sat\nthe cat sat down\n\n{long}\n")
    run(["evaluate", "perplexity", f"{{skipped: {lm}, after: {lm}}}", f"[{text}]", str(out)])
    report = json.loads(out.read_text())
    models = report["models"]
    assert list(models) == ["skipped", "after"]
    losses = load_text_likelihood("lms", lm).losses([("the", "the cat sat"), ("the", "the cat sat down")])
    total = sum(loss for loss, _ in losses)  # type: ignore[misc]
    assert models["skipped"]["per_token"]["value"] == pytest.approx(math.exp(total / 5), rel=1e-5)
    assert models["after"]["change"]["value"] == pytest.approx(0, abs=1e-6)
    assert report["skipped"] == 1 and models["skipped"]["documents"] == 2
    shown = capsys.readouterr()
    assert "nats per word" in shown.out and "at most 12 tokens" in shown.err
    assert "The figures of after cannot be trusted: only 5 tokens were scored" in " ".join(shown.out.split())
    assert "only 5 tokens" in models["after"]["doubt"] and models["after"]["unknown"] == 0
    text.write_text("the cat sat\nthe dog sat\n" * 40)  # of which "dog" is no word of the model
    run(["evaluate", "perplexity", f"{{mine: {lm}}}", f"[{text}]", str(out)])
    mine = json.loads(out.read_text())["models"]["mine"]
    assert mine["unknown"] == pytest.approx(1 / 6, abs=1e-3) and "17% of its tokens" in mine["doubt"]
    assert "17% of its tokens are bytes or unknown" in " ".join(capsys.readouterr().out.split())
    assert out.with_suffix(".md").read_text().startswith(f"Perplexity of {text}")


@pytest.mark.parametrize(
    ("lms", "content", "options", "message"),
    [
        ("{}", b"the cat\n", [], "LMS must name at least one language model"),
        ("{a: LM}", b"", [], "TEXT must hold words"),
        ("{a: LM}", b"\x00\x01\x02\x03", [], "TEXT must be UTF-8"),
        ("{a: LM}", b"the cat\n", ["--items=0"], "items must be at least 1, but is 0"),
        ("{a: LM/none}", b"the cat\n", [], "LMS must be"),
    ],
)
def test_what_cannot_be_measured_is_told(
    lms: str, content: bytes, options: list[str], message: str, lm: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)
    with pytest.raises(ValueError) as error:
        run(["evaluate", "perplexity", lms.replace("LM", str(lm)), f"[{text}]", str(tmp_path / "out.json"), *options])
    assert message in str(error.value)
    assert not (tmp_path / "out.json").exists()
