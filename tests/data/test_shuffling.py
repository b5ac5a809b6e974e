"""Blocks from sorted runs: every document once, in one order, however the work is divided."""

from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.data.blocks import open_block
from spiritlm_pl.data.documents import Document, Documents, WordIds
from spiritlm_pl.data.rng import derive
from spiritlm_pl.data.runs import PLACES, Run, Sorted, place_bounds, write_run
from spiritlm_pl.data.shuffling import GroupWriter, groups_of
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=300, num_units=7)
SEED = 3


def documents(keys: list[int]) -> list[Document]:
    return [Document(key, [WordIds([key % 251] * (key % 9 + 1), [key % 7])] * (1 + key % 3)) for key in keys]


def write_runs(folder: Path, keys: list[int], cuts: list[int], shard: int | None = None) -> list[Path]:
    """Write documents of these keys in several runs, each with the numbers of the documents as those of their input."""
    numbers = np.arange(len(keys), dtype=np.uint32) if shard is None else np.full(len(keys), shard, dtype=np.uint32)
    paths = []
    for first, last in zip([0, *cuts], [*cuts, len(keys)], strict=True):
        table = Documents.from_documents(documents(keys)[first:last])
        paths.append(folder / f"{len(cuts)}-{first}.safetensors")
        write_run(paths[-1], Sorted.of(table, numbers[first:last], SEED))
    return paths


def blocks(folder: Path, runs: list[Path], keys: list[int], block_tokens: int) -> list[list[int]]:
    tokens = sum(one.num_tokens for one in documents(keys))
    groups = groups_of("train/text", runs, tokens, block_tokens)
    write = GroupWriter(folder, folder / "records", VOCABULARY)
    entries = [entry for group in groups for entry in write(group)]
    return [open_block(folder / "train/text", entry).keys.tolist() for entry in entries]


@pytest.mark.parametrize("block_tokens", [10**9, 300, 7])
def test_blocks_do_not_depend_on_the_runs(tmp_path: Path, block_tokens: int) -> None:
    keys = [number * 7919 for number in range(200)]
    whole = blocks(tmp_path / "a", write_runs(tmp_path, keys, []), keys, block_tokens)
    parts = blocks(tmp_path / "b", write_runs(tmp_path, keys, [17, 18, 120]), keys, block_tokens)
    assert whole == parts
    files = [sorted((tmp_path / name / "train/text").iterdir()) for name in "ab"]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(*files, strict=True))
    order = [key for part in whole for key in part]
    assert order == sorted(keys, key=lambda key: derive(derive(0, SEED), key)) and order != keys


def test_blocks_are_of_about_equal_size(tmp_path: Path) -> None:
    keys = list(range(0, 40_000, 10))
    found = blocks(tmp_path, write_runs(tmp_path, keys, [1000]), keys, 5_000)
    sizes = [sum(one.num_tokens for one in documents(part)) for part in found]
    assert len(sizes) > 5 and max(sizes) < 1.25 * 5_000 and min(sizes) > 0.6 * 5_000


def test_documents_of_equal_keys_stay_in_the_order_of_their_inputs(tmp_path: Path) -> None:
    runs = []
    for shard in (2, 0, 1):
        table = Documents.from_documents([Document(5, [WordIds([10 * shard + n], [])]) for n in range(2)])
        runs.append(tmp_path / f"{shard}.safetensors")
        write_run(runs[-1], Sorted.of(table, np.full(2, shard, dtype=np.uint32), SEED))
    (group,) = groups_of("train/text", runs, 6, 100)
    (entry,) = GroupWriter(tmp_path, tmp_path / "records", VOCABULARY)(group)
    assert open_block(tmp_path / "train/text", entry).tokens.tolist() == [0, 1, 10, 11, 20, 21]


def test_a_range_of_a_run_is_that_range_alone(tmp_path: Path) -> None:
    keys = list(range(50))
    (path,) = write_runs(tmp_path, keys, [])
    run = Run(path)
    whole = run.between()
    found = [run.between(low, high) for low, high in zip(*_neighbours(place_bounds(7)), strict=True)]
    assert Documents.concatenate([part.table for part in found]).keys.tolist() == whole.table.keys.tolist()
    joined = Sorted.merge(found).table
    for name in ("tokens", "text_counts", "speech_counts", "word_counts"):
        assert getattr(joined, name).tolist() == getattr(whole.table, name).tolist()
    assert len(run.between(PLACES - 1, PLACES).table) == 0


@pytest.mark.parametrize("number", [0, 1, 1000])
def test_uneven_places_and_cut_runs(tmp_path: Path, number: int) -> None:
    """Places that are no hashes are found as well; a run that is cut off is an error that names it."""
    table, path = Documents.from_documents(documents(list(range(number)))), tmp_path / "run.safetensors"
    places = np.arange(number, dtype=np.uint64) ** 6
    write_run(path, Sorted(table, places, np.zeros(number, np.uint32)))
    bounds = [0, 1, 5**6, 5**6 + 1, 700**6, 999**6, PLACES]
    run = Run(path)
    for low, high in zip(*_neighbours(bounds), strict=True):
        expected = [key for key in range(number) if low <= key**6 < high]
        assert run.between(low, high).table.keys.tolist() == expected
    if number:
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"run.safetensors must be as it was written, but is cut off"):
            run.between()
        path.write_bytes(b"\5\0\0\0\0\0\0\0[1,2]")
        with pytest.raises(ValueError, match=r"run.safetensors must be as this package wrote it, but is damaged"):
            Run(path)


def _neighbours(bounds: list[int]) -> tuple[list[int], list[int]]:
    return bounds[:-1], bounds[1:]


def test_a_complete_group_is_not_made_again(tmp_path: Path) -> None:
    keys = list(range(20))
    runs = write_runs(tmp_path, keys, [])
    first = blocks(tmp_path, runs, keys, 10**9)
    runs[0].unlink()
    assert blocks(tmp_path, runs, keys, 10**9) == first
