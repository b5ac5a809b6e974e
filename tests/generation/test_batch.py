"""`spiritlm tokenize`, `vocode`, `score` and `generate --jsonl`: lines in, lines out, and on after an interruption."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from spiritlm_pl.cli.batch.items import asked, audio_items, read_items
from spiritlm_pl.cli.main import main
from spiritlm_pl.generation import Speech, SpiritLM, Text
from spiritlm_pl.generation.stream import speech_string
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.left_over import this_machine
from spiritlm_pl.vocabulary import Vocabulary


@pytest.fixture
def run(model_folder, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def command(name, *arguments, lines=(), failed=False):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(line) + "\n" for line in lines)))
        monkeypatch.setattr(sys, "argv", ["spiritlm", name, "--model", str(model_folder), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        assert exit_.value.code == int(failed), captured.err
        assert ("could not be done" in captured.err) == failed
        return [json.loads(line) for line in captured.out.splitlines()], captured.err

    return command


@pytest.fixture
def recordings(tmp_path):
    """Three that can be heard, and three that cannot."""
    folder = tmp_path / "audio"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, seconds in enumerate((0.5, 2.3, 1.0)):
        soundfile.write(folder / f"{number}.wav", generator.uniform(-0.3, 0.3, round(seconds * 16_000)), 16_000)
    (folder / "broken.wav").write_bytes(b"no sound")
    soundfile.write(folder / "short.wav", np.full(160, 0.1), 16_000)  # 10 ms
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    return folder


def test_a_folder_becomes_tokens_and_speech_again(run, recordings, model_folder, tmp_path):
    _, told = run("tokenize", "audio", "--out", "tokens.jsonl", "--batch-seconds", "3", failed=True)
    assert "3 items could not be done: the field error in tokens.jsonl says why" in told
    lines = {line["id"]: line for line in map(json.loads, (tmp_path / "tokens.jsonl").read_text().splitlines())}
    assert {name for name, line in lines.items() if "error" in line} == {
        f"audio/{name}.wav" for name in ("broken", "short", "silent")
    }
    assert "at least 640 samples, but has 160" in lines["audio/short.wav"]["error"]
    model = SpiritLM.from_pretrained(model_folder)
    for number, seconds in enumerate((0.5, 2.3, 1.0)):
        line, alone = lines[f"audio/{number}.wav"], model.codec.encode(Speech(recordings / f"{number}.wav"))
        assert line["tokens"] == speech_string(alone.tokens, model.vocabulary)
        assert line["durations"] == alone.durations.tolist() and line["seconds"] == seconds
    spoken, told = run("vocode", "tokens.jsonl", "--speaker", "bert", failed=True)
    assert told.count("could not be done") == 1 and len(spoken) == 6
    for line in spoken:
        if "error" not in line:
            waveform, rate = soundfile.read(line["audio"])
            assert rate == 16_000 and len(waveform) == 640 * sum(lines[line["id"]]["durations"])
    run("vocode", "tokens.jsonl", "--speaker", "bert", "--half", "--predict-durations", "--audio", "half", failed=True)
    run("vocode", "tokens.jsonl", "--speaker", "bert", "--predict-durations", "--audio", "whole", failed=True)
    for path in (tmp_path / "whole").iterdir():
        whole, half = soundfile.read(path)[0], soundfile.read(tmp_path / "half" / path.name)[0]
        assert len(whole) == len(half)  # durations stay in float32
        assert 0 < np.square(whole - half).sum() < 0.01 * np.square(whole).sum()
    predicted, _ = run("vocode", "-", "--predict-durations", lines=[lines["audio/1.wav"]])
    assert predicted[0]["seconds"] != 2.3


def test_half_a_surrogate_pair_costs_its_line_alone(run, tmp_path):
    lines = [{"id": "a", "prompt": "the"}, {"id": "b\ud83d", "prompt": "the"}, {"id": "c", "prompt": "the \ud83d"}]
    options = ("--jsonl", "-", "--output", "text", "--max-new-tokens", "2")
    found, _ = run("generate", *options, lines=lines, failed=True)
    told = {line["id"]: line.get("error", "") for line in found}
    assert told.keys() == {"a", "b\ud83d", "c"} and not told["a"] + told["b\ud83d"]
    assert "half a surrogate pair" in told["c"]
    for done in ("", "2 of 3 items were done before"):
        _, printed = run("generate", *options, "--lines", "answers.jsonl", lines=lines, failed=True)
        assert done in printed
    written = (tmp_path / "answers.jsonl").read_text(encoding="utf-8")
    assert {json.loads(line)["id"] for line in written.splitlines()} == {"a", "b\ud83d", "c"}


def test_recordings_of_browsers_become_tokens_and_prompts(run):
    folder = Path(__file__).parents[1] / "fixtures" / "recordings"
    lines, _ = run("tokenize", str(folder))
    found = {Path(line["id"]).name: line["seconds"] for line in lines}
    assert found == {"chromium.mp4": 1.9, "chromium.webm": 1.98, "firefox.ogg": 1.997, "sound.flac": 1.98}
    prompt = {"prompt": [{"audio": str(folder / "chromium.mp4")}]}
    options = ("--output", "text", "--max-new-tokens", "2", "--lines", "answers.jsonl")
    run("generate", "--jsonl", "-", *options, lines=[prompt])
    line = json.loads(Path("answers.jsonl").read_text())
    assert "error" not in line


def test_items_whose_audio_is_no_file_do_not_end_the_run(run, recordings, tmp_path):
    lines = [{"id": "number", "audio": 5}, {"id": "none", "audio": None}, {"id": "good", "audio": "audio/0.wav"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found, _ = run("tokenize", str(tmp_path / "in.jsonl"), failed=True)
    told = {line["id"]: line.get("error") for line in found}
    assert told == {
        "number": "audio must be a file, but is 5 instead",
        "none": "audio must be a file, but is None instead",
        "good": None,
    }


def test_a_run_goes_on_where_it_was(run, recordings, tmp_path):
    out = tmp_path / "tokens.jsonl"
    run("tokenize", "audio/0.wav", "audio/broken.wav", "--out", out, failed=True)
    first = out.read_text().splitlines()
    kept = next(line for line in first if "error" not in line)
    out.write_text(kept.replace('"seconds": 0.5', '"seconds": 99') + "\n" + '{"id": "audio/1.wav", "tok')  # cut off
    run("tokenize", "audio", "--out", out, failed=True)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 6 == len({line["id"] for line in lines})
    assert [line["seconds"] for line in lines if line["id"] == "audio/0.wav"] == [99]  # not made again
    again = out.read_text()
    run("tokenize", "audio/1.wav", "--out", out)
    assert sorted(out.read_text().splitlines()) == sorted(line for line in again.splitlines() if "error" not in line)


def test_a_run_of_which_nothing_comes_has_failed(recordings, tmp_path, monkeypatch, model_folder, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["spiritlm", "tokenize", "audio/broken.wav", "--model", str(model_folder)])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    assert exit_.value.code == 1 and '"error"' in captured.out and "1 item could not be done" in captured.err


def test_what_was_done_before_is_told(run, recordings):
    run("tokenize", "audio/0.wav", "--out", "tokens.jsonl")
    _, told = run("tokenize", "audio", "--out", "tokens.jsonl", failed=True)
    assert "1 of 6 items were done before; they stay as they are" in told
    run("tokenize", "audio", "--out", "tokens.jsonl", failed=True)  # what is broken now as before fails again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["vocode", "t.jsonl", "--out", "./t.jsonl"],
            "the output must be another file than the input, but both are t.jsonl",
        ),
        (["tokenize", "empty"], "INPUT must be a folder with audio, but empty holds none"),
        (["vocode", "latin.jsonl"], "lines of latin.jsonl must be UTF-8"),
        (
            ["tokenize", "t.jsonl", "--device", "banana"],
            "device must be available on this machine, but is 'banana' instead",
        ),
        (["tokenize", "a.wav", "--variant", "base"], "variant must be left out for a model folder, but is base"),
    ],
)
def test_wrong_arguments_are_told_in_a_line(arguments, message, tmp_path, monkeypatch, model_folder, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty" / "dir.wav").mkdir(parents=True)
    (tmp_path / "t.jsonl").write_text('{"id": null, "tokens": "[Hu1]", "audio": "a.wav"}\n')
    (tmp_path / "latin.jsonl").write_bytes('{"tokens": "é"}'.encode("latin-1"))
    monkeypatch.setattr(sys, "argv", ["spiritlm", *arguments, "--model", str(model_folder)])
    with pytest.raises(SystemExit) as exit_:
        main()
    told = capsys.readouterr().err
    assert exit_.value.code == 2 and message in told and told.count("\n") == 1
    assert (tmp_path / "t.jsonl").read_text().startswith('{"id": null')


def test_lines_of_any_text_are_kept(run, tmp_path):
    out = tmp_path / "answers.jsonl"
    odd = [{"id": str(number), "answers": [[{"text": f"a\u2028b\u0085{number}"}]]} for number in range(3)]
    out.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in odd), encoding="utf-8")
    prompts = [{"id": str(number), "prompt": [{"text": "the"}]} for number in range(4)]
    run("generate", "--jsonl", "-", "--output", "text", "--max-new-tokens", "2", "--lines", out, lines=prompts)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n") if line]
    assert lines[:3] == odd and len(lines) == 4


@pytest.mark.parametrize(
    ("command", "lines", "message"),
    [
        ("score", [{"id": "a"}, {"id": "a"}], "id must be another one for every item, but two have a"),
        ("vocode", [{"id": 1}, {"id": "1"}], "two have 1"),
    ],
)
def test_items_have_ids_of_their_own(command, lines, message, monkeypatch, model_folder, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(line) + "\n" for line in lines)))
    monkeypatch.setattr(sys, "argv", ["spiritlm", command, "-", "--model", str(model_folder)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_a_file_that_is_no_output_is_left_alone(recordings, monkeypatch, model_folder, capsys, tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("my notes\nof today\n")
    monkeypatch.setattr(sys, "argv", ["spiritlm", "tokenize", str(recordings), "--out", str(other)])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2 and "--out must be a file of an earlier run, but line 1 of" in capsys.readouterr().err
    assert other.read_text() == "my notes\nof today\n"


def test_what_cannot_be_spoken_does_not_end_the_run(run):
    odd = [[1.5, 2], [-1, 2], {}, [1], [10**9, 1], "12"]
    items = [{"id": f"{number}", "tokens": "[Hu1][Hu2]", "durations": one} for number, one in enumerate(odd)]
    items += [{"id": "a/b", "tokens": "[Hu1]"}, {"id": "a-b", "tokens": "[Hu1]"}, {"id": "x" * 300, "tokens": "[Hu1]"}]
    items += [{"id": "words", "tokens": "hello [Hu1]"}]
    found, told = run("vocode", "-", lines=items, failed=True)
    lines = {line["id"]: line for line in found}
    assert "nothing else, but hold 'hello '" in lines["words"]["error"]
    assert "7 items could not be done" in told and all(
        "durations" in lines[str(number)]["error"] for number in range(6)
    )
    assert len({line["audio"] for line in found if "audio" in line}) == 3


def test_a_hypothesis_does_not_depend_on_its_neighbours(model_folder):
    model = SpiritLM.from_pretrained(model_folder)
    alone = model.score([Text("the cat")], [[Text("sat")]])[0]
    many = model.score([Text("the cat")], [[Text("sat")], [Speech(units=torch.tensor([1, 2]))], [Text("ran off sat")]])
    assert many[0].num_tokens == alone.num_tokens and many[0].total == pytest.approx(alone.total, abs=1e-4)


def test_scores_are_those_of_the_model(run, model_folder, recordings):
    items = [
        {"id": "string", "context": "[Text]the cat", "hypotheses": [" sat on", "[Speech][Hu3][Hu4]", " the mat the"]},
        {"context": [{"text": "a dog"}], "hypotheses": [[{"audio": "audio/0.wav"}], [{"text": "ran"}]]},
        {"id": "tie", "context": "[Text]the", "hypotheses": [" cat", " mat", " cat"]},
        {"id": "none", "context": "[Text]the"},
        {"id": "nowhere", "context": [{"audio": "nowhere.wav"}], "hypotheses": [[{"text": "ran"}]]},
        {"id": "same", "context": "[Text]the", "hypotheses": [""]},
    ]
    found, told = run("score", "-", lines=items, failed=True)
    lines = {line["id"]: line for line in found}
    assert "3 items could not be done" in told and all("error" in lines[name] for name in ("none", "nowhere", "same"))
    model = SpiritLM.from_pretrained(model_folder)
    for name, item in (("string", items[0]), ("2", items[1])):
        hypotheses = item["hypotheses"] if name == "string" else [[Speech("audio/0.wav")], [Text("ran")]]
        context = item["context"] if name == "string" else [Text("a dog")]
        wanted = model.score(context, hypotheses)
        assert [line["num_tokens"] for line in lines[name]["scores"]] == [score.num_tokens for score in wanted]
        assert [line["total"] for line in lines[name]["scores"]] == pytest.approx([score.total for score in wanted])
        means = [score.mean for score in wanted]
        assert lines[name]["best"] == means.index(max(means))
    means = [score["mean"] for score in lines["tie"]["scores"]]
    assert means[0] == means[2] and lines["tie"]["best"] == (None if means[0] > means[1] else 1)


def test_scores_are_sums_of_log_probabilities(model_folder):
    model = SpiritLM.from_pretrained(model_folder)
    context, hypothesis = [Text("the cat")], [Speech(units=torch.tensor([3, 4, 3]))]
    tokens = model.encode_prompt([*context, *hypothesis]).tokens
    with torch.no_grad():
        logs = model.model(torch.tensor([tokens])).logits[0].log_softmax(-1)
    total = sum(float(logs[place - 1, tokens[place]]) for place in range(len(tokens) - 4, len(tokens)))
    score = model.score(context, [hypothesis])[0]  # [Speech] and three units
    assert (score.num_tokens, score.total) == (4, pytest.approx(total)) and score.mean == pytest.approx(total / 4)
    with pytest.raises(ValueError, match="must both be strings or both be pieces"):
        model.score(context, ["[Text]a"])
    with pytest.raises(ValueError, match="at most 128 tokens, but have"):
        model.score(context, [[Text("mat " * 200)]])


def test_many_prompts_have_their_answers(run, model_folder, tmp_path):
    prompts = [
        {"id": "words", "prompt": [{"text": "the cat"}]},
        {"id": "tokens", "prompt": "[Speech][Hu3][Hu4]", "output": "speech"},
        {"id": "empty", "prompt": ""},
        {"id": "long", "prompt": [{"text": "mat " * 200}]},
        {"id": "odd", "prompt": [{"text": "the"}], "output": "song"},
        {"id": "unknown", "prompt": "[Hu99]"},
    ]
    options = ("--jsonl", "-", "--output", "text", "--max-new-tokens", "8", "--num-samples", "2")
    _, told = run("generate", *options, "--lines", "answers.jsonl", lines=prompts, failed=True)
    lines = {line["id"]: line for line in map(json.loads, (tmp_path / "answers.jsonl").read_text().splitlines())}
    assert "4 items could not be done" in told
    assert "output must be one of" in lines["odd"]["error"] and "[Hu99]" in lines["unknown"]["error"]
    assert [len(answers) for answers in (lines["words"]["answers"], lines["tokens"]["answers"])] == [2, 2]
    reasons = [reason for name in ("words", "tokens") for reason in lines[name]["finish_reasons"]]
    assert len(reasons) == 4 and set(reasons) <= {"stop", "length"}
    assert f"{reasons.count('stop')} of 4 answers stopped by themselves" in told
    assert all(set(piece) == {"text"} for answer in lines["words"]["answers"] for piece in answer)
    for answer in lines["tokens"]["answers"]:
        assert all(soundfile.info(piece["audio"]).duration == piece["seconds"] for piece in answer)


def test_audio_of_two_runs_does_not_mix(run, model_folder, tmp_path, monkeypatch, capsys):
    other = {"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}
    (tmp_path / "spoken").mkdir()
    (tmp_path / "spoken" / f"{WRITER}.1.json").write_text(json.dumps(other))
    run("generate", "--jsonl", "-", "--output", "text", "--out", "spoken", lines=[{"prompt": "the"}])  # without audio
    for name, options, line in (
        ("generate", ("--jsonl", "-", "--output", "text", "--out"), {"prompt": "the", "output": "speech"}),
        ("vocode", ("--audio",), {"tokens": "[Hu3][Hu4]"}),
    ):
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(line) + "\n"))
        monkeypatch.setattr(sys, "argv", ["spiritlm", name, "--model", str(model_folder), *options, "spoken"])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 2
        assert "must be a folder that no other process writes to, but process" in capsys.readouterr().err


def test_scripts_that_the_tokenizer_does_not_know_are_told_once(run):
    prompts = [{"prompt": "[Text]щ[Speech][Hu3]"}, {"prompt": [{"text": "the"}]}, {"prompt": [{"text": "у щ"}]}]
    _, told = run("generate", "--jsonl", "-", "--output", "text", "--max-new-tokens", "2", lines=prompts)
    assert told.count("warning") == 1 and "has no tokens for щ у: the model" in told
    item = {"context": "[Text]the щ", "hypotheses": [" cat", " у"]}
    _, told = run("score", "-", lines=[item])
    assert told.count("warning") == 1 and "has no tokens for щ у: the model" in told


def test_lines_that_are_none_are_told(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\nnot json\n')
    for name, arguments, message in (
        ("score", ["bad.jsonl"], "line 2 of bad.jsonl must be JSON"),
        ("vocode", ["nowhere.jsonl"], "nowhere.jsonl is not there"),
        ("tokenize", ["bad.jsonl"], "a line of bad.jsonl must have audio, but 1 has none"),
    ):
        monkeypatch.setattr(sys, "argv", ["spiritlm", name, *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_ids_are_the_numbers_of_lines_also_where_lines_are_empty(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(
            '{"audio": "x.wav"}\n\n{"id": "own", "audio": "y.wav"}\n{"audio": "z"}\n'
        )
    one, other = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    for read in (read_items, audio_items):
        assert [item["id"] for item in read([one])] == ["1", "own", "4"]
        ids = [item["id"] for item in read([one, other])]
        assert ids == [f"{one}:1", "own", f"{one}:4", f"{other}:1", "own", f"{other}:4"]


def test_null_counts_as_left_out():
    vocabulary = Vocabulary.spirit_lm(num_text=20, num_units=5)
    message = {"role": "user", "content": "hello"}
    assert asked({"messages": None, "prompt": "[Text]a"}, "prompt", vocabulary) == "[Text]a"
    assert asked({"messages": [message], "prompt": None}, "prompt", vocabulary).turns == [("user", [Text("hello")])]
    with pytest.raises(ValueError, match="a line must have prompt or messages, but has both"):
        asked({"messages": [message], "prompt": "[Text]a"}, "prompt", vocabulary)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "messages that are empty"),
        ([5], "messages that are no list of objects"),
        ([{"role": "user"}], "content that are missing"),
        ([{"role": 5, "content": "a"}], "turn with a role that is no name"),
    ],
)
def test_wrong_messages_are_told(messages, reason):
    with pytest.raises(ValueError, match=reason):
        asked({"messages": messages}, "prompt", Vocabulary.spirit_lm(num_text=20, num_units=5))


@pytest.mark.parametrize("piece", [{"text": 5}, {"text": None}, {"audio": 5}])
def test_a_piece_of_a_prompt_that_is_no_text_is_told(run, piece):
    ((name, value),) = piece.items()
    rows, _ = run(
        "generate", "--jsonl", "-", "--output", "text", "--device", "cpu", lines=[{"prompt": [piece]}], failed=True
    )
    assert rows[0]["error"] == f"{name} of a prompt must be a string, but is {value!r} instead"
