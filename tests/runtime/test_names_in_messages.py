"""Messages that list names read well with one name and with several: no verb in the singular follows a list."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SINGULAR = re.compile(  # also where the text goes on in the next line
    r"(?:\.join|\blisted)\([^{}\n]*\)\} *(?:\"\s*f?\" *)?(is|has|was|does|holds|lacks|needs|names|gives|are not|have none)\b"
)


def test_no_verb_in_the_singular_follows_a_list_of_names() -> None:
    assert SINGULAR.search('f"{\', \'.join(names)} "\n    "is empty"')
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for room in ("spiritlm_pl", "modules", "datamodules", "callbacks")
        for path in (ROOT / room).rglob("*.py")
        for match in SINGULAR.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found
