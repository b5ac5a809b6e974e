"""Language models of units alone in the table: scores by hand, the command, and what is refused."""

import json
import sys

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from spiritlm_pl.benchmarks.items import ChoiceItem
from spiritlm_pl.benchmarks.scoring import ChoiceScorer
from spiritlm_pl.cli.main import main
from spiritlm_pl.cli.prepare.benchmark import benchmark
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.interop.unit_lms.layout import UnitLayout
from spiritlm_pl.interop.unit_lms.no_text import NoText


def opt(rows):
    torch.manual_seed(4)
    config = OPTConfig(
        vocab_size=rows,
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
    )
    network = OPTForCausalLM(config).eval()
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return network


def by_hand(network, layout, context, own):
    """Score units after units in a plain loop over the logits of one utterance."""
    opening = [] if layout.begin is None else [layout.begin]
    ids = [*opening, *(layout.first_unit + unit for unit in [*context, *own])]
    ended = [*ids, *([] if layout.end is None else [layout.end])]
    with torch.no_grad():
        logits = network(input_ids=torch.tensor([ended])).logits[0].double()
    units = range(layout.first_unit, layout.first_unit + layout.num_units)
    whole, masked = [], []  # of the tokens from the second one on
    for place in range(1, len(ended)):
        row = logits[place - 1]
        whole.append(float(row[ended[place]] - row.logsumexp(0)))
        masked.append(float(row[ended[place]] - row[units.start : units.stop].logsumexp(0)))
    start = max(1, len(opening) + len(context)) - 1
    said, said_masked = whole[: len(ids) - 1], masked[: len(ids) - 1]
    first = max(1, len(opening)) - 1
    found = {}
    for name, values in (("", said), ("masked_", said_masked)):
        found[f"{name}sum"] = sum(values[start:])
        found[f"{name}mean"] = sum(values[start:]) / len(values[start:])
        found[f"{name}whole_mean"] = sum(values[first:]) / len(values[first:])
    if layout.end is not None:
        found["sum_end"] = sum(whole[start:])
        found["mean_end"] = sum(whole[start:]) / len(whole[start:])
        found["whole_mean_end"] = sum(whole[first:]) / len(whole[first:])
    return found


LAYOUTS = {
    "slamkit": (502, UnitLayout(first_unit=2, num_units=500, begin=1, end=1)),
    "twist": (503, UnitLayout(first_unit=3, num_units=500)),
    "specials after the units": (512, UnitLayout(first_unit=0, num_units=500, begin=500, end=501)),
}


@pytest.mark.parametrize("batch_tokens", [4096, 30])
@pytest.mark.parametrize("name", LAYOUTS)
def test_scores_equal_a_plain_loop_over_the_logits(name, batch_tokens):
    rows, layout = LAYOUTS[name]
    network = opt(rows)
    scorer = ChoiceScorer(SpiritLM(network, NoText(), layout.vocabulary(rows)), batch_tokens)
    generator = torch.Generator().manual_seed(6)
    items, units = [], []
    lengths = [(0, 5, 9), (0, 2, 3), (4, 3, 6), (17, 5, 5), (0, 12, 2), (20, 1, 1)]
    for number, sizes in enumerate(lengths):
        parts = [torch.randint(500, (size,), generator=generator).unique_consecutive().tolist() for size in sizes]
        if number == 1:
            parts[2][0] = parts[1][0]  # both begin alike
        units.append(parts)
        context, right, wrong = (((Speech(units=torch.tensor(part)),) if part else ()) for part in parts)
        items.append(ChoiceItem(str(number), context, right, wrong))
    lines = scorer.score([scorer.encode(item) for item in items])
    for (context, *hypotheses), line in zip(units, lines, strict=True):
        for which, own in enumerate(hypotheses):
            wanted = by_hand(network, layout, context, own)
            assert {way: pair[which] for way, pair in line.scores.items()} == pytest.approx(wanted, abs=1e-4)
            assert line.num_tokens[which] == len(own) - (layout.begin is None and not context)


