import json
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch

from spiritlm_pl.runtime.checkpoint import CONFIG_FILE, WEIGHTS_FILE, load_network, save_network
from spiritlm_pl.runtime.checksums import (
    CHECKSUMS,
    check_archive,
    check_folder,
    checked,
    forget,
    read_object,
    recorded,
    values_of,
)
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig


def flip(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_network(tmp_path / "clusters", KMeans(KMeansConfig(num_units=4, feature_dim=3)), "quantizer")


def test_other_tools_can_check_it(folder: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", CHECKSUMS], cwd=folder, check=True)
    load_network(folder, "quantizer")


@pytest.mark.parametrize("name", [WEIGHTS_FILE, CONFIG_FILE])
def test_one_bit_is_noticed(folder: Path, name: str) -> None:
    flip(folder / name)
    with pytest.raises(ValueError, match=rf"{name} must have SHA-256 .* remove its line from {CHECKSUMS}"):
        load_network(folder, "quantizer")
    with pytest.raises(ValueError, match=f"{name} must have SHA-256"):
        check_folder(folder)


def test_changed_on_purpose(folder: Path) -> None:
    description = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(description | {"note": "mine"}))
    lines = (folder / CHECKSUMS).read_text().splitlines()
    (folder / CHECKSUMS).write_text("\n".join(line for line in lines if CONFIG_FILE not in line))
    load_network(folder, "quantizer")
    (folder / CHECKSUMS).unlink()
    load_network(folder, "quantizer")


def test_a_missing_file_and_a_damaged_list_are_named(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"{WEIGHTS_FILE} is missing, but {CHECKSUMS}"):
        load_network(folder, "quantizer")
    (folder / CHECKSUMS).write_bytes(b"\xff")
    with pytest.raises(ValueError, match=f"{CHECKSUMS} must have a checksum and a name in each line, but line 1 is"):
        load_network(folder, "quantizer")


def test_an_interrupted_write_leaves_nothing_to_mistake(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with recorded(tmp_path, name):
            (tmp_path / name).write_text("1")
    with pytest.raises(KeyboardInterrupt), recorded(tmp_path, "a"):
        (tmp_path / "a").write_text("2")
        raise KeyboardInterrupt
    assert checked(tmp_path / "a").read_text() == "2"  # its old checksum is gone
    flip(tmp_path / "b")
    with pytest.raises(ValueError, match="b must have SHA-256"):
        checked(tmp_path / "b")
    check_folder("a name on the hub")


def test_what_others_write_meanwhile_stays_and_what_is_gone_is_left_out(tmp_path: Path) -> None:
    for name in ("gone", "a"):
        with recorded(tmp_path, name):
            (tmp_path / name).write_text(name)
    with recorded(tmp_path, "b"):
        (tmp_path / "b").write_text("b")
        (tmp_path / "gone").unlink()
        with recorded(tmp_path, "a"):
            (tmp_path / "a").write_text("another")
    check_folder(tmp_path)
    assert {line.split()[1] for line in (tmp_path / CHECKSUMS).read_text().splitlines()} == {"a", "b"}
    forget(tmp_path, "a", "b")
    assert not (tmp_path / CHECKSUMS).exists()


@pytest.mark.parametrize("content", ["[1]", "{", "", "\udcff", '{"a": 1'])
def test_what_is_no_object_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=f"{path} must be as this package wrote it, but is damaged"):
        read_object(path)


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("b"), OSError("of pyarrow"), RuntimeError("of torch")])
def test_wrong_values_are_of_the_file(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} must be as"), values_of(tmp_path):
        raise error


@pytest.mark.parametrize("value", [[4], None, "4", True, 4.0, 10**30])
def test_values_of_another_type_in_a_configuration_are_named(folder: Path, value: object) -> None:
    path = folder / CONFIG_FILE
    description = json.loads(path.read_text())
    description["config"]["num_units"] = value
    path.write_text(json.dumps(description))
    forget(folder, CONFIG_FILE)
    with pytest.raises(ValueError, match=f"{path} must be .* damaged: num_units must be (of type int|below 21)"):
        load_network(folder, "quantizer")


def test_archives_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"weights": torch.arange(1000)}, path)
    check_archive(path)
    for damaged in (path.read_bytes()[:-30], b""):
        (tmp_path / "cut.ckpt").write_bytes(damaged)
        with pytest.raises(ValueError, match="but .*cut.ckpt cannot be read"):
            check_archive(tmp_path / "cut.ckpt")
    data = path.read_bytes()
    flip(path, data.index(torch.arange(1000).numpy().tobytes()[:64]) + 30)
    with pytest.raises(ValueError, match=r"but .*data/0 in .*last.ckpt is damaged"):
        check_archive(path)


def test_every_bit_of_the_directory_of_an_archive(tmp_path: Path) -> None:
    path, damaged = tmp_path / "last.ckpt", tmp_path / "damaged.ckpt"
    weights = torch.arange(4)
    torch.save(weights, path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        begin = archive.start_dir
    refused = 0
    for bit in range(8 * begin, 8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(changed)
        try:
            check_archive(damaged)
        except ValueError as error:
            assert "damaged.ckpt" in str(error) and "\n" not in str(error), bit
            refused += 1
        else:
            assert torch.equal(torch.load(damaged), weights), bit
    assert refused > 1000


@pytest.mark.parametrize("option", ["--binary", "--tag", "--text", "./"])
def test_lists_of_other_tools_are_read(option: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/a"):
        (tmp_path / name).write_text(name)
    names = ["./a", "./sub/a"] if option == "./" else [option, "a", "sub/a"]
    made = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    other = f"SHA512 (a) = {'0' * 128}\nMD5 (a) = {'0' * 32}\n"
    (tmp_path / CHECKSUMS).write_text(f"# of my model\n\n{made}{other}Hash: SHA256\n")
    checked(tmp_path / "a")
    check_folder(tmp_path)
    flip(tmp_path / "sub/a")
    with pytest.raises(ValueError, match="sub/a must have SHA-256"):
        check_folder(tmp_path)
    flip(tmp_path / "a")
    with pytest.raises(ValueError, match="a must have SHA-256"):
        checked(tmp_path / "a")


def test_a_damaged_line_is_not_left_out(folder: Path) -> None:
    whole = (folder / CHECKSUMS).read_bytes()
    for place in range(64 + 2):
        (folder / CHECKSUMS).write_bytes(whole)
        flip(folder / CHECKSUMS, place)
        with pytest.raises(ValueError, match="must have (a checksum and a name|SHA-256)"):
            check_folder(folder)
