"""Every command is parsed alike: spellings, switches, examples, errors, exit codes."""

import re
import shlex
import subprocess
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from spiritlm_pl.cli.main import COMMANDS, TRAINER_SUBCOMMANDS, find_command, guarded, main, run, without_trust
from spiritlm_pl.cli.parser import OLDER_OPTIONS, CommandParser, command_parser, parsed, run_command
from spiritlm_pl.registry import TRUST

ROOT = Path(__file__).parents[2]


def programs(words: list[str], target: Any = None) -> Iterator[str]:
    """What is typed for a command and all below it, such as `spiritlm prepare stories`."""
    target = find_command(words)[0] if target is None else target
    if not isinstance(target, dict):
        yield shlex.join(["spiritlm", *words])
        return
    for name, below in target.items():
        yield from programs([*words, name.replace("_", "-")], below)


PROGRAMS = [program for name in COMMANDS for program in programs([name])]


def parser_of(program: str) -> CommandParser:
    target, found, rest = find_command(shlex.split(program)[1:])
    assert (found, rest) == (program, [])
    return command_parser(target, program)


def parse(command: str) -> Any:
    """Values that a command line gives to its command, or to the trainer's parser, which prints them."""
    words = shlex.split(command)[1:]
    if words[0] in TRAINER_SUBCOMMANDS:
        with pytest.raises(SystemExit) as exit_:
            run([*words, "--print-config"])
        assert exit_.value.code == 0
        return None
    target, program, rest = find_command(words)
    parser = command_parser(target, program)
    return parsed(parser, parser, rest)


def plain_words(text: str) -> list[str]:
    return re.findall(r"(?<![\w-])--[A-Za-z][\w.-]*", text)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_in_kebab_case_and_ends_with_examples(program: str) -> None:
    told = parser_of(program).format_help()
    assert not [word for word in plain_words(told) if "_" in word and "." not in word]  # a dot is of configurations
    usage = told.partition("\n\n")[0].partition("[options]")[2]
    assert {*re.findall(r"\w+", usage)} <= {*re.findall(r"^  ([A-Z]\w*)(?: |$)", told, re.MULTILINE)}
    assert "customizes" not in told and "Print the configuration that all other options give" in " ".join(told.split())
    _, _, examples = told.rpartition("\nexamples:\n")
    lines = examples.splitlines()
    assert 2 <= len(lines) <= 4 and len({*lines}) == len(lines)
    for line in lines:
        (own,) = [part for part in line.split(" | ") if part.strip().startswith(program)] or [None]
        assert own is not None, line
        parse(own.partition(" > ")[0])


@pytest.mark.parametrize("program", PROGRAMS)
def test_both_spellings_of_every_option_are_accepted(program: str) -> None:
    options = parser_of(program)._option_string_actions
    for name, action in options.items():
        if name.startswith("--"):
            kebab, snake = "--" + name[2:].replace("_", "-"), "--" + name[2:].replace("-", "_")
            assert options[kebab] is action and options[snake] is action


def command(
    corpus: str,
    *inputs: str,
    method: str = "ctc",
    num_jobs: int = 1,
    rate: float | None = None,
    overwrite: bool = False,
    keep_all: bool | None = None,
) -> None:
    """Do something.

    It takes a while.

    Args:
        corpus: a folder.
        inputs: files,
            any number of them.
        method: how, among others.
        num_jobs: processes.
        rate: of something.
        overwrite: as it says, in `corpus`, with `num_jobs` and `others`.
        keep_all: as it says.
    """


def values(*words: str, function: Callable[..., None] = command) -> dict[str, Any]:
    parser = command_parser(function, "spiritlm do")
    return vars(parsed(parser, parser, words))