def test_one_unit_with_nothing_before_it_has_no_score():
    rows, layout = LAYOUTS["twist"]
    scorer = ChoiceScorer(SpiritLM(opt(rows), NoText(), layout.vocabulary(rows)))
    one, two = (Speech(units=torch.tensor([7])),), (Speech(units=torch.tensor([7, 8])),)
    with pytest.raises(ValueError, match="must have two units where nothing stands before it, but right has one"):
        scorer.encode(ChoiceItem("0", (), one, two))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    benchmark("swuggy", str(folder / "slm21"), count=4)
    benchmark("storycloze", str(folder / "stories"), count=2)
    return folder


@pytest.fixture
def run(capsys, tmp_path, speech_tokenizer, monkeypatch):
    opt(24).save_pretrained(tmp_path / "unit_lm")
    speech_tokenizer.save(tmp_path / "tokenizer")

    def command(name, folder, *options, code=0):
        words = ["benchmark", "run", name, folder, tmp_path / "out", "--model", tmp_path / "unit_lm"]
        words += ["--speech-tokenizer", tmp_path / "tokenizer", "--speech-tokens", "null", *options]
        monkeypatch.setattr(sys, "argv", ["spiritlm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        assert end.value.code == code, found.err
        return found.err

    command.out = tmp_path / "out"
    return command


GIVEN = ("--unit-layout", "{first_unit: 4, num_units: 20, begin: 2, end: 2}")


@pytest.mark.parametrize(("name", "folder"), [("swuggy", "slm21"), ("storycloze", "stories/sStoryCloze")])
def test_likelihood_suites_run(run, data, name, folder):
    run(name, data / folder, *GIVEN)
    summary = json.loads((run.out / name / "summary.json").read_text())
    assert summary["num_skipped"] == 0 and {"mean", "whole_mean_end", "masked_sum"} <= summary["figures"].keys()
    assert summary["text_tokenizer"] == "none"


def test_a_layout_may_be_a_file(run, data, tmp_path):
    (tmp_path / "layout.yaml").write_text("first_unit: 4\nnum_units: 20\nbegin: 2\n")
    run("swuggy", data / "slm21", "--unit-layout", tmp_path / "layout.yaml", "--limit", 2)
    assert "sum_end" not in json.loads((run.out / "swuggy" / "summary.json").read_text())["figures"]


def test_audio_needs_a_speech_tokenizer(run, data, monkeypatch):
    error = run("swuggy", data / "slm21", *GIVEN, "--speech-tokenizer", "null", code=2)
    assert "must have a speech tokenizer for swuggy, or --speech-tokenizer beside it, but has none" in error
    assert not (run.out / "swuggy" / "items.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "folder", "options", "message"),
    [
        ("swuggy_text", "slm21", GIVEN, "must read and write text for swuggy_text, but is a language model of speech"),
        ("swuggy", "slm21", (), "has none: give the ids of another model of units by --unit-layout"),
        ("swuggy", "slm21", ("--unit-layout", "{first_unit: 2, num_units: 22}"), "num_units of the speech tokenizer"),
        ("swuggy", "slm21", ("--unit-layout", "{first_unit: 5, num_units: 20}"), "must be below the 24 rows"),
        ("swuggy", "slm21", ("--unit-layout", "{first_unit: 5}"), "begin, end, deduplicated, but lacks num_units"),
        ("swuggy", "slm21", ("--unit-layout", "{first_unit: 5, units: 3}"), "deduplicated, but has units"),
        ("swuggy", "slm21", ("--unit-layout", "nowhere.yaml"), "YAML file, but nowhere.yaml is not there"),
        ("swuggy", "slm21", (*GIVEN, "--variant", "base"), "variant must be left out"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(run, data, name, folder, options, message):
    error = run(name, data / folder, *options, code=2)
    assert message in error and error.strip().count("\n") == 0, error
    assert not (run.out / name / "items.jsonl").exists()
