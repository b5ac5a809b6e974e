"""Audio that lies in Parquet files, as data sets of the Hugging Face hub keep it.

It is written once to a folder that the caller gives, one file a recording. Bytes kept in items would need as much
memory as the data set has audio (gigabytes for sBLIMP), and reading a single row later decompresses its whole row
group, which batches by length would do for nearly each item. Files are read in any order and by any number of
processes, and every part that takes the path of an audio file takes these.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.runtime.provenance import atomic_path

INDEX = "audio.json"
_SUFFIXES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}
_ROWS = 8  # rows that are held at a time
Found: TypeAlias = dict[str, Path | str]  # by column, the path of the audio, or the reason why there is none


def parquet_files(files: Mapping[Path, Sequence[Path]]) -> list[Path]:
    """Return the Parquet files among the files of all folders."""
    return [path for inner in files.values() for path in inner if path.suffix == ".parquet"]


def parquet_columns(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file.

    Raises:
        ValueError: if it is damaged; the message names the file.
    """
    return list(_schema(path).names)


def num_rows(path: Path) -> int:
    """Return the number of rows of a Parquet file."""
    return sum(_group_sizes(path))


def label_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of some columns, which must not be those of audio."""
    for batch in _batches(path, 1024, columns=list(columns)):
        yield from batch.to_pylist()


def check_cache(cache: str | Path | None, what: str) -> Path:
    """Return the folder that audio is written to.

    Raises:
        ValueError: if none is given.
    """
    if cache is None:
        raise ValueError(f"cache must be a folder to write audio to, since {what}, but none is given")
    return Path(cache)


def extract_audio(path: Path, columns: Sequence[str], rows: Sequence[int], cache: Path) -> list[Found]:
    """Write the audio of some rows to files, or find them there from an earlier time.

    Args:
        path: Parquet file.
        columns: names of its columns of audio: bytes, or a struct of bytes and path as the hub has.
        rows: numbers of the rows, from 0.
        cache: folder in which a folder for this file, as it is now, is made.

    Returns:
        For each of the rows, the paths of its audio.

    Raises:
        ValueError: if a column holds something else than audio.
        OSError: if files cannot be written.
    """
    stat = path.stat()
    digest = sha256(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    folder = cache / f"{plain_name(path.stem)}-{digest}"
    known = _read_index(folder)
    wanted = [row for row in rows if not all(_there(known, row, column, folder) for column in columns)]
    if wanted:
        _check_audio(path, columns)
        folder.mkdir(parents=True, exist_ok=True)
        for column in columns:
            for row, cell in _audio_cells(path, column, set(wanted)):
                known.setdefault(str(row), {})[column] = _write(folder, f"{row}_{column}", cell, path)
        with atomic_path(folder / INDEX) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
    return [{column: _found(known[str(row)][column], folder) for column in columns} for row in rows]


def _schema(path: Path) -> Any:
    import pyarrow as pa  # which folders of files do not need
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} must be a Parquet file, but cannot be read ({error})") from error


def _group_sizes(path: Path) -> list[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{path} must be a Parquet file, but cannot be read ({error})") from error
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _check_audio(path: Path, columns: Sequence[str]) -> None:
    import pyarrow as pa

    schema = _schema(path)
    for column in columns:
        kind = schema.field(column).type
        fields = {kind.field(place).name for place in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
        if "bytes" not in fields and not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise ValueError(f"column {column} of {path} must hold audio as bytes, but holds {kind} instead")


def _batches(path: Path, size: int, **options: Any) -> Iterator[Any]:
    """Yield batches of rows; an error in the file names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            yield from file.iter_batches(size, use_threads=False, **options)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a Parquet file, but cannot be read ({error})") from error


def _audio_cells(path: Path, column: str, wanted: set[int]) -> Iterator[tuple[int, Any]]:
    """Yield some cells of one column; a single row group of it is in memory at a time."""
    start = 0
    for group, size in enumerate(_group_sizes(path)):
        if not wanted.isdisjoint(range(start, start + size)):
            row = start
            for batch in _batches(path, _ROWS, row_groups=[group], columns=[column]):
                for place in range(batch.num_rows):
                    if row + place in wanted:
                        yield row + place, batch.column(0)[place].as_py()
                row += batch.num_rows
        start += size


def _write(folder: Path, name: str, cell: Any, source: Path) -> dict[str, str]:
    """Write one recording; return its file, or the reason why there is none."""
    content, named_path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
    if content:
        suffix = next((suffix for mark, suffix in _SUFFIXES.items() if content.startswith(mark)), "")
        path = folder / plain_name(name + (suffix or Path(named_path or "").suffix))
        with atomic_path(path, synced=False) as temporary:
            temporary.write_bytes(content)
            state = source.stat()  # its time makes it the same item whichever process writes it
            os.utime(temporary, ns=(state.st_atime_ns, state.st_mtime_ns))
        return {"file": path.name}
    if named_path and (source.parent / named_path).is_file():
        return {"file": str((source.parent / named_path).resolve())}
    where = f", only the path {named_path}" if named_path else ""
    return {"reason": f"has no audio in {name.split('_', 1)[1]}{where}"}


def _read_index(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    try:
        return dict(json.loads((folder / INDEX).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _there(known: Mapping[str, Any], row: int, column: str, folder: Path) -> bool:
    entry = known.get(str(row), {}).get(column)
    return entry is not None and ("file" not in entry or (folder / entry["file"]).is_file())


def _found(entry: Mapping[str, str], folder: Path) -> Path | str:
    return folder / entry["file"] if "file" in entry else entry["reason"]