def test_both_spellings_and_switches_that_stand_alone() -> None:
    for word in ("--num-jobs", "--num_jobs"):
        assert values("c", word, "3")["num_jobs"] == values("c", f"{word}=3")["num_jobs"] == 3
    for words in (["c", "--overwrite"], ["--overwrite", "c"], ["c", "--overwrite", "--method", "m"]):
        assert values(*words)["overwrite"] is True and values(*words)["corpus"] == "c"
    for words in (["c", "--overwrite", "false"], ["c", "--overwrite=False"], ["c"]):
        assert values(*words)["overwrite"] is False
    assert [values("c", *words)["keep_all"] for words in ([], ["--keep-all"], ["--keep_all", "no"])] == [
        *(None, True, False)
    ]
    assert values("c", "--method", "--a-b c_d")["method"] == "--a-b c_d"  # a value, not an option
    assert values("c", "a_b.wav", "d", "--num-jobs", "2")["inputs"] == ["a_b.wav", "d"]


def test_values_reach_the_function_in_order() -> None:
    given: list[Any] = []

    def stand_in(corpus: str, *inputs: str, num_jobs: int = 1) -> None:
        given.append((corpus, inputs, num_jobs))

    def only_inputs(*inputs: str, num_jobs: int = 1) -> None:
        given.append((inputs, num_jobs))

    for function, words in ((stand_in, ["c", "a", "b"]), (only_inputs, ["a", "--num-jobs", "2"]), (only_inputs, [])):
        run_command(function, command_parser(function, "spiritlm do"), words)
    assert given == [("c", ("a", "b"), 1), (("a",), 2), ((), 1)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("num_jobs must be at least 1"), "--num-jobs must be at least 1"),
        (FileNotFoundError("corpus must be a folder"), "CORPUS must be a folder"),
        (ValueError("rate of speech must be above 0"), "rate of speech must be above 0"),
        (OSError(2, "corpus must be there"), "[Errno 2] corpus must be there"),
    ],
)
def test_errors_name_arguments_as_they_are_typed(error: Exception, message: str) -> None:
    def failing(corpus: str, num_jobs: int = 1, rate: float = 1.0) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        run_command(failing, command_parser(failing, "spiritlm do"), ["c"])
    assert str(raised.value) == message


def test_help_tells_what_the_docstring_does() -> None:
    told = " ".join(command_parser(command, "spiritlm do").format_help().split())
    assert told.startswith(
        "usage: spiritlm do [options] CORPUS [INPUTS ...] Do something. It takes a while. positional"
    )
    assert "INPUTS files, any number of them." in told and "--num-jobs N processes (default: 1)" in told
    assert (
        "--overwrite as it says, in CORPUS, with --num-jobs and `others`. --keep-all {true,false,null} as it says."
        in told
        and "--rate X" in told
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["c", "--num-jbs", "2"], "--num-jbs is not an option of spiritlm do; did you mean --num-jobs?"),
        (["c", "--overwrit"], "--overwrit is not an option of spiritlm do; did you mean --overwrite?"),
        (["--num-job=2"], "--num-job is not an option of spiritlm do; did you mean --num-jobs?"),
        (["c", "--zzz"], "--zzz is not an option of spiritlm do; spiritlm do --help lists them"),
        (["c", "--num-jobs", "x"], "--num-jobs must be a whole number, but is x instead"),
        (["c", "--rate=x"], "--rate must be a number, but is x instead"),
        (["c", "--overwrite=x"], "--overwrite must be true or false, but is x instead"),
        (["c", "--method"], "--method: expected one argument"),
        ([], "CORPUS must be given: spiritlm do [options] CORPUS"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str) -> None:
    with pytest.raises(ArgumentError) as error:
        values(*words)
    assert str(error.value).startswith(message)


