"""Both plans: every stage after those it needs, every command there, every configuration shipped."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from spiritlm_pl.cli.configs import config_folder, find_config
from spiritlm_pl.cli.main import COMMANDS, TRAINER_SUBCOMMANDS, find_command
from spiritlm_pl.cli.overwriting import overwriting
from spiritlm_pl.cli.parser import command_parser, parsed
from spiritlm_pl.cli.prepare.synthetic import stories
from spiritlm_pl.corpora.manifest import iterate_cuts, save_corpus
from spiritlm_pl.quickstart.expressive_report import (
    BASE,
    EXPRESSIVE,
    MEASURED,
    expressivity_rows,
    write_expressive_report,
)
from spiritlm_pl.quickstart.plan import Variant, plan_file, quickstart_stages, variables
from spiritlm_pl.quickstart.report import collapse_line, corpus_title, ending_line, resynthesis_rows, write_report
from spiritlm_pl.quickstart.run import what_next
from spiritlm_pl.quickstart.stage import Stage
from spiritlm_pl.text_tokenizers.tokenizer import train_text_tokenizer

VARIANTS = ("base", "expressive")


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("source", ["synthetic", "apt", "auto"])
def test_a_plan_can_be_followed(variant: Variant, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)  # auto is synthetic here
    done: set[str] = set()
    stages = quickstart_stages(variant, source, 0.5, 100)
    if source != "apt":
        assert [stage.key({}) for stage in stages if not stage.needs] == [
            stage.key({}) for stage in quickstart_stages(variant, "synthetic", 0.5, 100) if not stage.needs
        ]
        assert not [words for stage in stages for words in stage.commands if "--kind=sentences" in words]
    for stage in stages:
        assert set(stage.needs) <= done and stage.name not in done
        done.add(stage.name)
        for words in stage.commands:
            assert words[0] in COMMANDS or words[0] in TRAINER_SUBCOMMANDS
        for config in stage.configs:
            assert find_config(config).is_file()
        trained = [words for words in stage.commands if words[0] == "fit"]
        assert len(stage.run_folders) <= len(trained)


def test_packages_at_hand_are_used(tmp_path: Path) -> None:
    def dialogue() -> Stage:
        return next(
            stage for stage in quickstart_stages("expressive", str(tmp_path), 1.0, 100) if stage.name == "dialogue"
        )

    assert dialogue().commands[0][:2] == ("prepare", "styles") and "in place of" in dialogue().title
    (tmp_path / "flight-of-the-amazon-queen_1.0.deb").touch()
    assert dialogue().commands[0][:2] == ("prepare", "amazon_queen")
    assert f"--source={tmp_path}" in dialogue().commands[0] and dialogue().title == "acted speech: fetch, align"


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_command_takes_its_arguments(variant: Variant) -> None:
    for stage in quickstart_stages(variant, "apt", 1.0, 100):
        for words in stage.commands:
            if words[0] in COMMANDS:
                target, program, rest = find_command([*words, *overwriting(words)])
                parser = command_parser(target, program)
                parsed(parser, parser, rest)


def test_corpora_of_another_size_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a stage counts as finished does not depend on the option by which it replaces what is there."""
    monkeypatch.chdir(tmp_path)
    stories = next(stage for stage in quickstart_stages("base", "apt", 1.0, 100) if stage.name == "stories")
    assert stories._resumed("") == [(*stories.commands[0], "--overwrite=true")]
    assert "--overwrite=true" not in stories.commands[0]


def test_the_variants_share_their_first_stages() -> None:
    base, expressive = (
        {stage.name: stage.key(dict.fromkeys(stage.needs, "")) for stage in quickstart_stages(variant, "apt", 1.0, 100)}
        for variant in VARIANTS
    )
    shared = plan_file("expressive")["shared"]
    assert len(shared) == 4 and list(expressive)[:4] == shared
    assert [expressive[name] for name in shared] == [base[name] for name in shared]


def test_a_change_for_a_source_names_a_stage_and_all_settings_are_known() -> None:
    known = set(Stage.__dataclass_fields__) - {"name", "configs", "settings"}
    for variant in VARIANTS:
        plan = plan_file(variant)
        changes = [change for stages in plan["sources"].values() for change in stages.items()]
        for name, settings in (*plan["stages"].items(), *changes):
            assert name in plan["stages"] and set(settings) <= known


