"""`spiritlm prepare preferences` and `reference` on an untrained model: from prompts and pairs to a folder."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spiritlm_pl.cli.main import USER_ERRORS, run
from spiritlm_pl.conversations.template import read_template
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.generation import SpiritLM
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.lm.identity import model_hash
from spiritlm_pl.preferences import contract
from spiritlm_pl.preferences.folder import read_manifest, read_pairs
from spiritlm_pl.streams import SpeechLayout


@pytest.fixture(scope="module")
def lm(tiny_lm, tmp_path_factory) -> Path:
    network, text, vocabulary = tiny_lm
    return save_lm(tmp_path_factory.mktemp("model") / "lm", network, replace_end(vocabulary), text)


def replace_end(vocabulary):
    return replace(vocabulary, end_of_document=2)


@pytest.fixture
def command(lm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> None:
        run(["prepare", *map(str, arguments), "--lm", str(lm), "--device", "cpu"])

    return call


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def prompts(tmp_path) -> Path:
    rows = [{"id": f"p{number}", "prompt": f"[Speech][Hu{number}][Hu{number + 3}]"} for number in range(5)]
    return write_lines(tmp_path / "prompts.jsonl", [*rows, {"id": "bad", "prompt": "[Speech][Hu99]"}])


SAMPLING = ("--output", "speech", "--num-samples", 3, "--max-new-tokens", 12, "--only-stopped=false")
SCORER = ("--scorer", "auto_bleu", "--options", "{size: 1}")


def test_given_pairs_are_stored_with_their_reference(command, lm, tmp_path, capsys) -> None:
    rows = [{"prompt": f"[Speech][Hu{n}]", "chosen": "[Hu1][Hu2]", "rejected": "[Hu4]"} for n in range(6)]
    source = write_lines(tmp_path / "pairs.jsonl", [*rows, {**rows[0], "rejected": "[Hu1][Hu2]"}])
    command("preferences", source, "out", "--validation-fraction", 0)
    printed = capsys.readouterr().out
    assert "train 6 pairs, validation 0 pairs" in printed and "1 chosen and rejected must differ" in printed
    manifest = read_manifest("out")
    assert manifest.reference is not None and manifest.reference["model"] == model_hash(lm)
    found = read_pairs("out", "train")
    assert found.reference is not None and (found.reference < 0).all()
    assert json.loads(Path("out/skipped.jsonl").read_text())["id"] == "7"


def test_pairs_of_other_settings_are_replaced_on_request_only(command, tmp_path) -> None:
    rows = [{"prompt": f"[Speech][Hu{n}]", "chosen": "[Hu1][Hu2]", "rejected": "[Hu4]"} for n in range(6)]
    source = write_lines(tmp_path / "pairs.jsonl", rows)
    options = ("--validation-fraction", 0, "--reference=false")
    command("preferences", source, "out", *options)
    command("preferences", source, "out", *options)  # the same again
    for other, message in (
        (("--first", 3), "OUT must be a new folder, .* out was made with first none instead of 3: .* --overwrite"),
        (("--length-ratio", 3), "out was made with length ratio none instead of 3.0"),
    ):
        with pytest.raises(ValueError, match=message):
            command("preferences", source, "out", *options, *other)
    assert len(read_pairs("out", "train")) == 6
    command("preferences", source, "out", *options, "--first", 3, "--overwrite")
    assert len(read_pairs("out", "train")) == 3


def test_prompts_are_asked_by_a_template(command, lm, prompts, tmp_path) -> None:
    (tmp_path / "own.yaml").write_text("roles: {user: {after: dog}, assistant: {ends: true}}")
    command("preferences", prompts, "out", *SCORER, *SAMPLING, "--template", "own.yaml", "--validation-fraction", 0)
    asked = SpiritLM.load(lm).asked_by(read_template("own.yaml"))
    wanted = {f"p{n}": asked.encode_prompt(f"[Speech][Hu{n}][Hu{n + 3}]", "speech").tokens for n in range(5)}
    pairs = read_pairs("out", "train")
    assert len(pairs) and all(list(pair.prompt) == wanted[pair.id] for pair in pairs)
    with pytest.raises(ValueError, match="model must be one that was tuned on conversations to be asked by template c"):
        command("preferences", prompts, "other", *SCORER, *SAMPLING, "--template", "chat")
    with pytest.raises(ValueError, match="template must be left out unless there are prompts or JSON lines"):
        command("preferences", tmp_path, "other", "--benchmark", "tstorycloze", "--template", "own.yaml")


def test_sampled_pairs_go_on_where_they_stopped(command, prompts, monkeypatch, capsys) -> None:
    command("preferences", prompts, "out", *SCORER, *SAMPLING, "--validation-fraction", 0)
    printed = capsys.readouterr().out
    pairs = read_pairs("out", "train")
    assert len(pairs) + printed.count("margin") >= 1 and "tokens must be" not in printed
    assert "Hu must be below 20" in Path("out/skipped.jsonl").read_text()  # the prompt that is none of this model's
    (answers,) = Path("out").glob("answers-*.jsonl")
    lines = answers.read_text().splitlines()
    assert len(lines) == 5
    answers.write_text("\n".join(lines[:2]) + "\n" + lines[2][:20])  # as if it had been killed
    command("preferences", prompts, "out", *SCORER, *SAMPLING, "--validation-fraction", 0)
    assert sorted(answers.read_text().splitlines()) == sorted(lines)
    assert [*read_pairs("out", "train")] == [*pairs]


class LikesFirst:
    """The first answer is the best; of the last one nothing is known."""

    def __call__(self, model, candidates: list[contract.Candidates]) -> list[list[float | None]]:
        return [[*(-float(n) for n in range(len(one.answers) - 1)), None] for one in candidates]


def test_a_scorer_of_ones_own(command, prompts, monkeypatch) -> None:
    monkeypatch.setattr("spiritlm_pl.preferences.scorers.LikesFirst", LikesFirst, raising=False)
    name = "spiritlm_pl.preferences.scorers.LikesFirst"
    command("preferences", prompts, "out", "--scorer", name, *SAMPLING, "--validation-fraction", 0)
    (answers,) = Path("out").glob("answers-*.jsonl")
    by_id = {line["id"]: line for line in map(json.loads, answers.read_text().splitlines())}
    pairs = read_pairs("out", "train")
    assert len(pairs) == 5
    for pair in pairs:
        first, second, _ = by_id[pair.id]["answers"]
        assert list(pair.chosen)[: len(first)] == first and list(pair.rejected)[: len(second)] == second
    with pytest.raises(USER_ERRORS, match="options of the scorer"):
        command("preferences", prompts, "out", "--scorer", name, "--options", "{taste: 3}", *SAMPLING)


def test_people_fill_in_a_table(command, prompts, capsys) -> None:
    command("preferences", prompts, "out", "--scorer", "table", *SAMPLING)
    assert "fill in the column score" in capsys.readouterr().out
    rows = [*csv.DictReader(Path("out/answers.csv").read_text().splitlines())]
    assert len(rows) == 15 and rows[0]["text"].startswith("[Hu")
    assert len({row["digest"] for row in rows}) > 5 and all(row["digest"].startswith("x") for row in rows)
    for row in rows:
        row["score"] = row["answer"] if row["id"] in ("p0", "p3") else ""
    with Path("out/answers.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    command("preferences", prompts, "out", "--scorer", "table", *SAMPLING, "--validation-fraction", 0)
    assert {pair.id for pair in read_pairs("out", "train")} == {"p0", "p3"}
    assert "fewer than two different continuations have a score" in capsys.readouterr().out
    before = [*read_pairs("out", "train")]
    with pytest.raises(USER_ERRORS, match="must be of the continuations that people heard, but .* another answer"):
        command("preferences", prompts, "out", "--scorer", "table", *SAMPLING, "--seed", 1, "--overwrite")
    assert [*read_pairs("out", "train")] == before


def test_endings_of_stories(command, tmp_path, tiny_lm) -> None:
    rng = np.random.default_rng(0)
    words = ["the", "cat", "sat", "a", "dog", "ran"]
    stories = [
        UnitUtterance(
            id=f"story{n}",
            speaker="ann",
            text=" ".join(words),
            duration=6.0,
            num_frames=150,
            words=tuple(
                TimedWord(word, float(i), i + 0.8)
                for i, word in enumerate(words[:3] + rng.permutation(words)[:3].tolist())
            ),
            units=rng.permutation(20)[:12].astype(np.uint16),
            unit_starts=np.arange(12, dtype=np.uint32) * 25 // 2,
            custom={"story": n, "sentence_ends": [3, 6]},
        )
        for n in range(6)
    ]
    folder = tmp_path / "units"
    write_part(folder / "train", 0, stories, "f")
    finish_folder(folder / "train", ["f"], layout=SpeechLayout.spirit_lm(num_units=20, frame_rate=25.0), provenance={})
    directions = '["speech_to_speech", "text_to_speech"]'
    command("preferences", folder, "out", "--directions", directions, "--validation-fraction", 0)
    pairs = read_pairs("out", "train")
    vocabulary = replace_end(tiny_lm[2])
    assert len(pairs) == 12
    by_id = {pair.id: pair for pair in pairs}
    for story in stories:
        speech, text = (by_id[f"{name}-{story.id}"] for name in ("speech_to_speech", "text_to_speech"))
        units = [vocabulary.token("unit", int(unit)) for unit in story.units]
        assert [*speech.prompt, *speech.chosen] == [vocabulary.speech_marker, *units, 2]
        assert text.prompt[0] == vocabulary.text_marker and text.prompt[-1] == vocabulary.speech_marker
        assert list(text.chosen) == list(speech.chosen) and list(text.rejected) == list(speech.rejected)
    command("preferences", folder, "few", "--first", 3, "--validation-fraction", 0)
    assert [pair.id for pair in read_pairs("few", "train")] == [pair.id for pair in pairs][:3]
    command("preferences", folder, "sampled", *SCORER, *SAMPLING[2:], "--first", 4)
    assert sum(read_manifest("sampled").num_pairs(split) for split in ("train", "validation")) >= 1


def test_reference_of_another_model(command, lm, tiny_lm, tmp_path) -> None:
    rows = [{"prompt": "[Speech][Hu1]", "chosen": "[Hu1][Hu2]", "rejected": "[Hu4]"}]
    command(
        "preferences",
        write_lines(tmp_path / "pairs.jsonl", rows),
        "out",
        "--validation-fraction",
        0,
        "--reference=false",
    )
    assert read_manifest("out").reference is None
    command("reference", "out")
    before = read_pairs("out", "train").reference
    assert before is not None
    network, text, vocabulary = tiny_lm
    shorter = save_lm(tmp_path / "other", network, vocabulary, text)
    with pytest.raises(USER_ERRORS, match="model must have the vocabulary of out"):
        run(["prepare", "reference", "out", "--lm", str(shorter), "--device", "cpu"])
    with torch.no_grad():
        old = network.lm_head.weight.clone()
        network.lm_head.weight *= 3
        other = save_lm(tmp_path / "another", network, replace_end(vocabulary), text)
        network.lm_head.weight.copy_(old)
    run(["prepare", "reference", "out", "--lm", str(other), "--device", "cpu"])
    after = read_pairs("out", "train").reference
    assert after is not None and not np.allclose(before, after)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere.jsonl", "out"), "is not there"),
        (("prompts.jsonl", "out", "--scorer", "nice"), "scorer must be one of auto_bleu, likelihood, table"),
        (("prompts.jsonl", "out", "--scorer", "auto_bleu", "--benchmark", "swuggy"), "left out with a benchmark"),
        (("prompts.jsonl", "out", "--options", "{a: 1}"), "options must be left out"),
        (("prompts.jsonl", "out", "--scorer", "likelihood"), "options of the scorer likelihood"),
        (("prompts.jsonl", "out"), "at least one pair, but gives none"),
        (("prompts.jsonl", "."), "OUT must be a new folder or one of preferences, but . holds prompts.jsonl"),
        ((".", "out"), "SOURCE must be JSON lines of pairs"),
        (("prompts.jsonl", "out", "--scorer", "auto_bleu", "--margin", "-1"), "margin must be at least 0"),
    ],
)
def test_what_cannot_be_done_is_told(command, prompts, arguments, told) -> None:
    with pytest.raises(USER_ERRORS, match=told):
        command("preferences", *arguments)