def lists(
    units: list[str],
    text: list[str] | dict[str, list[str]] | None = None,
    gpus: list[int] | None = None,
    splits: tuple[str, ...] = (),
    options: dict[str, Any] | None = None,
    prompt: list[dict[str, str]] | str | None = None,
) -> None:
    """Do something with lists."""


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["a.jsonl"], "units", ["a.jsonl"]),
        (["[a, b]"], "units", ["a", "b"]),
        (["2024"], "units", ["2024"]),
        (["C:/a, b.txt"], "units", ["C:/a, b.txt"]),
        (["u", "--text", "it's [.txt"], "text", ["it's [.txt"]),
        (["u", "--text={web: a.jsonl, books: [b, c]}"], "text", {"web": ["a.jsonl"], "books": ["b", "c"]}),
        (["u", "--text", "null"], "text", None),
        (["u", "--text", "a", "--text+", "b"], "text", ["a", "b"]),
        (["u", "--gpus", "8"], "gpus", [8]),
        (["u", "--splits", "train"], "splits", ("train",)),
        (["u", "--prompt", "Once"], "prompt", "Once"),
    ],
)
def test_the_only_element_of_a_list_may_stand_alone(words: list[str], name: str, value: Any) -> None:
    assert values(*words, function=lists)[name] == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["u", "--options", "a=b"], "--options must be a mapping such as '{name: value}', but is a=b instead"),
        (["u", "--gpus", "x"], "--gpus must be a list of whole numbers such as '[1, 2]', but is ['x'] instead"),
        (["u", "--splits", "{a: b}"], "--splits must be a list such as '[a, b]', but is {'a': 'b'} instead"),
        (["--text", "[a]"], "UNITS must be given: spiritlm do [options] UNITS"),
    ],
)
def test_the_spelling_of_lists_and_mappings_is_told(words: list[str], message: str) -> None:
    with pytest.raises(ArgumentError) as error:
        values(*words, function=lists)
    assert str(error.value).startswith(message)


def test_a_key_of_a_configuration_is_told_with_the_nearest_option(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("num_jbs: 2\n")
    message = "num_jbs is not a setting of spiritlm do; did you mean --num-jobs?"
    with pytest.raises(ArgumentError, match=re.escape(message)):
        values("c", "--config", str(config))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--config must be a YAML file, but .*own.yaml is not there$"),
        ("rows: [", "--config must be YAML, but .*own.yaml is not: "),
        ("- rows", "--config must hold settings by their names, but .*own.yaml holds a list$"),
    ],
)
@pytest.mark.parametrize("spelling", ["--config {}", "--config={}"])
def test_a_configuration_that_is_none_is_told(content: str | None, message: str, spelling: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(["plan", *spelling.format(path).split()])


def test_a_configuration_may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.yaml").write_text("steps: 0")
    with pytest.raises(ValueError, match="--steps must be"):
        run(["plan", "--config=~/own.yaml"])


def test_all_that_is_missing_is_named() -> None:
    def build(a: str, b: str, c: str, d: int = 1) -> None:
        """Do something."""

    for words, message in (
        ([], "A, B and C must be given: spiritlm do"),
        (["x"], "B and C must be given: spiritlm do"),
    ):
        with pytest.raises(ArgumentError, match=message):
            values(*words, function=build)


@pytest.mark.parametrize(("older", "present"), OLDER_OPTIONS.items())
def test_the_present_name_of_an_older_option_is_told(older: str, present: str, tmp_path: Path) -> None:
    program = "spiritlm evaluate expressivity"
    (tmp_path / "options.yaml").write_text(f"{older[2:].replace('-', '_')}: folder\n")
    for word, message in (
        (f"{older}=folder", f"{older} is not an option of {program}; it is now {present}"),
        (f"--{older[2:].replace('-', '_')}=folder", f"is not an option of {program}; it is now {present}"),
        (f"--config={tmp_path}/options.yaml", f"is not accepted; it is now {present[2:].replace('-', '_')}"),
    ):
        with pytest.raises(ArgumentError, match=f"{message}$"):
            parse(shlex.join([*program.split(), "{a: b}", "units", "corpus", "out.json", word]))
    with pytest.raises(ArgumentError, match=f"{older} is not an option of spiritlm do; .* --help lists them"):
        values("c", older)  # a command that never had it


def exit_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["spiritlm", *words])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


@pytest.mark.parametrize("program", [*PROGRAMS, *(f"spiritlm {name}" for name in TRAINER_SUBCOMMANDS)])
def test_every_command_exits_alike(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = program.split()[1:]
    trainer = ["--config", "quantizer/quickstart_mfcc"] if words[0] in TRAINER_SUBCOMMANDS else []
    assert exit_of(monkeypatch, *words, "--help") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"usage: {program} [options]") and not shown.err
    assert exit_of(monkeypatch, *words, *trainer, "--confg", "x") == 2
    told = capsys.readouterr().err
    assert told == f"spiritlm: error: --confg is not an option of {program}; did you mean --config?\n"


