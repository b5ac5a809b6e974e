"""Python on the pages: each block of the README and the docs is run as it stands there, or named with what runs it.

A comment before a block says what the page leaves to the reader: `<!-- given: typed = "the cat" -->` is run first, and
`<!-- run by: tests/... -->` names another test. A block with a title is a part of that file, which its own tests run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent, indent
from typing import cast

import pytest
import soundfile
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, PreTrainedModel

from spiritlm_pl.conversations.template import load_template
from spiritlm_pl.interop.export import export_lm
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.model_description import TEMPLATES
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>[a-z ]+): (?P<told>.*?) -->\n)?"
    r'^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<title>.*?)")?\n(?P<code>.*?)^(?P=indent)```$',
    re.DOTALL | re.MULTILINE,
)
ADDRESS = re.compile(r"`((?:benchmarks|callbacks|conf|datamodules|docs|examples|modules|spiritlm_pl|tests)/[\w./-]+)`")


@dataclass(frozen=True)
class Block:
    """A block of code on a page, and the comment before it."""

    code: str
    title: str | None
    mark: str | None
    told: str


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if found["language"] in languages:
            yield Block(dedent(found["code"]), found["title"], found["mark"], found["told"] or "")


PYTHON = [page for page in PAGES if any(block.title is None for block in blocks(page, "python"))]


@pytest.fixture(scope="session")
def workplace(
    model_folder: Path,
    tiny_lm: tuple[torch.nn.Module, TextTokenizer, Vocabulary],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with all that pages speak of: the quickstart's model, an export, the release, a recording, a Gemma 3."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "quickstart").mkdir()
    (folder / "quickstart" / "model").symlink_to(model_folder)
    network, text, vocabulary = tiny_lm
    templates = {TEMPLATES: {"asr": load_template("plain").to_dict()}}
    ends = replace(vocabulary, end_of_document=2)
    save_lm(folder / "quickstart" / "tuned", cast(PreTrainedModel, network), ends, text, None, templates)
    (folder / "release").symlink_to(ROOT / "tests" / "fixtures" / "release")
    export_lm(model_folder / "lm", folder / "exported")
    soundfile.write(folder / "question.wav", 0.3 * torch.sin(torch.arange(16_000) / 10).numpy(), 16_000)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    seen = {**sizes, "image_size": 28, "patch_size": 14}
    read = {**sizes, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 300}
    config = Gemma3Config(text_config=read, vision_config=seen, mm_tokens_per_image=4, image_token_index=299)
    Gemma3ForConditionalGeneration(config).save_pretrained(folder / "gemma")
    for part in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "gemma" / part).write_bytes((folder / "exported" / part).read_bytes())
    return folder


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_python_on_a_page_runs(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("SPIRITLM_TRUST", "")
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        if block.mark == "run by":
            assert page.name in (ROOT / block.told).read_text(encoding="utf-8"), block.told
        elif block.title is None:
            assert block.mark in (None, "given"), f"{page.name}: {block.mark}"
            torch.manual_seed(0)
            exec(block.told, names)
            exec(compile(block.code, f"{page.name}: {block.code[:40]}", "exec"), names)


def test_all_blocks_of_python_are_found() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(list(blocks(page, "python"))) == len(re.findall(r"^ *```(?:py|Py)", text, re.MULTILINE)), page.name
        assert len(re.findall(r"<!-- (?!given: |run by: )", text)) == 0, page.name
    assert {"README.md", "generate.md", "hugging-face.md", "published.md"} <= {page.name for page in PYTHON}


def test_parts_of_files_are_as_in_the_files() -> None:
    found = [block for page in PAGES for block in blocks(page, "python", "toml", "yaml") if block.title]
    assert len(found) >= 8
    for block in found:
        text = (ROOT / str(block.title)).read_text(encoding="utf-8")
        assert any(indent(block.code, " " * depth) in text for depth in (0, 4)), block.title  # a method stands alone


def test_files_that_pages_name_are_there() -> None:
    for page in PAGES:
        for name in ADDRESS.findall(page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_every_page_has_a_place_in_the_navigation_and_every_room_in_the_reference() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        assert re.search(rf"[ :-] {page.relative_to(ROOT / 'docs')}$", site, re.MULTILINE), page.name
    reference = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    rooms = {path.name for path in (ROOT / "spiritlm_pl").iterdir() if (path / "__init__.py").is_file()}
    assert rooms - {"cli", "conf", "quickstart", "reproduce", "runtime"} == set(
        re.findall(r"^::: spiritlm_pl\.(\w+)$", reference, re.M)
    ) - {"registry", "vocabulary"}
