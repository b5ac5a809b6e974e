"""The wheel owns one package, carries the configurations, and every module of it can be imported."""

import ast
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("spiritlm_pl", "modules", "datamodules", "callbacks", "benchmarks")
IMPORT_ALL = """
import pkgutil, importlib, spiritlm_pl
names = [module.name for module in pkgutil.walk_packages(spiritlm_pl.__path__, "spiritlm_pl.")]
names.remove("spiritlm_pl.__main__")
for name in names: importlib.import_module(name)
assert "spiritlm_pl.modules.lm" in names
print(spiritlm_pl.__file__)
from spiritlm_pl.cli.configs import shipped_configs
assert "lm/base_7b" in shipped_configs()
"""

NOT_FOR_INFERENCE = (
    "amfm_decompy deepspeed espeakng_loader fastapi gradio lightning matplotlib mlflow num2words pocketsphinx pyarrow "
    "torchmetrics"
).split()
INFER = f"""
import sys
for name in {NOT_FOR_INFERENCE}: sys.modules[name] = None  # as if it were not installed
from spiritlm_pl.cli.main import COMMANDS, _load, guarded, run
for name in ("generate", "tokenize", "vocode", "score", "import-release", "export-lm", "extend-vocab"):
    _load(COMMANDS[name][0])
from spiritlm_pl.generation import SpiritLM
for command in (["prepare", "stories", "out"], ["fit", "--help"]):
    assert guarded(lambda: run(command)) == 2
"""


def _without_encoding(source: str) -> Iterator[ast.Call]:
    """Calls that read or write text in whatever encoding the locale has."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or any(word.arg == "encoding" for word in call.keywords):
            continue
        named = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        first = [argument.value for argument in call.args[-1:] if isinstance(argument, ast.Constant)]
        binary = any(isinstance(mode, str) and "b" in mode and len(mode) < 4 for mode in first)
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        binary = binary or owner in ("av", "gzip", "os", "self", "self.cache", "self.store", "tarfile")
        if named in ("read_text", "write_text") or (named == "open" and not binary):
            if not (named == "read_text" and call.args):  # a function of our own, which finds the encoding
                yield call


def test_text_is_utf_8_whatever_the_locale() -> None:
    assert [ast.unparse(call) for call in _without_encoding("p.write_text(s); open(p); p.open('rb')")] == [
        "p.write_text(s)",
        "open(p)",
    ]
    paths = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(paths) > 200
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)}"
        for path in paths
        for call in _without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_what_only_extras_bring_is_not_a_dependency() -> None:
    from spiritlm_pl.cli.extras import extras_with

    assert all(extras_with(name) for name in NOT_FOR_INFERENCE)
    assert extras_with("lightning.pytorch") == ["train"] and extras_with("matplotlib") == ["evaluate", "serve"]
    assert extras_with("torch") == extras_with("no_such_module") == []


def test_the_quickstart_asks_for_all_that_it_lacks_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from spiritlm_pl.cli.main import guarded, run

    def found(name: str) -> object:
        if name in ("lightning", "mlflow", "pocketsphinx"):  # the last is of an extra within the extra
            raise PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("spiritlm_pl.cli.extras.distribution", found)
    assert guarded(lambda: run(["quickstart"])) == 2
    needed = 'spiritlm quickstart needs pocketsphinx, lightning, mlflow: pip install "spiritlm-pl[train]"'
    assert capsys.readouterr().err == f"spiritlm: error: {needed}\n"
    assert not list(tmp_path.iterdir())


def test_inference_needs_no_extra(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INFER], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    advice = 'is needed for this and is not installed: pip install "spiritlm-pl['
    assert f'espeakng_loader {advice}corpora]"' in result.stderr and f'lightning {advice}train]"' in result.stderr


@pytest.mark.slow
def test_the_wheel_is_whole(tmp_path: Path) -> None:
    gone = ROOT / "build" / "lib" / "spiritlm_pl" / "conf" / "gone.yaml"  # of an earlier build
    gone.parent.mkdir(parents=True, exist_ok=True)
    gone.touch()
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    wheel = next(tmp_path.glob("*.whl"))
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"spiritlm_pl"}
    configurations = {f"spiritlm_pl/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    others = {str(path.relative_to(ROOT)) for path in (ROOT / "spiritlm_pl").rglob("*.yaml")}
    assert {name for name in names if name.endswith(".yaml")} == configurations | others
    result = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().startswith(str(site))
