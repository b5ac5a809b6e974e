"""The files on the page "A benchmark in your language" make benchmarks as they stand there."""

import re
from pathlib import Path

import pytest

from spiritlm_pl.benchmarks.make.kinds import KINDS, make_benchmark

PAGE = (Path(__file__).parents[3] / "docs" / "benchmark-in-your-language.md").read_text(encoding="utf-8")


def block(language: str, place: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[place]


@pytest.mark.parametrize(("kind", "count"), [("sblimp", 12), ("salmon", 3), ("intents", 8), ("stsp", 24)])
def test_the_grammar(tmp_path: Path, kind: str, count: int) -> None:
    grammar, stories = tmp_path / "pairs.yaml", tmp_path / "stories.txt"
    grammar.write_text(block("yaml"), encoding="utf-8")
    stories.write_text(block("text"), encoding="utf-8")
    if kind == "stsp":  # the page's lists are short
        words = "".join(f"    - {{eins: Tier {name}, viele: Tiere {name}}}\n" for name in ("A", "B"))
        grammar.write_text(block("yaml").replace("  tat:", words + "  tat:"), encoding="utf-8")
    files: dict[str, str | None] = {"grammar": str(grammar)} | ({"stories": str(stories)} if kind == "salmon" else {})
    make_benchmark(kind, tmp_path / "out", language="de", count=count, files=files, text_only=True)
    assert (tmp_path / "out" / f"{kind}-recordings.csv").is_file()


def test_the_texts(tmp_path: Path) -> None:
    for place, (kind, count) in enumerate((("storycloze", 2), ("prosaudit", 4))):
        file = tmp_path / f"{kind}.txt"
        lines = block("text", place)
        file.write_text(lines if place == 0 else lines + "Wenn es_morgen regnet | bleiben alle_Kinder zu_Hause\n")
        make_benchmark(kind, tmp_path / kind, language="de", count=count, files={"stories": str(file)}, text_only=True)


def test_the_page_names_every_kind() -> None:
    assert all(f"| `{kind}` |" in PAGE for kind in KINDS)
