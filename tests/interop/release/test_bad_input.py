"""Release directories that are not whole, or not what they say: one line that names the file, and no code is run."""

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from spiritlm_pl.cli.main import main
from spiritlm_pl.generation.loading import chosen_variant, load_speech_tokenizer, load_vocoder
from spiritlm_pl.interop.release.hubert import conv_layers, read_hubert
from spiritlm_pl.interop.release.layout import HUBERT, PITCH, QUANTIZER, STYLE, Release
from spiritlm_pl.interop.release.pitch import read_pitch
from spiritlm_pl.interop.release.quantizer import read_quantizer
from spiritlm_pl.interop.release.style import read_style
from spiritlm_pl.interop.release.vocoder import read_vocoder
from spiritlm_pl.runtime.checkpoint import load_network


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def copy(golden: Any, tmp_path: Path) -> Release:
    """A copy to be damaged."""
    for part in ("speech_tokenizer", "spiritlm_model"):
        shutil.copytree(golden.release.folder / part, tmp_path / part)
    return Release(tmp_path)


PARTS = [
    HUBERT,
    QUANTIZER,
    f"{PITCH}/model.pt",
    f"{STYLE}/pytorch_model.bin",
    "hifigan_spiritlm_expressive_w2v2/generator.pt",
]


@pytest.mark.parametrize("name", PARTS)
def test_files_that_are_missing_cut_off_or_hold_code(copy: Release, tmp_path: Path, name: str) -> None:
    path = copy.speech / name
    load: Any = load_vocoder if path.name == "generator.pt" else load_speech_tokenizer
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        load(copy.folder)
    torch.save({"model_weight": Evil(tmp_path / "made"), "generator": Evil(tmp_path / "made")}, path)
    named = f"{os.mkdir.__module__}.{os.mkdir.__name__}"
    with pytest.raises(ValueError, match=f"tensors and plain values, but .*{path.name} does not: it names {named}"):
        load(copy.folder)
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):  # torch raises the type that is caught here
        torch.load(path, weights_only=True)
    torch.save({"generator": Evil(tmp_path / "made")}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=f"{path.name} does not: it holds other things or is no such file"):
        load(copy.folder)
    assert not (tmp_path / "made").exists()
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=f"{path.name} holds a list instead"):
        load(copy.folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path.name} is not there"):
        load(copy.folder)


def change(path: Path, part: str, weights: Any) -> None:
    found = torch.load(path, weights_only=True)
    torch.save({**found, part: weights(found[part])}, path)


def test_weights_of_another_size_are_told(copy: Release) -> None:
    change(copy.speech / HUBERT, "model_weight", lambda found: {**found, "layer_norm.weight": torch.ones(3)})
    with pytest.raises(ValueError, match="(?s)mhubert_base_25hz.pt must hold the weights .*size mismatch"):
        read_hubert(copy.speech / HUBERT)
    change(copy.speech / HUBERT, "model_weight", lambda found: {**found, "odd.weight": torch.ones(3)})
    with pytest.raises(ValueError, match="weights of HuBERT alone, but has odd.weight among them"):
        read_hubert(copy.speech / HUBERT)
    change(copy.speech / QUANTIZER, "model_weight", lambda found: {k: v for k, v in found.items() if k != "4.weight"})
    with pytest.raises(ValueError, match=r"must hold '4.weight', but holds '0.weight'"):
        read_quantizer(copy.speech / QUANTIZER)
    torch.save({"model": {}}, copy.speech / QUANTIZER)
    with pytest.raises(ValueError, match="must hold 'model_weight', but holds 'model' instead"):
        read_quantizer(copy.speech / QUANTIZER)


