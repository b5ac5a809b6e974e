"""Values of one column of Parquet files and of Arrow files, as `datasets` writes them, a row at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from spiritlm_pl.corpora.text_files.files import Piece, TextFile
from spiritlm_pl.corpora.text_files.lines import is_damage, raw

ROWS = 256  # rows of a Parquet file that are decoded at a time
PAGE_BUFFER = 1 << 20
ARROW_FILE = b"ARROW1"  # first bytes of an Arrow file with a footer; one without is a stream


def table_values(piece: Piece, field: str) -> Iterator[tuple[int, Any]]:
    """Yield number and value of the rows of a piece; a string that is not UTF-8 comes as bytes.

    Args:
        piece: row groups of a Parquet file, or record batches of an Arrow file.
        field: name of the column.

    Raises:
        OSError: if the file is damaged.
    """
    with _errors_of_arrow():
        found = _parquet_columns if piece.file.kind == "parquet" else _arrow_columns
        for first, column in found(piece, field):
            for row, value in enumerate(column, first):
                try:
                    yield row, value.as_py()
                except UnicodeDecodeError:
                    yield row, value.as_buffer().to_pybytes()


def table_rows(file: TextFile) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table with all their columns.

    Raises:
        OSError: if the file is damaged.
    """
    with _errors_of_arrow():
        if file.kind == "parquet":
            from pyarrow.parquet import ParquetFile

            with _stored(file) as stored, ParquetFile(stored, buffer_size=PAGE_BUFFER, pre_buffer=False) as table:
                for batch in table.iter_batches(ROWS):
                    yield from batch.to_pylist()
        else:
            for batch in _arrow_batches(file, None):
                for first in range(0, batch.num_rows, ROWS):
                    yield from batch.slice(first, ROWS).to_pylist()


def check_column(file: TextFile, field: str) -> None:
    """Check that a table has a column of texts.

    Raises:
        ValueError: if it has not, or is no such table.
    """
    try:
        with _errors_of_arrow():
            schema = _parquet_schema(file) if file.kind == "parquet" else _arrow_reader(file).schema
    except OSError as error:
        if not is_damage(error):
            raise
        raise ValueError(f"text must be {file.kind} files, but {file.path} is not: {error}") from None
    if field not in schema.names:
        names = ", ".join(schema.names)
        raise ValueError(f"text_field must be a column of the data, but {file.path} has {names}, not {field!r}")
    kind = schema.field(field).type
    if not _holds_text(kind):
        raise ValueError(f"text_field must be a column of texts, but {field!r} of {file.path} holds {kind}")


def table_sizes(file: TextFile) -> list[int]:
    """Return the sizes of the parts that a table is read in, in bytes: row groups, or record batches."""
    with _errors_of_arrow():
        if file.kind == "parquet":
            from pyarrow.parquet import ParquetFile

            with _stored(file) as stored, ParquetFile(stored) as table:
                groups = table.metadata.num_row_groups
                return [table.metadata.row_group(group).total_byte_size for group in range(groups)]
        return [batch.nbytes for batch in _arrow_batches(file, None)]


def _parquet_columns(piece: Piece, field: str) -> Iterator[tuple[int, Any]]:
    from pyarrow.parquet import ParquetFile

    with _stored(piece.file) as stored, ParquetFile(stored, buffer_size=PAGE_BUFFER, pre_buffer=False) as table:
        end = table.metadata.num_row_groups if piece.end is None else piece.end
        first = sum(table.metadata.row_group(group).num_rows for group in range(piece.begin))
        for batch in table.iter_batches(ROWS, row_groups=list(range(piece.begin, end)), columns=[field]):
            yield first, batch.column(0)
            first += batch.num_rows


def _arrow_columns(piece: Piece, field: str) -> Iterator[tuple[int, Any]]:
    first = 0
    for number, batch in enumerate(_arrow_batches(piece.file, field)):
        if piece.end is not None and number >= piece.end:
            return
        if number >= piece.begin:
            yield first, batch.column(field)
        first += batch.num_rows


def _arrow_batches(file: TextFile, field: str | None) -> Iterator[Any]:
    """Yield the record batches of an Arrow file, mapped into memory if it is on a disk, with one column or with all."""
    reader = _arrow_reader(file, field)
    if hasattr(reader, "num_record_batches"):
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from reader


def _arrow_reader(file: TextFile, field: str | None = None) -> Any:
    from pyarrow import PythonFile, ipc, memory_map

    stored = memory_map(str(file.path)) if isinstance(file.path, Path) else PythonFile(raw(file), mode="r")
    opener = ipc.open_file if stored.read(len(ARROW_FILE)) == ARROW_FILE else ipc.open_stream
    stored.seek(0)
    reader = opener(stored)
    if field is None:
        return reader
    stored.seek(0)
    return opener(stored, options=ipc.IpcReadOptions(included_fields=[reader.schema.get_field_index(field)]))


def _parquet_schema(file: TextFile) -> Any:
    from pyarrow.parquet import read_schema

    with _stored(file) as stored:
        return read_schema(stored)


@contextmanager
def _stored(file: TextFile) -> Iterator[Path | IO[bytes]]:
    """Give what Arrow reads best: the path of a file on a disk, or an open object of a store."""
    if isinstance(file.path, Path):
        yield file.path
        return
    with raw(file) as stream:
        yield stream


def _holds_text(kind: Any) -> bool:
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_binary, types.is_large_binary)
    return any(test(inner) for test in tests)


@contextmanager
def _errors_of_arrow() -> Iterator[None]:
    """Raise errors of Arrow, which are of several kinds, as OSError."""
    from pyarrow import ArrowException

    try:
        yield
    except ArrowException as error:
        if isinstance(error, OSError):
            raise
        raise OSError(str(error)) from error
