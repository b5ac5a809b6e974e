"""Text streams of training blocks: which sources of texts they come from."""

import re
from collections.abc import Mapping, Sequence

from spiritlm_pl.corpora.text_files.options import TextOptions
from spiritlm_pl.corpora.text_files.source import TextSource, open_source

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
FIELD, LINE = "text", "line"  # fields and documents, unless others are given

Paths = Sequence[str] | Mapping[str, Sequence[str]] | None
Setting = str | Mapping[str, str]  # for all sources, or for each by its name


def open_sources(text: Paths, field: Setting = "text", documents: Setting = "line") -> dict[str | None, TextSource]:
    """Find the files of all text streams.

    Args:
        text: paths and patterns of one source, or of several by their names.
        field: field of the text in JSON lines and tables.
        documents: what a document of a plain text file is: line, blank_line or file.

    Returns:
        The sources by name; the name is None where there is one source without a name.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a name or an option is wrong, or files are not what they should be.
    """
    named: dict[str | None, Sequence[str]] = {}
    if isinstance(text, Mapping):
        named.update(text)
    elif text:
        named[None] = text
    for name, paths in named.items():
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(f"text must name sources with a-z, 0-9 and _, but one is {name!r} instead")
        if not paths:
            raise ValueError(f"text must name files of each source, but {name} has none")
    options = {"text_field": field, "text_documents": documents}
    for option, value in options.items():
        if isinstance(value, Mapping) and (unknown := sorted(set(value) - set(map(str, named)))):
            raise ValueError(f"{option} must be of sources that text names, but is of {', '.join(unknown)}")
    sources = {
        name: open_source(list(paths), TextOptions(field=_of(field, name, FIELD), documents=_of(documents, name, LINE)))
        for name, paths in named.items()
    }
    if not sources and (field, documents) != (FIELD, LINE):
        option, value = ("text_field", field) if field != FIELD else ("text_documents", documents)
        raise ValueError(f"{option} must be left out without text, but is {value!r}")
    plain = {name: {file.kind == "text" for file in source.files} for name, source in sources.items()}
    _check_used("text_field", field, FIELD, {name for name, kinds in plain.items() if False in kinds}, "is plain text")
    _check_used("text_documents", documents, LINE, {name for name, kinds in plain.items() if True in kinds}, "has rows")
    return sources


def _check_used(option: str, value: Setting, default: str, users: set[str | None], others: str) -> None:
    """Check that a setting that differs from the default has an effect.

    Args:
        option: name of the setting.
        value: setting of all sources, or by name.
        default: value that may have none.
        users: sources that have files which the setting is for.
        others: what all other sources are, for the message.

    Raises:
        ValueError: if it has none.
    """
    for name, one in value.items() if isinstance(value, Mapping) else [(None, value)]:
        used = name in users if isinstance(value, Mapping) else bool(users)
        if one != default and not used:
            what = "text" if name is None else f"the text of {name}"
            raise ValueError(f"{option} must be left out where all of {what} {others}, but is {one!r}")


def _of(setting: Setting, name: str | None, default: str) -> str:
    return setting.get(str(name), default) if isinstance(setting, Mapping) else setting
