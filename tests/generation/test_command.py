"""`spiritlm generate` with real folders of every part, all of them tiny and untrained."""

import shutil
import sys
from dataclasses import asdict

import pytest
import soundfile

from spiritlm_pl.cli.generate import generate as command
from spiritlm_pl.cli.generate import prompt_pieces
from spiritlm_pl.cli.main import main
from spiritlm_pl.cli.parser import command_parser, parsed
from spiritlm_pl.generation import GenerationSettings, Speech, Text
from spiritlm_pl.generation.settings import SPEECH_TOKENS, TEXT_TO_SPEECH_TOKENS, TEXT_TOKENS
from spiritlm_pl.generation.types import OUTPUT_MODALITIES


@pytest.fixture
def generate(model_folder, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["spiritlm", "generate", "--model", str(model_folder), *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return exit_.value.code, captured.out, captured.err

    return run


def options(*words):
    parser = command_parser(command, "spiritlm generate")
    return parsed(parser, parser, words)


def test_the_order_of_the_prompt_is_kept():
    found = options(*"--text a --speech b.wav --text c --output text --text d".split())
    prompt = prompt_pieces(found.prompt)
    assert [type(piece) for piece in prompt] == [Text, Speech, Text, Text]
    assert [getattr(piece, "text", None) or piece.audio for piece in prompt] == ["a", "b.wav", "c", "d"]


@pytest.mark.parametrize(
    "text",
    ["null", "1", "1e3", "true", "[a, b]", "{a: b}", "a: b", "~", " x ", "'x'", "${a}", "x\ny", "--a-b c_d", "# 1"],
)
def test_a_prompt_is_taken_as_it_is_typed(text, tmp_path):
    assert options("--text", text, f"--speech={text}").prompt == [{"text": text}, {"audio": text}]


def test_a_prompt_may_stand_in_a_configuration(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("prompt: [{text: a}, {audio: b.wav}]\ntop_k: 3\n")
    found = options("--config", str(config), "--text", "c")
    assert found.prompt == [{"text": "a"}, {"audio": "b.wav"}, {"text": "c"}] and found.top_k == 3
    with pytest.raises(ValueError, match="a piece of the prompt must be a text or an audio, but is {'txt': 'a'}"):
        prompt_pieces([{"txt": "a"}])


def test_the_defaults_are_those_of_the_settings():
    settings, found = asdict(GenerationSettings()), vars(options())
    apart = {"batch_size", "stop", "ends_at_change"}  # of batches, and of prompts with examples
    assert {name: found[name] for name in settings if name not in apart} | {
        name: settings[name] for name in apart
    } == settings
    program = command_parser(command, "spiritlm generate")
    told = " ".join(program.format_help().split())
    assert f"{TEXT_TOKENS} to text, {TEXT_TO_SPEECH_TOKENS} from text to speech, {SPEECH_TOKENS} otherwise" in told
    assert "{" + ",".join(OUTPUT_MODALITIES) + "}" in told


def test_text_and_speech_in_speech_out(generate, model_folder, tmp_path):
    arguments = [
        "--text",
        "the cat",
        "--speech",
        str(model_folder / "tone.wav"),
        "--output",
        "speech",
        "--num-samples",
        "2",
        "--max-new-tokens",
        "12",
        "--speaker",
        "bert",
    ]
    code, out, _ = generate(*arguments)
    assert code == 0
    assert out.count("[speech, ") == 2
    waveform, rate = soundfile.read(tmp_path / "generated" / "answer1_1.wav")
    assert rate == 16_000 and len(waveform) % 640 == 0 and len(waveform) > 0
    assert generate(*arguments)[1] == out
    assert generate(*arguments, "--seed", "5")[1] != out


def test_answers_do_not_replace_a_file_or_the_prompt(generate, tmp_path):
    (tmp_path / "taken").write_text("mine")
    code, _, told = generate("--text", "the cat", "--output", "speech", "--out", str(tmp_path / "taken"))
    assert code == 2 and f"--out must be a folder, but {tmp_path / 'taken'} is a file" in told
    audio = tmp_path / "generated" / "answer1_1.wav"
    audio.parent.mkdir()
    soundfile.write(audio, [0.1] * 16_000, 16_000)
    before = audio.read_bytes()
    options = ["--speaker", "bert", "--max-new-tokens", "6"]
    code, out, _ = generate("--speech", str(audio), "--output", "speech", *options)
    assert code == 0 and "answer1_1%2.wav]" in out
    assert audio.with_name("answer1_1%2.wav").is_file() and audio.read_bytes() == before
    assert (tmp_path / "taken").read_text() == "mine"


def test_text_out(generate):
    code, out, told = generate("--text", "the cat", "--output", "text", "--greedy", "--max-new-tokens", "5")
    assert code == 0 and out.strip()
    cut_off, stopped = "cut off: no new tokens were left (--max-new-tokens)" in told, "stopped by itself" in told
    assert cut_off != stopped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: --text, --speech or --prompt must be given at least once, but none is"),
        (["--text", " "], "--text must hold at least one word"),
        (["--speech", "missing.wav"], "missing.wav is not there"),
        (["--text", "cat " * 300], "error: --text must be shorter than the model's context of 128 tokens, but has "),
        (
            ["--text=" + "cat " * 300, "--speech=tone.wav"],
            "error: --text and --speech must be shorter than the model's",
        ),
        (
            ["--prompt", f"[{{text: {'cat ' * 300}}}]"],
            "error: --prompt must be shorter than the model's context of 128",
        ),
        (["--text", "cat", "--speaker", "carl"], "speaker must be one of anna, bert"),
        (["--text", "cat", "--temperature", "0"], "temperature must be above 0"),
        (["--text", "cat", "--greedy", "--num-samples", "3"], "--num-samples must be 1 with greedy, but is 3"),
        (["--text", "cat", "--lm", "nowhere"], "nowhere is not there"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(generate, model_folder, tmp_path, arguments, message):
    shutil.copy(model_folder / "tone.wav", tmp_path)
    code, out, err = generate(*arguments)
    assert code == 2 and out == ""
    assert message in err and err.count("\n") == 1


def test_a_script_that_the_tokenizer_does_not_know_is_told(generate):
    options = ("--output", "text", "--max-new-tokens", "2")
    code, _, told = generate("--text", "the cat", "--text", "щука щ 你好", *options)
    assert code == 0
    assert "warning: the text tokenizer has no tokens for щ у к а 你 好: the model reads them as bytes" in told
    _, _, told = generate("--text", "абвгдежзийклмн", *options)
    assert "no tokens for а б в г д е ж з и й к л and 2 more: " in told
    assert "warning" not in generate("--text", "the cat", *options)[2]


def test_damaged_audio_is_named(generate, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "noise.wav").write_bytes(b"RIFF no audio at all")
    for name in ("empty.wav", "noise.wav"):
        code, _, err = generate("--speech", name)
        assert code == 2 and name in err and err.count("\n") == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_model_is_named(generate, model_folder, tmp_path, name):
    shutil.copytree(model_folder / "vocoder", tmp_path / "damaged")
    path = tmp_path / "damaged" / name
    path.write_bytes(path.read_bytes()[:-5])
    code, _, err = generate("--text", "the cat", "--vocoder", str(path.parent))
    assert code == 2 and err.count("\n") == 1
    assert f"{path} must have SHA-256" in err and "it is damaged" in err
