"""Templates: how the turns of a conversation are written in one sequence, as data.

A template is a YAML file with `roles`. Each role has a text `before` its turns and a text `after` them, both perhaps
empty, and says by `ends` whether the end token follows. Every turn opens with the modality token of what comes first in
it, the text `before` included.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from spiritlm_pl.conversations.templates import FOLDER

LEARNT = "assistant"  # the role whose turns are learnt where a conversation does not say otherwise
USER = "user"  # role of whoever asks
RECORDS = "records"  # name of the template of prepared conversations beside those of tasks
_NAME = re.compile(r"\w+")
_SPECIAL = re.compile(r"\[(?:Text|Speech|ASR|TTS|[A-Za-z]+(?:\d+_)?\d+)\]")


@dataclass(frozen=True, kw_only=True)
class Side:
    """How the turns of one role are written.

    Attributes:
        before: text before the turn, such as "User:"; empty for none.
        after: text after the turn; empty for none.
        ends: whether the end token follows the turn.
        given: whether prompts give the text before the turn; if not, it is learnt with the turn.
    """

    before: str = ""
    after: str = ""
    ends: bool = False
    given: bool = True


@dataclass(frozen=True)
class ConversationTemplate:
    """Form of conversations.

    Attributes:
        roles: how the turns of each role are written, by its name.

    Raises:
        ValueError: if no role of the template is one that can be learnt, or no turn ends with the end token.
    """

    roles: Mapping[str, Side]

    def __post_init__(self) -> None:
        """Check the roles."""
        if LEARNT not in self.roles:
            raise ValueError(f"template must have the role {LEARNT}, but has {', '.join(self.roles) or 'none'}")
        for name, side in self.roles.items():
            if not _NAME.fullmatch(name):
                raise ValueError(f"roles of a template must be single words, but one is {name!r}")
            found = _SPECIAL.search(side.before + side.after)
            if found:
                raise ValueError(f"texts of a template must hold no tokens, but those of {name} hold {found[0]}")
        if not self.roles[LEARNT].ends:
            raise ValueError(
                f"template must end the turns of {LEARNT} with the end token (ends: true), or else a model that learns "
                "them never stops, but does not"
            )

    def side(self, role: str) -> Side:
        """Return how turns of a role are written.

        Raises:
            ValueError: if the template lacks the role.
        """
        if role not in self.roles:
            raise ValueError(f"role must be one of {', '.join(self.roles)}, but is {role!r} instead")
        return self.roles[role]

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON, from which `from_dict` makes the template again."""
        return {"roles": {name: asdict(side) for name, side in self.roles.items()}}

    @classmethod
    def from_dict(cls, values: Any) -> "ConversationTemplate":
        """Make a template of a dictionary.

        Raises:
            ValueError: if the dictionary is not as that of a template must be.
        """
        if not isinstance(values, dict) or set(values) != {"roles"} or not isinstance(values["roles"], dict):
            raise ValueError(f"template must have roles and nothing else, but is {values!r:.200}")
        known = [field.name for field in fields(Side)]
        sides = {}
        for name, side in values["roles"].items():
            if not isinstance(side, dict) or not {*side} <= {*known}:
                raise ValueError(f"role {name} must have some of {', '.join(known)}, but has {side!r:.200}")
            for key, value in side.items():
                if not isinstance(value, type(getattr(Side, key))):
                    kind = "a text" if isinstance(getattr(Side, key), str) else "true or false"
                    raise ValueError(f"{key} of role {name} must be {kind}, but is {value!r} instead")
            values_of: dict[str, Any] = {
                key: value.strip() if isinstance(value, str) else value for key, value in side.items()
            }
            sides[str(name)] = Side(**values_of)
        return cls(sides)


def load_template(source: str | Path) -> ConversationTemplate:
    """Load a template of this package by its name (plain, chat), or one of a YAML file.

    Raises:
        FileNotFoundError: if there is no such template.
        ValueError: if the file is not as a template must be.
    """
    path = FOLDER / f"{source}.yaml"
    return read_template(path if path.is_file() else source)


def read_template(source: str | Path) -> ConversationTemplate:
    """Read the template of a YAML file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not as a template must be.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in FOLDER.glob("*.yaml")))
        raise FileNotFoundError(f"template must be one of {known}, or a YAML file, but {source} is neither")
    try:
        return ConversationTemplate.from_dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
