"""Messages that list names read well with one name and with several: no verb of one number follows a list."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERBS = "is|has|was|does|holds|lacks|needs|names|gives|are not|have none"
LIST = r"(?:\.join|\blisted)\([^{}\n]*\)\} *(?:\"\s*f?\" *)?"  # the text may go on in the next line
OF_ONE_NUMBER = re.compile(rf"{LIST}({VERBS})\b")


def test_no_verb_of_one_number_follows_a_list_of_names() -> None:
    assert OF_ONE_NUMBER.search('f"{\', \'.join(names)} "\n    "is empty"')
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for room in ("spiritlm_pl", "modules", "datamodules", "callbacks")
        for path in (ROOT / room).rglob("*.py")
        for match in OF_ONE_NUMBER.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found