def test_configurations_that_nothing_here_reads(copy: Release) -> None:
    pitch = copy.speech / PITCH / "config.yaml"
    text = pitch.read_text()
    for old, new, message in (
        ("norm_f0_interp,vuv", "f0,vuv", "features of .* must be norm_f0_interp,vuv, but is f0,vuv instead"),
        ("  - 2\n", "  - 3\n", r"strides_t of .* must be \[2\], but is \[3\] instead"),
        ("vq_params", "other_params", "must hold 'vq_params'"),
    ):
        pitch.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=message):
            read_pitch(copy.speech / PITCH)
    vocoder = copy.vocoder("base")
    described = json.loads((vocoder / "config.json").read_text())
    for change_, message in (
        ({"resblock": "2"}, "resblock of .* must be 1, but is 2"),
        ({"code_hop_size": 320}, "must be the product of upsample_rates 640, but is 320"),
        ({"dur_predictor_params": {"var_pred_kernel_size": 5}}, "var_pred_kernel_size of .* must be 3, but is 5"),
    ):
        (vocoder / "config.json").write_text(json.dumps({**described, **change_}))
        with pytest.raises(ValueError, match=message):
            read_vocoder(vocoder)
    (copy.speech / STYLE / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model_type of .* must be wav2vec2, but is 'bert'"):
        read_style(copy.speech / STYLE)


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("[(512,10,5)] + [(512,3,2)] * 2", ((512, 10, 5), (512, 3, 2), (512, 3, 2))),
        (" [ (16, 10, 5), (16,3,2) ]*2 ", ((16, 10, 5), (16, 3, 2)) * 2),
        ("[(8,4,2)]", ((8, 4, 2),)),
    ],
)
def test_the_layout_of_convolutions_is_parsed(text: str, layers: Any) -> None:
    assert conv_layers(text) == layers


@pytest.mark.parametrize(
    "text", ["", "[]", "__import__('os').mkdir('x')", "[(1,2,3)] + f()", "[(1,2)]", "[(1,2,3)] * 2 * 2", "[(1,2,3)] +"]
)
def test_and_never_evaluated(text: str) -> None:
    with pytest.raises(ValueError, match="conv_feature_layers must be a sum of lists"):
        conv_layers(text)


def test_the_variant_has_to_be_clear(copy: Release) -> None:
    assert chosen_variant(copy, None) == "expressive"
    with pytest.raises(ValueError, match="variant must be expressive, but is base instead"):
        chosen_variant(copy, "base")
    (copy.folder / "spiritlm_model" / "spirit-lm-base-7b").mkdir()
    assert chosen_variant(copy, "base") == "base"
    with pytest.raises(ValueError, match="variant must be base or expressive, but is left out instead"):
        chosen_variant(copy, None)
    shutil.rmtree(copy.folder / "spiritlm_model")
    vocoder = load_vocoder(copy.folder, "base")  # which needs no language model
    assert vocoder is not None and not vocoder.expressive
    assert load_speech_tokenizer(copy.folder, "base") is not None


def test_the_vocoder_of_the_other_variant_is_told(copy: Release) -> None:
    base, expressive = copy.vocoder("base"), copy.vocoder("expressive")
    shutil.copy(expressive / "generator.pt", base / "generator.pt")
    with pytest.raises(ValueError, match="model_in_dim of .* must be that of generator.pt, .* instead"):
        read_vocoder(base)