def test_a_path_with_spaces_and_dollars_stays_one_word(tmp_path: Path) -> None:
    folder = tmp_path / "my $root ${model} files"
    folder.mkdir()
    assert f"--source={folder}" in quickstart_stages("base", str(folder), 1.0, 100)[0].commands[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_last_checkpoint_is_that_of_the_last_step(variant: Variant) -> None:
    """Whoever measures `last` measures the network that was exported."""
    fits = [one for stage in quickstart_stages(variant, "apt", 1.0, 100) for one in stage.commands if one[0] == "fit"]
    for words in fits:
        given = [word for word in words[2::2] if not word.startswith("--")]
        trainers = [OmegaConf.to_container(OmegaConf.load(find_config(name))).get("trainer", {}) for name in given]
        steps, callbacks = (
            next((one[key] for one in reversed(trainers) if key in one), None) for key in ("max_steps", "callbacks")
        )
        every = [one["init_args"]["every_n_train_steps"] for one in callbacks if "ModelCheckpoint" in str(one)]
        assert all(steps % number == 0 for number in every), words


def test_the_report_reads_what_the_plan_measures() -> None:
    words = [words for stage in quickstart_stages("expressive", "apt", 1.0, 100) for words in stage.commands]
    measured = [one for one in words if one[:2] == ("evaluate", "expressivity")]
    assert sorted(Path(one[5]).stem.removeprefix("expressivity_") for one in measured) == sorted(MEASURED)
    assert all(list(json.loads(one[2])) == [BASE, EXPRESSIVE] for one in measured)
    assert variables("expressive")["reports"] == variables("base")["reports"] == "quickstart/reports"


def test_what_was_not_measured_is_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart/reports").mkdir(parents=True)
    assert write_report("quickstart/report") == [] and write_expressive_report("quickstart/expressive") == []


def test_answers_that_stop_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart/reports").mkdir(parents=True)
    assert ending_line() == ""
    found = {"stopped": 23, "num_prompts": 24, "limit": 36, "mean_tokens": 8.7, "mean_true_tokens": 9.0}
    report = {"text_to_text": found, "speech_to_speech": {**found, "stopped": 0, "mean_tokens": None}}
    for name, write in (("endings", write_report), ("endings_expressive", write_expressive_report)):
        Path(f"quickstart/reports/{name}.json").write_text(json.dumps(report))
        assert [(row.measure, row.value, row.baseline) for row in write(f"quickstart/{name}")] == [
            ("T→T answers that stop by themselves, of 24", "23 (after 9 tokens)", "true endings 9 tokens, limit 36"),
            ("S→S answers that stop by themselves, of 24", "0", "true endings 9 tokens, limit 36"),
        ]
        assert ending_line(name) == "23 of 48 answers to held-out beginnings stopped by themselves."
        assert "| 23 (after 9 tokens) |" in Path(f"quickstart/{name}.md").read_text()


@pytest.mark.parametrize("variant", VARIANTS)
def test_units_that_collapsed_are_told_of(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart/reports").mkdir(parents=True)
    assert collapse_line(variant) == ""
    write = {"base": write_report, "expressive": write_expressive_report}[variant]
    other = {name: {"use": 1.0, "tokens_per_second": 5.0, "entropy_bits": 3.0} for name in ("units", "pitches")}
    for use, told in ((0.04, "The units have collapsed: 4 % of them occur in held-out speech, "), (0.2, ""), (1.0, "")):
        kinds = other | {"units": {**other["units"], "use": use}}
        Path("quickstart/reports/units.json").write_text(json.dumps({"hubert": {"codebook_use": use}, "mfcc": {}}))
        Path("quickstart/reports/codes.json").write_text(json.dumps({"all of them": {"kinds": kinds}}))
        line = collapse_line(variant)
        assert line.startswith(told) and bool(line) == bool(told) == ("a larger --budget or more --stories" in line)
        write("quickstart/report")
        report = Path("quickstart/report.md").read_text()
        assert report.startswith(f"{line}\n\n| stage |" if told else "| stage |")


def test_the_layer_where_words_are_most_alike_is_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quickstart/reports").mkdir(parents=True)
    layers = [
        {"layer": layer, "same": {"value": same}, "other": {"value": other}}
        for layer, same, other in ((0, 0.3, 0.2), (1, 0.6, 0.2), (2, 0.9, 0.8))
    ]
    Path("quickstart/reports/word_similarity.json").write_text(json.dumps({"interleaved": layers}))
    assert [(row.measure, row.value, row.baseline) for row in write_report("quickstart/report")] == [
        ("similarity of spoken and written words, interleaved, layer 1", "0.60", "other words 0.20")
    ]
    Path("quickstart/reports/word_similarity.png").touch()  # as the command of the stage draws
    write_report("quickstart/report")
    assert Path("quickstart/report.md").read_text().endswith(" of a word?](reports/word_similarity.png)\n")


def test_speech_in_place_of_real_one_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert corpus_title("prompts") == "real prompts"
    for name, source in (("prompts", "eSpeak NG reading x"), ("styles", "eSpeak NG acting y"), ("dialogue", "Debian")):
        save_corpus(f"quickstart/corpora/{name}", {}, name=name, source=source, licence="free")
    titles = [corpus_title(name) for name in ("prompts", "styles", "dialogue")]
    assert titles == ["synthetic prompts", "spoken styles", "acted dialogue"]
    for source, title in (("apt", "real speech: fetch, align"), ("synthetic", "stories in place of real speech")):
        assert quickstart_stages("base", source, 1.0, 100)[0].title == title
    for source, title in (("apt", "acted speech: fetch, align"), ("synthetic", "styles in place of acted speech")):
        assert title in [stage.title for stage in quickstart_stages("expressive", source, 1.0, 100)]


def test_expressive_figures_stand_beside_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reports = Path("quickstart/reports")
    reports.mkdir(parents=True)
    figure = '{"value": %s, "low": 0.1, "high": 0.6, "count": 9}'
    percent = '{"value": %s, "low": %s, "high": %s, "count": 9}'
    wer = '"recognition": {"p": {"word_error_rate": {"value": 50.0}}}'
    systems = ", ".join(
        f'"{name}": {{"f0_frame_error": {error}, "style": {percent % (50, 40, 60)}, "style_gain": {gain}, {wer}}}'
        for name, error, gain in (
            ("original", "null", "null"),
            ("Base", figure % 0.4, "null"),
            ("Expressive", figure % 0.16, percent % (9, 2, 16)),
        )
    )
    (reports / "expressivity_dialogue.json").write_text(f'{{"systems": {{{systems}}}}}')
    rows = {row.measure: (row.value, row.baseline) for row in expressivity_rows()}
    assert rows == {
        "F0 frame error": ("0.16", "Base 0.40"),
        "style told right, %": ("50", "Base 50, originals 50"),
        "style, points more than Base": ("+9 (+2 to +16)", "utterance by utterance"),
        "words heard wrong, p, %": ("50", "Base 50, originals 50"),
    }
    alike = systems.replace(percent % (9, 2, 16), percent % (0, "null", "null"))
    (reports / "expressivity_styles.json").write_text(f'{{"systems": {{{alike}}}, "styles": {{"high": 2, "low": 1}}}}')
    assert "+0" in [row.value for row in expressivity_rows()]  # no interval where no utterance differs
    write_expressive_report("quickstart/report")
    shown = re.findall(r"^!\[.+\?\]\((.+)\)$", Path("quickstart/report.md").read_text(), re.MULTILINE)
    assert shown == ["report.png", "report_style.png"]
    for name in shown:
        assert Path("quickstart", name).stat().st_size > 5_000
    shutil.rmtree(reports)
    write_expressive_report("quickstart/report")  # without figures, and without the pictures of those before
    assert "![" not in Path("quickstart/report.md").read_text()


def texts_of(values: Any) -> Iterator[str]:
    """Yield the texts that a configuration continues, at any depth."""
    if isinstance(values, dict):
        yield from values.get("texts") or () if isinstance(values.get("texts"), list) else ()
        for value in values.values():
            yield from texts_of(value)
    elif isinstance(values, list):
        for value in values:
            yield from texts_of(value)


def test_examples_are_written_as_the_stories_are(tmp_path: Path) -> None:
    """The tokenizer that the quickstart trains has tokens for what its stories hold, and for nothing else."""
    stories(str(tmp_path), count=40, num_jobs=1)
    tokenizer = train_text_tokenizer(cut.supervisions[0].text for cut in iterate_cuts(tmp_path, "train"))
    stages = [stage for variant in VARIANTS for stage in quickstart_stages(variant, "synthetic", 1.0, 100)]
    commands = [list(words) for stage in stages for words in stage.commands]
    commands += [shlex.split(line) for variant in VARIANTS for line in what_next(variant, "").splitlines()]
    typed = [words[words.index("--text") + 1] for words in commands if "generate" in words and "--text" in words]
    configs = config_folder().rglob("*quickstart*.yaml")
    shown = [text for path in configs for text in texts_of(yaml.safe_load(path.read_text(encoding="utf-8")))]
    assert len(typed) == 6 and len(shown) >= 3
    assert {text: tokenizer.unknown_characters(text) for text in (*typed, *shown)} == dict.fromkeys(
        (*typed, *shown), ""
    )


def test_a_resynthesis_without_voice_has_no_error_of_its_pitch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritlm_pl.quickstart.report.REPORTS", tmp_path)
    for error, told in ((float("nan"), "nothing voiced"), (1.25, "1.2")):
        (tmp_path / "resynthesis.json").write_text(json.dumps({"f0_error_semitones": error}))
        assert [row.value for row in resynthesis_rows()] == [told]
