"""Folders of pairs: what is written is read, damage is told, and reference log-likelihoods are of one model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.folder import load_lm, save_lm
from spiritlm_pl.lm.identity import model_hash
from spiritlm_pl.preferences import folder as folders
from spiritlm_pl.preferences import reference as references
from spiritlm_pl.preferences.folder import MANIFEST, read_manifest, read_pairs
from spiritlm_pl.preferences.pairs import BadPairError, Pair, Pairs, check_pair
from spiritlm_pl.preferences.reference import add_reference
from spiritlm_pl.preferences.store import SKIPPED, report, store


def make_pairs(vocabulary, number: int = 9) -> list[Pair]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(2, 9, (number, 3))
    return [
        Pair(f"ä-{place}", *(rng.integers(3, vocabulary.num_tokens, size).tolist() for size in sizes[place]))
        for place in range(number)
    ]


@pytest.fixture
def lm(tiny_lm, tmp_path):
    network, text, vocabulary = tiny_lm
    return save_lm(tmp_path / "lm", network, vocabulary, text)


@pytest.fixture
def made(tiny_lm, tmp_path, monkeypatch):
    """A folder of nine pairs, in files of four."""
    monkeypatch.setattr(folders, "PAIRS_PER_FILE", 4)
    _, text, vocabulary = tiny_lm
    skipped = [Skipped("a", "b", "it is empty")]
    found = make_pairs(vocabulary)
    manifest = store(tmp_path / "pairs", found, skipped, vocabulary, text.fingerprint, 0.3, {"source": "test"})
    return tmp_path / "pairs", manifest, found


def test_pairs_come_back(made) -> None:
    folder, manifest, pairs = made
    read = {split: [*read_pairs(folder, split)] for split in ("train", "validation")}
    assert sorted((*read["train"], *read["validation"]), key=lambda pair: pair.id) == pairs
    assert manifest.num_pairs("train") == len(read["train"]) > 4 and manifest.num_pairs("validation") > 0
    assert read_pairs(folder, "train").reference is None
    assert "train-00001.safetensors" in {path.name for path in folder.iterdir()}
    assert report(folder, manifest, [Skipped("a", "b", "it is empty")])[-1].split(maxsplit=1) == ["1", "it is empty"]
    assert (folder / SKIPPED).read_text().count("\n") == 1


def test_pairs_of_one_prompt_go_into_one_split(tiny_lm, tmp_path) -> None:
    _, _, vocabulary = tiny_lm
    pairs = [replace(pair, id=f"{pair.id}-{copy}") for pair in make_pairs(vocabulary, 40) for copy in range(3)]
    store(tmp_path, pairs, [], vocabulary, None, 0.5, {})
    prompts = [{tuple(pair.prompt) for pair in read_pairs(tmp_path, split)} for split in ("train", "validation")]
    assert prompts[0] and prompts[1] and not prompts[0] & prompts[1]


def test_reference_is_that_of_each_document(made, lm, tiny_lm) -> None:
    folder, manifest, _ = made
    network, _, _ = load_lm(lm)
    added = add_reference(folder, manifest, network, lm, batch_tokens=64)
    assert added.reference is not None and added.reference["model"] == model_hash(lm)
    for split in ("train", "validation"):
        found = read_pairs(folder, split)
        assert found.reference is not None
        for pair, values in zip(found, found.reference, strict=True):
            for continuation, value in zip((pair.chosen, pair.rejected), values, strict=True):
                tokens = torch.tensor([[*pair.prompt, *continuation]])
                with torch.no_grad():
                    logs = network(input_ids=tokens).logits[0].log_softmax(-1)[:-1]
                expected = logs.gather(1, tokens[0, 1:, None])[len(pair.prompt) - 1 :].sum()
                assert value == pytest.approx(float(expected), abs=1e-4)


def test_interrupted_reference_goes_on_with_what_is_left(made, lm, monkeypatch) -> None:
    folder, manifest, _ = made
    network, _, _ = load_lm(lm)
    computed = []
    compute = references.pair_likelihoods

    def stop_at_second(network, pairs, batch_tokens):
        computed.append(len(pairs))
        if len(computed) == 2:
            raise KeyboardInterrupt
        return compute(network, pairs, batch_tokens)

    monkeypatch.setattr(references, "pair_likelihoods", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        add_reference(folder, manifest, network, lm, 64)
    assert read_manifest(folder).reference is None and read_pairs(folder, "train").reference is None
    add_reference(folder, manifest, network, lm, 64)
    assert sum(computed[2:]) == 9 - computed[0]
    assert read_pairs(folder, "train").reference is not None
    before = len(computed)
    add_reference(folder, read_manifest(folder), network, lm, 64)
    assert len(computed) == before  # all was there


def test_another_model_has_another_hash_and_is_computed_anew(made, lm, tiny_lm, tmp_path) -> None:
    folder, manifest, _ = made
    network, text, vocabulary = load_lm(lm)[0], tiny_lm[1], tiny_lm[2]
    first = add_reference(folder, manifest, network, lm, 64)
    with torch.no_grad():
        network.get_output_embeddings().weight[5] += 1
    other = save_lm(tmp_path / "other", network, vocabulary, text)
    second = add_reference(folder, first, network, other, 64)
    assert first.reference["model"] != second.reference["model"]
    assert first.reference["model"] == model_hash(lm)
    exported = export_lm(lm, tmp_path / "exported", dtype=torch.bfloat16)
    assert model_hash(exported) == model_hash(lm)  # the same model, stored otherwise
    values = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps(values | {"rms_norm_eps": 0.5, "use_cache": False}))
    (exported / "SHA256SUMS").unlink(missing_ok=True)
    assert model_hash(exported) != model_hash(lm)  # the same weights, which compute otherwise
    with pytest.raises(ValueError, match="must have a readable config.json"):
        model_hash(folder)  # of pairs


def test_a_pair_longer_than_the_positions_is_refused(tiny_lm, lm, tmp_path) -> None:
    network, _, vocabulary = load_lm(lm)
    long = [Pair("long", [5] * 120, [6] * 9, [7])]
    manifest = store(tmp_path / "pairs", long, [], vocabulary, None, 0.0, {})
    with pytest.raises(ValueError, match="at most the 128 tokens .* those of long have 129"):
        add_reference(tmp_path / "pairs", manifest, network, lm, 64)


@pytest.mark.parametrize("name", ["train-00000.safetensors", "reference-train-00000.safetensors"])
def test_damage_is_told(made, lm, name) -> None:
    folder, manifest, _ = made
    add_reference(folder, manifest, load_lm(lm)[0], lm, 64)
    data = bytearray((folder / name).read_bytes())
    data[-1] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"{name} must have SHA-256"):
        read_pairs(folder, "train")
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        read_pairs(folder, "train")


@pytest.mark.parametrize("whole", [True, False])
def test_damaged_log_likelihoods_are_computed_anew(made, lm, whole) -> None:
    folder, manifest, _ = made
    network = load_lm(lm)[0]
    complete = add_reference(folder, manifest, network, lm, 64)
    before = read_pairs(folder, "train").reference
    name = folder / "reference-train-00000.safetensors"
    data = bytearray(name.read_bytes())
    data[-2] ^= 0x40  # the value is another number, and the file can still be read
    name.write_bytes(data)
    add_reference(folder, complete if whole else manifest, network, lm, 64)  # the latter as if it had been interrupted
    np.testing.assert_array_equal(read_pairs(folder, "train").reference, before)


def test_a_folder_without_manifest_and_a_damaged_one_are_refused(made, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="spiritlm prepare preferences"):
        read_manifest(tmp_path)
    (made[0] / MANIFEST).write_text('{"format": 1}')
    with pytest.raises(ValueError, match="damaged"):
        read_manifest(made[0])


def test_files_of_an_earlier_run_go(made, tiny_lm) -> None:
    folder, _, pairs = made
    store(folder, pairs[:2], [], tiny_lm[2], None, 0.0, {})
    assert sorted(path.name for path in folder.glob("*.safetensors")) == ["train-00000.safetensors"]


def test_bad_pairs_are_refused(tiny_lm) -> None:
    vocabulary = tiny_lm[2]
    for pair, told in (
        (Pair("a", [3], [4, 5], [4, 5]), "same tokens"),
        (Pair("a", [3], [], [4]), "chosen must hold tokens"),
        (Pair("a", [], [3], [4]), "prompt must hold tokens"),
        (Pair("a", [3], [vocabulary.num_tokens], [4]), "ids in"),
        (Pair("a", [3], [-1], [4]), "ids in"),
    ):
        with pytest.raises(BadPairError, match=told):
            check_pair(pair, vocabulary)


def test_no_pair_at_all_is_told_with_the_reason(tiny_lm, tmp_path) -> None:
    skipped = [Skipped("a", "b", "they are equal"), Skipped("c", "b", "they are equal"), Skipped("d", "b", "empty")]
    with pytest.raises(ValueError, match="of 3 skipped, 2: they are equal"):
        store(tmp_path, [], skipped, tiny_lm[2], None, 0.0, {})


def test_concatenation(tiny_lm) -> None:
    pairs = make_pairs(tiny_lm[2])
    parts = [Pairs.of(pairs[:4], np.uint16), Pairs.of(pairs[4:], np.uint16)]
    assert [*Pairs.concatenate(parts, np.uint16)] == pairs
    assert len(Pairs.concatenate([], np.uint16)) == 0
    assert [pair.num_tokens for pair in pairs] == Pairs.of(pairs, np.uint16).lengths.tolist()
    first = replace(parts[0], reference=np.arange(8, dtype=np.float32).reshape(4, 2))
    joined = Pairs.concatenate([Pairs.of([], np.uint16), first, Pairs.of([], np.uint16)], np.uint16)
    assert joined.reference.tolist() == first.reference.tolist() and [*joined] == pairs[:4]
    with pytest.raises(ValueError, match="1 of 2 parts have them"):
        Pairs.concatenate([first, parts[1]], np.uint16)
