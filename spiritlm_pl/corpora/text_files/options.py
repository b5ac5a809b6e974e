"""Options that say what a document is in files of text."""

from dataclasses import dataclass

DOCUMENTS = ("line", "blank_line", "file")
LONGEST_DOCUMENT = 1 << 24  # bytes; a longer one would take more than a gigabyte of memory to encode


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What a document is.

    Args:
        field: name of the field or column that holds the text, in JSON lines, Parquet and Arrow files.
        documents: what a document of a plain text file is: a line, the lines between blank lines, or the whole file.
    """

    field: str = "text"
    documents: str = "line"

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.field:
            raise ValueError("text_field must be the name of a field, but is empty instead")
        if self.documents not in DOCUMENTS:
            raise ValueError(f"text_documents must be one of {', '.join(DOCUMENTS)}, but is {self.documents!r} instead")
