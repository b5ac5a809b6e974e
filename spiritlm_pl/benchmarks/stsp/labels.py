"""Names of sentiments and emotions: those of references, of judges and of predictions become the same labels."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["sentiment", "emotion"]
SENTIMENTS = ("positive", "negative", "neutral")
OTHER = "other"  # label of names that are mapped to nothing: never right
EMOTIONS = {
    "happy": "positive",
    "amused": "positive",
    "angry": "negative",
    "sad": "negative",
    "default": "neutral",
    "neutral": "neutral",
}


@dataclass(frozen=True)
class LabelMap:
    """Map from names to labels; small and capital letters are the same.

    Args:
        kind: "sentiment" maps the names of emotions to positive, negative and neutral; "emotion" leaves names as they
            are.
        own: further names with their labels, which take precedence; None for a name that is never right.

    Raises:
        ValueError: if the kind or a label is none.
    """

    kind: Kind = "sentiment"
    own: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check kind and labels."""
        if self.kind not in ("sentiment", "emotion"):
            raise ValueError(f"label must be sentiment or emotion, but is {self.kind!r} instead")
        if not isinstance(self.own, Mapping):
            raise ValueError(f"labels must be a map from names to labels, but are {self.own!r} instead")
        for name, label in self.own.items():
            if label is not None and (not isinstance(label, str) or not _plain(label)):
                raise ValueError(f"labels must map each name to a label or null, but map {name!r} to {label!r}")
            if self.kind == "sentiment" and label is not None and _plain(label) not in SENTIMENTS:
                raise ValueError(f"labels must be among {', '.join(SENTIMENTS)}, but {name!r} is mapped to {label!r}")

    @property
    def names(self) -> dict[str, str]:
        """Names that have a label of their own, with their labels."""
        known = {**{one: one for one in SENTIMENTS}, **EMOTIONS} if self.kind == "sentiment" else {}
        own = {_plain(name): OTHER if label is None else _plain(label) for name, label in self.own.items()}
        return known | own

    def label(self, name: Any) -> str | None:
        """Return the label of a name; None if it has none."""
        plain = _plain(name)
        return self.names.get(plain, plain if plain and self.kind == "emotion" else None)

    def check_classes(self, classes: Iterable[str], wanted: Iterable[str], who: str) -> None:
        """Check that the classes of a judge are labels, and that it can tell all labels that are wanted.

        Args:
            classes: names of the judge's classes.
            wanted: labels that references have.
            who: name of the judge for messages, such as "speech_judge models/mine".

        Raises:
            ValueError: if a class is no label, or a label is missing among them.
        """
        named = list(classes)
        unknown = [name for name in named if self.label(name) is None]
        told = ", ".join(named) or "none"
        if unknown:
            raise ValueError(
                f"{who} must tell {', '.join(SENTIMENTS)} apart, but has the classes {told}: map {', '.join(unknown)} "
                f"by --options '{{labels: {{{unknown[0]}: positive, ...}}}}'"
            )
        lacking = sorted(set(wanted) - {self.label(name) for name in named} - {OTHER})
        if lacking:
            raise ValueError(
                f"{who} must tell all {self.kind}s of the references apart, but none of its classes {told} is "
                f"{', '.join(lacking)}: map one by --options '{{labels: {{NAME: {lacking[0]}}}}}'"
            )


def _plain(name: Any) -> str:
    return str(name).strip().lower() if isinstance(name, str | int) and not isinstance(name, bool) else ""
