"""Audio in Parquet files: written once, found again, other after another download."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spiritlm_pl.benchmarks.readers import parquet
from spiritlm_pl.corpora.audio import load_waveform

Write = Callable[..., Path]


def files_of(found: list[parquet.Found]) -> list[Path]:
    return [path for one in found for path in one.values() if isinstance(path, Path)]


def test_audio_is_written_once(tmp_path: Path, write_parquet: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"x": True, "n": row} for row in range(10)])
    first = files_of(parquet.extract_audio(path, ["x"], range(10), tmp_path / "cache"))
    assert [one.read_bytes()[-1] for one in first] == list(range(10))
    assert load_waveform(first[4]).shape == (1600,)
    times = [one.stat().st_ctime_ns for one in first]
    assert {one.stat().st_mtime_ns for one in first} == {path.stat().st_mtime_ns}  # the same for every process
    first[2].unlink()
    again = files_of(parquet.extract_audio(path, ["x"], range(10), tmp_path / "cache"))
    assert again == first and first[2].read_bytes()[-1] == 2
    assert [a == b for a, b in zip(times, [one.stat().st_ctime_ns for one in again], strict=True)].count(False) == 1
    monkeypatch.setattr(parquet, "_audio_cells", lambda *_: pytest.fail("was read again"))
    assert files_of(parquet.extract_audio(path, ["x"], [3, 1], tmp_path / "cache")) == [first[3], first[1]]


def test_another_file_of_the_same_name_has_audio_of_its_own(tmp_path: Path, write_parquet: Write) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"x": True}])
    [before] = files_of(parquet.extract_audio(path, ["x"], [0], tmp_path / "cache"))
    write_parquet(path, [{"x": True}])  # of the same size
    [after] = files_of(parquet.extract_audio(path, ["x"], [0], tmp_path / "cache"))
    assert before != after and before.read_bytes() != after.read_bytes()


def test_an_interrupted_run_is_finished_by_the_next(
    tmp_path: Path, write_parquet: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"x": True} for _ in range(5)])

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            parquet.extract_audio(path, ["x"], range(5), tmp_path / "cache")
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file()]
    assert len(files_of(parquet.extract_audio(path, ["x"], range(5), tmp_path / "cache"))) == 5


def test_columns_of_other_kinds_and_damaged_files_are_refused(tmp_path: Path, write_parquet: Write) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"x": "text"}])
    with pytest.raises(ValueError, match="column x of .* must hold audio as bytes, but holds string"):
        parquet.extract_audio(path, ["x"], [0], tmp_path / "cache")
    path.write_bytes(b"PAR1 and nothing more")
    for read in (parquet.parquet_columns, parquet.num_rows):
        with pytest.raises(ValueError, match="a.parquet must be a Parquet file, but cannot be read"):
            read(path)
    write_parquet(path, [{"x": True}] * 9)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36  # the head of the first page
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.parquet must be a Parquet file, but cannot be read"):
        parquet.extract_audio(path, ["x"], range(9), tmp_path / "cache")


def test_plain_bytes_and_paths_beside_the_file(tmp_path: Path, noise: Callable[[Path], Path]) -> None:
    sound = noise(tmp_path / "beside.wav")
    cells = [{"bytes": None, "path": "beside.wav"}, {"bytes": None, "path": "nowhere.wav"}]
    pq.write_table(pa.table({"x": cells, "y": [sound.read_bytes()] * 2}), tmp_path / "a.parquet")
    first, second = parquet.extract_audio(tmp_path / "a.parquet", ["x", "y"], [0, 1], tmp_path / "cache")
    assert first["x"] == sound and isinstance(first["y"], Path) and first["y"].read_bytes() == sound.read_bytes()
    assert second["x"] == "has no audio in x, only the path nowhere.wav"
