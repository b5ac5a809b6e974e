"""Templates of few-shot prompts: how an example is written, and where the model goes on.

A template is a YAML file with `shot`, an example with its answer; `query`, the beginning of the same up to where the
model answers; and `stop`, a text that ends answers, if there is one. `[Text]` and `[Speech]` say what follows them.
Between them stand texts and the placeholders `{audio}`, `{text}`, `{label}` and `{stop}`, which is written after
`[Text]` and spoken after `[Speech]`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from spiritlm_pl.benchmarks.few_shot.templates import FOLDER
from spiritlm_pl.generation.types import OutputModality, Piece, Speech, Text
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.vocabulary import Modality

FIELDS = ("audio", "text", "label", "stop")
SPOKEN_FIELDS, WRITTEN_FIELDS = ("audio", "stop"), ("text", "label", "stop")
FIELD = re.compile(r"(\{[^{}]*\})")
_MARKER = re.compile(r"(\[Text\]|\[Speech\])")
_MODALITIES = {"[Text]": Modality.TEXT, "[Speech]": Modality.SPEECH}
Span: TypeAlias = tuple[Modality, tuple[str, ...]]  # literal texts and fields in braces


@dataclass(frozen=True)
class ShotTemplate:
    """Form of the prompts of a task.

    Attributes:
        shot: example with its answer.
        query: beginning of the example, up to where the model answers.
        stop: text or word that ends answers; empty if there is none.
        answer: field that the model has to find: text, audio or label.
        before: text that the examples have between the query and the answer, such as "A:".
        after: text that the examples have after the answer, such as "<END>".
    """

    shot: tuple[Span, ...]
    query: tuple[Span, ...]
    stop: str
    answer: str
    before: str
    after: str

    @property
    def output(self) -> OutputModality:
        """Modality of the answers."""
        return "speech" if self.answer == "audio" else "text"

    @property
    def fields(self) -> frozenset[str]:
        """Fields that the examples must have."""
        return frozenset(part[1:-1] for _, parts in self.shot for part in parts if FIELD.fullmatch(part)) - {"stop"}

    @property
    def speaks_stop(self) -> bool:
        """Whether the text that ends answers is spoken."""
        return any(modality is Modality.SPEECH and "{stop}" in parts for modality, parts in self.shot)

    def filled(
        self, spans: tuple[Span, ...], audio: Speech, texts: Mapping[str, str], stop: Speech | None
    ) -> list[Piece]:
        """Return the pieces of an example, or of its beginning.

        Args:
            spans: `shot` or `query`.
            audio: speech of the example.
            texts: text and label of the example, as far as the template asks for them.
            stop: speech of the word that ends answers; None if it is not spoken.
        """
        pieces: list[Piece] = []
        for modality, parts in spans:
            if modality is Modality.SPEECH:
                spoken = {"{audio}": audio, "{stop}": stop}
                pieces += [piece for part in parts if (piece := spoken[part]) is not None]
            else:
                written = {**texts, "stop": self.stop}
                text = "".join(written[part[1:-1]] if FIELD.fullmatch(part) else part for part in parts).strip()
                pieces += [Text(text)] if text else []
        return pieces

    def answered(self, text: str) -> str:
        """Return what a written answer gives for the field that is asked for.

        What the examples have before the answer is taken off its beginning, and it is cut at what they have after it.
        """
        signs = r"\s*".join(re.escape(sign) for sign in self.before if not sign.isspace())
        found = re.sub(rf"^\s*{signs}", "", text)
        return (found.partition(self.after)[0] if self.after else found).strip()


def load_shot_template(task: str, answer: str, source: str | Path | None = None) -> ShotTemplate:
    """Load the template of a task.

    Args:
        task: name of the task, for its published template.
        answer: field that the task asks for: text, audio or label.
        source: path of a YAML file; None for the published template.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not as a template of this task must be.
    """
    if not isinstance(source, str | Path | None):
        raise ValueError(f"template must be the path of a YAML file, but is {source!r} instead")
    path = FOLDER / f"{task}.yaml" if source is None else Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"template must be a YAML file, but {found_at(path)}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"template must be a YAML file, but {path} cannot be read: {error}") from error
    if not isinstance(values, dict) or not {"shot", "query"} <= values.keys() <= {"shot", "query", "stop"}:
        told = ", ".join(map(str, values)) if isinstance(values, dict) else repr(values)
        raise ValueError(f"template must have shot, query and perhaps stop, but {path} has {told} instead")
    wrong = next((key for key, value in values.items() if not isinstance(value, str) or not value.strip()), None)
    if wrong is not None:
        raise ValueError(f"{wrong} of a template must be a text, but is {values[wrong]!r} in {path} instead")
    try:
        return make_shot_template(values["shot"], values["query"], values.get("stop", "").strip(), answer)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def make_shot_template(shot: str, query: str, stop: str, answer: str) -> ShotTemplate:
    """Make a template of its texts.

    Args:
        shot: example with its answer.
        query: its beginning, up to where the model answers.
        stop: text or word that ends answers; empty if there is none.
        answer: field that the task asks for.

    Raises:
        ValueError: if the texts are not as they must be.
    """
    field = f"{{{answer}}}"
    if not shot.startswith(query):
        raise ValueError(f"shot must begin with query, but {shot!r} does not begin with {query!r}")
    if field in query or shot.count(field) != 1:
        raise ValueError(f"shot must have {field} once and query must not, but they are {shot!r} and {query!r}")
    if "{stop}" in shot and not stop:
        raise ValueError("stop must be given where {stop} stands in shot, but is not")
    spans, asked = _spans(shot), _spans(query)
    if not any(FIELD.fullmatch(part) and part != "{stop}" for _, parts in asked for part in parts):
        raise ValueError(f"query must have {{audio}} or {{text}}, but is {query!r}")
    rest = shot[len(query) :]
    before, _, after = (part.replace("{stop}", stop) for part in rest.partition(field))
    last = asked[-1][0]
    wanted = Modality.SPEECH if answer == "audio" else Modality.TEXT
    markers = [_MODALITIES[marker] for marker in _MARKER.findall(before)]
    if ([last, *markers])[-1] is not wanted or len(markers) > 1 or _MARKER.search(after):
        raise ValueError(f"shot must have nothing but the answer after query, but goes on with {rest!r}")
    written = wanted is Modality.TEXT
    before = _MARKER.sub("", before).strip()
    if "{" in before + (after if written else ""):
        raise ValueError(f"shot must have no other field than {field} after query, but goes on with {rest!r}")
    return ShotTemplate(spans, asked, stop, answer, before if written else "", after.strip() if written else "")


def _spans(text: str) -> tuple[Span, ...]:
    first, *parts = _MARKER.split(text)
    if first.strip() or not parts:
        raise ValueError(f"template must begin with [Text] or [Speech], but is {text!r}")
    spans: list[Span] = []
    for marker, content in zip(parts[::2], parts[1::2], strict=True):
        modality = _MODALITIES[marker]
        known = SPOKEN_FIELDS if modality is Modality.SPEECH else WRITTEN_FIELDS
        found = [part for part in FIELD.split(content) if part and (modality is Modality.TEXT or part.strip())]
        for part in found:
            field = part[1:-1] if FIELD.fullmatch(part) else None
            if (field is None and modality is Modality.SPEECH) or (field is not None and field not in known):
                allowed = ", ".join(f"{{{name}}}" for name in known)
                more = " and nothing else" if modality is Modality.SPEECH else ""
                raise ValueError(f"{marker} must be followed by {allowed}{more}, but is followed by {part.strip()!r}")
        spans.append((modality, tuple(found)))
    return tuple(spans)