@pytest.mark.parametrize(
    "arguments",
    [
        ["import-release", "NOWHERE", "out"],
        ["generate", "--model", "NOWHERE", "--text", "a"],
        ["generate", "--model", "NOWHERE", "--text", "a", "--variant", "base"],
        ["serve", "--model", "NOWHERE", "--variant", "base"],
    ],
)
def test_the_command_line_says_it_in_a_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["spiritlm", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    told = capsys.readouterr().err
    assert exit_.value.code == 2 and told.count("\n") == 1 and "NOWHERE" in told and "is not there" in told


def test_everything_is_imported(whole_release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spiritlm_pl.generation import GenerationSettings, LoadOptions, SpiritLM

    monkeypatch.setattr("sys.argv", ["spiritlm", "import-release", str(whole_release.folder), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    options, settings = LoadOptions(dtype="float32"), GenerationSettings(greedy=True, max_new_tokens=20)
    for variant in whole_release.variants:
        original = SpiritLM.from_pretrained(whole_release.folder, variant, options)
        imported = SpiritLM.from_pretrained(tmp_path / "out" / variant, None, options)
        assert imported.vocabulary == original.vocabulary
        for prompt in ("[Text]the cat[Speech]", "[Speech][Hu3][Hu7]"):
            one, other = (model.generate(prompt, "speech", settings)[0] for model in (original, imported))
            assert [piece.tokens for piece in one] == [piece.tokens for piece in other]
            assert all(torch.equal(a.waveform, b.waveform) for a, b in zip(one, other, strict=True))


def test_parts_come_in_alone(copy: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spiritlm_pl.tokenizers.style import StoredFeatures
    from spiritlm_pl.vocoder.vocoder import Vocoder

    for part, out, more in (
        (copy.speech / HUBERT, "features", ["--layer=3"]),
        (copy.speech / PARTS[-1].split("/")[0], "vocoder", []),
    ):
        monkeypatch.setattr("sys.argv", ["spiritlm", "import-release", str(part), str(tmp_path / out), *more])
        with pytest.raises(SystemExit, match="0"):
            main()
    features: Any = StoredFeatures(features=str(tmp_path / "features")).build()
    assert features.config.layer == 3
    assert isinstance(load_network(tmp_path / "vocoder", "vocoder"), Vocoder)


def test_a_language_model_that_is_damaged(whole_release: Release, tmp_path: Path) -> None:
    from spiritlm_pl.interop.release.importing import import_lm
    from spiritlm_pl.interop.release.language_model import read_lm

    source, out = tmp_path / "lm", tmp_path / "out"
    shutil.copytree(whole_release.lm("expressive"), source, copy_function=shutil.copyfile)
    weights, config = source / "pytorch_model.bin", source / "config.json"
    source.chmod(0o755)
    whole = torch.load(weights, weights_only=True)
    written = weights.read_bytes()

    def refused(error: type[Exception], message: str) -> None:
        for read in (lambda: read_lm(source), lambda: import_lm(source, out)):
            with pytest.raises(error, match=message) as told:
                read()
            assert "\n" not in str(told.value)

    torch.save({name: value for name, value in whole.items() if "layers.1.mlp.up_proj" not in name}, weights)
    refused(ValueError, "lacks model.layers.1.mlp.up_proj.weight")
    torch.save({**whole, "model.embed_tokens.weight": torch.zeros(400, 24)}, weights)
    refused(ValueError, r"embed_tokens.weight of .* must have shape .* but has \(400, 24\) instead")
    weights.write_bytes(written[:5000])
    refused(ValueError, "pytorch_model.bin is damaged")
    torch.save({"model.norm.weight": Evil(tmp_path / "made")}, weights)
    refused(ValueError, "tensors and plain values, but .*pytorch_model.bin does not")
    assert not (tmp_path / "made").exists() and not out.exists()
    weights.unlink()
    refused(FileNotFoundError, "pytorch_model.bin is not there")
    weights.write_bytes(written)
    config.write_text(config.read_text()[:-20])
    refused(ValueError, "config.json must be JSON")


def test_weights_that_are_no_numbers(copy: Release, tmp_path: Path) -> None:
    from spiritlm_pl.interop.release.importing import import_release
    from spiritlm_pl.interop.release.language_model import read_lm

    weights = copy.lm("expressive") / "pytorch_model.bin"
    found = torch.load(weights, weights_only=True)
    torch.save({**found, "model.norm.weight": found["model.norm.weight"] * torch.nan}, weights)
    for read in (
        lambda: read_lm(weights.parent),
        lambda: list(import_release(copy, tmp_path / "out", ("expressive",))),
    ):
        with pytest.raises(ValueError, match="weights must be finite, but model.norm.weight of .* is not"):
            read()
    change(
        copy.vocoder("expressive") / "generator.pt",
        "generator",
        lambda old: {**old, "dict.weight": torch.full_like(old["dict.weight"], torch.inf)},
    )
    with pytest.raises(ValueError, match="weights must be finite, but .* of .*generator.pt is not"):
        load_vocoder(copy.folder)
    assert not (tmp_path / "out").exists()


def test_parts_that_do_not_fit_together(copy: Release, tmp_path: Path) -> None:
    from spiritlm_pl.interop.release.importing import import_release

    vocoder = copy.vocoder("expressive")
    described = json.loads((vocoder / "config.json").read_text())
    change(vocoder / "generator.pt", "generator", lambda old: {**old, "dict.weight": old["dict.weight"][:300]})
    (vocoder / "config.json").write_text(json.dumps({**described, "num_embeddings": 300}))
    with pytest.raises(ValueError, match="num_units of the vocoder must be at least the language model's 500"):
        list(import_release(copy, tmp_path / "out", ("expressive",)))
    assert not (tmp_path / "out").exists()
