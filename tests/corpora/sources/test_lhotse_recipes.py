import inspect
from pathlib import Path
from typing import Any

import lhotse
import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, RecordingSet, SupervisionSegment, SupervisionSet, recipes
from lhotse.audio.backend import audio_backend

import spiritlm_pl
from spiritlm_pl.cli.main import run
from spiritlm_pl.cli.prepare.general import lhotse_recipe
from spiritlm_pl.corpora.manifest import SPLITS, load_cuts
from spiritlm_pl.corpora.sources.lhotse_recipes import recipe_arguments, recipe_names, recipe_table, run_recipe

TONE = 0.5 * torch.sin(torch.arange(16_000) * 0.1)
ROOT = Path(spiritlm_pl.__file__).parent.parent


def texts(corpus: Path) -> list[list[str]]:
    return [sorted(str(cut.supervisions[0].text) for cut in load_cuts(corpus, split)) for split in SPLITS]


def test_a_recipe_without_corpus_dir(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        folder = tmp_path / "TEDLIUM_release-3" / "legacy" / part
        (folder / "sph").mkdir(parents=True)
        (folder / "stm").mkdir()
        soundfile.write(folder / "sph" / f"{part}.sph", TONE.repeat(3).numpy(), 16_000, format="NIST")
        lines = [f"{part} 1 speaker {i}.00 {i}.75 <o> talk {word} of {part}" for i, word in enumerate(("one", "two"))]
        (folder / "stm" / f"{part}.stm").write_text("\n".join(lines) + "\n")
    corpus = f"{{tedlium_root: {tmp_path / 'TEDLIUM_release-3'}, num_jobs: 1}}"
    with audio_backend("LibsndfileBackend"):  # lhotse's default for .sph is a program that need not be there
        run(["prepare", "lhotse_recipe", "tedlium", corpus, str(tmp_path / "out"), "--num_jobs", "1"])
    assert texts(tmp_path / "out") == [
        [f"talk {word} of {part}" for word in ("one", "two")] for part in ("train", "dev", "test")
    ]


def test_a_recipe_with_a_table_in_place_of_a_folder(tmp_path: Path) -> None:
    for name in ("one", "two", "both"):
        soundfile.write(tmp_path / f"{name}.wav", TONE.repeat(4).numpy(), 16_000)
    rows = "mixture_ID,mixture_path,source_1_path,source_2_path,length\nm,{0}/both.wav,{0}/one.wav,{0}/two.wav,64000\n"
    (tmp_path / "mini.csv").write_text(rows.format(tmp_path))
    reason = r"all 2 were skipped \(the first: .*one.wav: there is no transcript beside it\)"  # the recipe gives none
    with pytest.raises(ValueError, match=reason):
        lhotse_recipe("librimix_mini", {"librimix_csv": str(tmp_path / "mini.csv")}, str(tmp_path / "out"), num_jobs=1)


def test_arguments_that_are_wrong_or_missing(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(ValueError, match="recipe must be one of lhotse"):
        lhotse_recipe("nothing", str(tmp_path), out)
    with pytest.raises(FileNotFoundError, match="corpus must be a file or folder, but .*none is not there"):
        lhotse_recipe("mls", str(tmp_path / "none"), out)
    with pytest.raises(FileNotFoundError, match="audio_dir must be a file or folder, but /none is not there"):
        lhotse_recipe("icsi", {"audio_dir": "/none"}, out)
    named = r"arguments of the recipe {} must be given by name, '{{name: value, ...}}', and are {}; but {}$"
    for recipe, corpus, options, takes, fault in (
        ("mls", str(tmp_path), {"colour": 1}, r"corpus_dir, \[opus\], \[num_jobs\]", "colour is not one of them"),
        (
            "ami",
            str(tmp_path),
            {},
            r"data_dir, \[annotations_dir\], .*",
            "data_dir is missing and corpus_dir is not one of",
        ),
        ("fisher_spanish", {"audio_dir_path": str(tmp_path)}, {}, ".*", "transcript_dir_path is missing"),
    ):
        with pytest.raises(ValueError, match=named.format(recipe, takes, fault).removesuffix("$")):
            lhotse_recipe(recipe, corpus, out, options)
    with pytest.raises(ValueError, match=r"laid out as voxceleb is, but the recipe fails: .*"):
        lhotse_recipe("voxceleb", {}, out)
    with pytest.raises(ValueError, match=r"laid out as yesno is, but the recipe fails: AssertionError"):
        lhotse_recipe("yesno", str(tmp_path), out)


def test_every_recipe_can_be_called_with_what_the_table_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is called with its own signature, as the installed lhotse has it, but without its body."""
    for name in recipe_names():
        called: dict[str, Any] = {}
        prepare = getattr(recipes, f"prepare_{name}")

        def empty(__called: dict[str, Any] = called, **arguments: Any) -> dict[str, Any]:
            __called.update(arguments)
            return {}

        empty.__signature__ = inspect.signature(prepare)  # type: ignore[attr-defined]
        monkeypatch.setattr(recipes, f"prepare_{name}", empty)
        needed, _ = recipe_arguments(name)
        with pytest.raises(ValueError, match="but the recipe finds no recordings"):
            run_recipe(name, {argument: str(tmp_path) for argument in needed}, None, tmp_path / "scratch")
        assert set(called) - {"output_dir"} == set(needed)


@pytest.fixture
def pair(tmp_path: Path) -> dict[str, Any]:
    soundfile.write(tmp_path / "a.wav", TONE.numpy(), 16_000)
    recording = Recording.from_file(tmp_path / "a.wav")
    said = SupervisionSegment("a", "a", 0.0, 1.0, text="hi there")
    return {
        "recordings": RecordingSet.from_recordings([recording]),
        "supervisions": SupervisionSet.from_segments([said]),
    }


@pytest.mark.parametrize("shape", ["pair", "tuple", "part", "language", "cuts", "extra", "no_text", "nothing"])
def test_shapes_that_recipes_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: dict[str, Any], shape: str
) -> None:
    cut = pair["recordings"]["a"].to_cut()
    assert isinstance(cut, MonoCut)
    cut.supervisions = list(pair["supervisions"])
    given = {
        "pair": pair,
        "tuple": (pair["recordings"], pair["supervisions"]),
        "part": {"train": pair},
        "language": {"en": {"train": pair}},
        "cuts": {"train": {"clean": CutSet.from_cuts([cut])}},
        "extra": {"train": {**pair, "uem": pair["supervisions"]}, "trials": pair["supervisions"], "other": None},
        "no_text": {"noise": {"recordings": pair["recordings"]}},
        "nothing": None,
    }[shape]
    monkeypatch.setattr(recipes, "prepare_mine", lambda corpus_dir, output_dir=None: given, raising=False)
    if shape in ("no_text", "nothing"):
        reason = "there is no transcript: the cut has no supervision" if shape == "no_text" else "finds no recordings"
        with pytest.raises(ValueError, match=reason):
            lhotse_recipe("mine", str(tmp_path), str(tmp_path / "out"), num_jobs=1)
        return
    parts, skipped = run_recipe("mine", str(tmp_path), None, tmp_path)
    assert not skipped
    expected = {"part": "train", "language": "en-train", "cuts": "train-clean", "extra": "train"}
    assert list(parts) == [expected.get(shape, "")] and [len(cuts) for cuts in parts.values()] == [1]
    lhotse_recipe("mine", str(tmp_path), str(tmp_path / "out"), num_jobs=1)
    assert texts(tmp_path / "out")[0] == ["hi there"]


def test_audio_that_a_recipe_makes_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(corpus_dir: str, output_dir: str) -> tuple[RecordingSet, SupervisionSet]:
        soundfile.write(Path(output_dir) / "a.wav", TONE.numpy(), 16_000)
        said = SupervisionSegment("a", "a", 0.0, 1.0, text="hi there")
        recordings = RecordingSet.from_recordings([Recording.from_file(Path(output_dir) / "a.wav")])
        return recordings, SupervisionSet.from_segments([said])

    monkeypatch.setattr(recipes, "prepare_mine", prepare, raising=False)
    lhotse_recipe("mine", str(tmp_path), str(tmp_path / "out"), num_jobs=1)
    (cut,) = load_cuts(tmp_path / "out", "train")
    assert Path(cut.recording.sources[0].source) == tmp_path / "out" / "audio" / "a.wav"
    assert Path(cut.recording.sources[0].source).is_file()


def test_the_table_of_the_docs_is_that_of_the_installed_lhotse(capsys: pytest.CaptureFixture[str]) -> None:
    run(["prepare", "lhotse_recipes"])
    printed = capsys.readouterr().out
    assert printed == recipe_table()
    assert all(f"| {name} | " in printed for name in recipe_names())
    assert "| tedlium | `tedlium_root` | " in printed and "| librispeech | `corpus_dir` | " in printed
    committed = (ROOT / "docs" / "lhotse-recipes.md").read_text()
    if committed.startswith(f"# Recipes of lhotse {lhotse.__version__}\n"):
        assert committed == printed, "spiritlm prepare lhotse_recipes > docs/lhotse-recipes.md"