def test_an_interrupt_ends_every_command_alike(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*inputs: str, overwrite: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spiritlm_pl.cli.main._load", lambda where: interrupted)
    for name in ("generate", "tokenize", "align", "evaluate"):
        assert exit_of(monkeypatch, name, "--overwrite") == 130
        assert capsys.readouterr().err.startswith("spiritlm: interrupted; ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare"], "spiritlm prepare must be followed by one of amazon-queen, "),
        (
            ["prepare", "debian-prompts", "out", "--num-jobs=0"],
            "error: --num-jobs must be at least 1, but is 0 instead",
        ),
        (["prepare", "storie", "x"], "but storie follows; did you mean stories?"),
        (["evaluate", "--split", "test"], "choice, codes, endings, "),
        (["quickstrt"], "but is 'quickstrt' instead; did you mean quickstart?"),
        (["fit"], "--config must be given, as in spiritlm fit --config lm/base_quickstart, but is missing"),
        (["fit", "--config", "lm/base_quickstart", "--trainer.max_step=3"], "did you mean --trainer.max_steps?"),
        (["fit", "--config", "lm/base_quickstart", "--resume"], "--ckpt-path last goes on from the newest"),
        (
            ["fit", "--config", "lm/base_quickstart", "--model.init_args.optimiser.lr=1"],
            "error: --model.init_args.optimiser.lr is not an option of spiritlm_pl.modules.lm.LanguageModelModule; "
            "did you mean --model.init_args.optimizer.lr?",
        ),
        (
            ["fit", "--config", "lm/base_quickstart", "--trainer.max-steps=x"],
            "must be a whole number, but is x instead",
        ),
    ],
)
def test_errors_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: run(words)) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_a_command_with_commands_below_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    run(["prepare", "--help"])
    told = capsys.readouterr().out
    assert "  lhotse-manifest " in told and "examples:\n  spiritlm prepare " in told and "_prompts" not in told
    assert find_command(["prepare", "emov_db", "x"])[0] is find_command(["prepare", "emov-db", "x"])[0]


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys\nfrom spiritlm_pl.cli.main import run\n"
        "for name in ('generate', 'tokenize', 'vocode', 'score', 'align'):\n"
        "    try:\n        run([name, '--help'])\n    except SystemExit:\n        pass\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60).returncode == 0


def documented() -> Iterator[tuple[str, str]]:
    """Commands in blocks of code of the README and the docs, with the page that each stands on."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"```(?:sh|bash|console)?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                found = re.search(r"(?:^|[|&;] *|^[$] )(?:\S*/)?(spiritlm [a-z].*)", line)
                if found and "..." not in line:
                    yield page.name, found[1]


def test_commands_on_pages_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, "")
    found = list(documented())
    assert len(found) > 30
    for page, line in found:
        words = without_trust(shlex.split(re.split(r" \| | > | && ", line)[0], comments=True))
        if words[1] in COMMANDS:
            target, program, rest = find_command(words[1:])
            parser = command_parser(target, program)
            assert parsed(parser, parser, rest), page
        else:
            assert words[1] in TRAINER_SUBCOMMANDS, f"{page}: {line}"


def test_pages_spell_options_in_one_way() -> None:
    theirs = {"--model_args", "--batch_size", "--system_instruction"}  # of lm-eval
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        options = plain_words(page.read_text(encoding="utf-8"))
        assert not [word for word in options if "_" in word and "." not in word and word not in theirs], page.name


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_function_is_called_by_the_names_of_its_parameters(program: str) -> None:
    target, _, _ = find_command(shlex.split(program)[1:])
    given: dict[str, object] = {}

    @wraps(target)
    def called(*words: object, **values: object) -> None:
        given.update(signature(target).bind(*words, **values).arguments)

    parser = command_parser(called, program)
    example = next(line for line in (parser.epilog or "").splitlines() if line.strip().startswith(program))
    run_command(called, parser, shlex.split(example.split(">")[0])[len(program.split()) :])
    assert set(given) <= set(signature(target).parameters)
