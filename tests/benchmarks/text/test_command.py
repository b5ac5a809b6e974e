"""Tasks of lm-eval through the command: each with a summary, and what is refused."""

import json
import sys

import pytest

from spiritlm_pl.benchmarks.results import read_lines
from spiritlm_pl.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other libraries


@pytest.fixture
def run(capsys, folder, tmp_path, monkeypatch):
    def command(name, data, *options, code=0):
        words = ["benchmark", "run", name, data, tmp_path / "out", "--model", folder, *options]
        monkeypatch.setattr(sys, "argv", ["spiritlm", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        found = capsys.readouterr()
        assert end.value.code == code, found.err
        return found.err

    return command


def test_each_task_of_the_command_has_a_summary(run, tasks, tmp_path):
    run("lm_eval", tasks, "--options", "{tasks: [tiny_cats, tiny_dogs], shots: 1}", "--limit", 7)
    for task in ("tiny_cats", "tiny_dogs"):
        summary = json.loads((tmp_path / "out" / f"lm_eval_{task}" / "summary.json").read_text())
        assert summary["num_scored"] == 7 and summary["options"] == {"shots": 1} and summary["published"] == "acc"
        assert len(read_lines(tmp_path / "out" / f"lm_eval_{task}")) == 7
    (tmp_path / "set.yaml").write_text(f"lm_eval: {{folder: {tasks}, tasks: 'tiny_dogs', shots: 1}}\n")
    run("all", tmp_path / "set.yaml")
    assert (tmp_path / "out" / "lm_eval_tiny_dogs").is_dir()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "tasks must name tasks of lm-eval, such as --options"),
        (("--options", "{tasks: 3}"), "tasks must name tasks of lm-eval"),
        (("--options", "{tasks: tiny_dogs, shot: 3}"), "options must be among tasks, shots, but are shot"),
        (("--options", "{tasks: tiny_dogs, shots: many}"), "shots must be a number from 0 on, but is 'many'"),
        (("--options", "{tasks: tiny_written}"), "tiny_written is of generate_until: run lm_eval on the folder"),
    ],
)
def test_wrong_options_are_named(run, tasks, options, message):
    assert message in run("lm_eval", tasks, *options, code=2)


def test_a_missing_lm_eval_is_named_with_its_extra(run, tasks, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert 'pip install "spiritlm-pl[lm-eval]"' in run("lm_eval", tasks, "--options", "{tasks: tiny_cats}", code=2)
    (tmp_path / "set.yaml").write_text(f"lm_eval: {{folder: {tasks}, tasks: [tiny_cats, tiny_dogs]}}\n")
    assert run("all", tmp_path / "set.yaml", code=2).count('pip install "spiritlm-pl[lm-eval]"') == 2
