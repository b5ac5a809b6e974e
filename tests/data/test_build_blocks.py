"""Unit shards and text to blocks: what belongs to which word, splits, sources, and the commands."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from spiritlm_pl.cli.main import run
from spiritlm_pl.data.blocks import open_block, read_manifest
from spiritlm_pl.data.build_blocks import FRESH, build_blocks
from spiritlm_pl.data.build_tasks import BuildSettings, TaskReader
from spiritlm_pl.data.utterances import speech_of_words
from spiritlm_pl.data.workplace import Workplace
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.claims import WRITER
from spiritlm_pl.runtime.left_over import this_machine
from spiritlm_pl.streams import UNIT, SpeechLayout
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

from .conftest import SENTENCES, blocks_of, utterance, write_units


def test_units_go_to_the_word_in_which_their_run_starts() -> None:
    said = utterance(
        "u",
        "",
        [("a", 0.20, 0.40), ("b", 0.40, 0.48), ("c", 0.48, 0.52), ("d", 0.80, 1.0)],
        [0, 4, 9, 10, 13, 18, 19, 20, 30],
    )
    vocabulary = Vocabulary.spirit_lm(num_text=10, num_units=7)
    parts = speech_of_words(
        said, SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0), vocabulary
    )  # from frames 5, 10, 12, 20
    assert [len(part) for part in parts] == [3, 1, 3, 2]  # leading silence to the first, pauses to the one before
    assert np.array_equal(np.concatenate(parts) - vocabulary.bounds(UNIT)[0], said.units)


def test_commands_build_all_streams(units: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = tmp_path / "extra.txt"
    extra.write_text("the mat\n\nby the cat\n")
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]", "--text", f"[{extra}]"])
    run(
        [
            "build-blocks",
            f"[{units}]",
            str(tmp_path / "tokenizer"),
            str(tmp_path / "blocks"),
            "--text",
            f"[{extra}]",
            "--text_validation",
            "0",
            "--multiple_of",
            "8",
        ]
    )
    told = capsys.readouterr().out
    assert "train/aligned" in told and "Every document ends with token 2 of the text tokenizer" in told
    tokenizer = TextTokenizer.load(tmp_path / "tokenizer")
    documents = {}
    for split in ("train", "validation"):
        for kind in ("text", "speech", "aligned"):
            manifest = read_manifest(tmp_path / "blocks" / split / kind)
            assert manifest.kind == kind and manifest.vocabulary.size(UNIT) == 7
            assert manifest.vocabulary.num_text == tokenizer.vocab_size and manifest.vocabulary.multiple_of == 8
            documents[split, kind] = manifest.num_documents
    assert documents == {
        ("train", "text"): 3 + 1 + 2,
        ("train", "speech"): 4,
        ("train", "aligned"): 3,
        ("validation", "text"): 2,
        ("validation", "speech"): 2,
        ("validation", "aligned"): 1,
    }
    manifest = read_manifest(tmp_path / "blocks" / "validation" / "aligned")
    assert manifest.sources["seconds"] == 1.5
    block = open_block(tmp_path / "blocks" / "validation" / "aligned", manifest.blocks[0])
    assert block.tokens[: block.text_bounds[-1]].tolist() == tokenizer.encode(SENTENCES[3])
    assert (block.tokens[block.text_bounds[-1] :] - manifest.vocabulary.bounds(UNIT)[0]).tolist() == [
        number % 7 for number in range(10)
    ]


def test_blocks_are_the_same_again_and_shuffled_by_seed(units: Path, tmp_path: Path) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])

    def checksums(out: str, **options) -> list[str]:
        build_blocks([str(units)], str(tmp_path / "tokenizer"), str(tmp_path / out), **options)
        return [block.sha256 for block in read_manifest(tmp_path / out / "train" / "speech").blocks]

    assert checksums("one") == checksums("two") == checksums("one")
    assert checksums("one", seed=5) != checksums("two")
    assert len(checksums("one", block_tokens=30)) == 3
    assert len(list((tmp_path / "one" / "train" / "speech").glob("block-*"))) == 3
    assert len(checksums("one")) == 1
    assert len(list((tmp_path / "one" / "train" / "speech").glob("block-*"))) == 1


def test_texts_without_a_document_of_the_splits_are_not_called_empty(units: Path, tmp_path: Path) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    (tmp_path / "a.txt").write_text("the cat sat", encoding="utf-8")
    arguments = [str(units)], str(tmp_path / "tokenizer"), str(tmp_path / "out"), [str(tmp_path / "a.txt")]
    found = build_blocks(*arguments, splits=("validation",), text_validation=0)
    assert found and all(name.startswith("validation/") for name in found)


def test_a_build_loads_its_tokenizer_once(units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    loaded: list[Path] = []
    load = TextTokenizer.load

    def counted(path: str | Path) -> TextTokenizer:
        loaded.append(Path(path))
        return load(path)

    monkeypatch.setattr(TextTokenizer, "load", counted)
    build_blocks([str(units)], str(tmp_path / "tokenizer"), str(tmp_path / "out"))
    assert loaded.count(tmp_path / "tokenizer") == 1 and len(loaded) == 2  # the other is what later stages will load


def test_another_process_reads_the_tokenizer_itself(units: Path, tmp_path: Path) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    settings = BuildSettings(
        text_tokenizer=str(tmp_path / "tokenizer"),
        vocabulary=Vocabulary.spirit_lm(num_text=300, num_units=20),
        splits=("train",),
        transcripts=True,
        text_validation=0,
        seed=0,
    )
    reader = TaskReader(tmp_path, settings, TextTokenizer.load(settings.text_tokenizer))
    copy = pickle.loads(pickle.dumps(reader))
    assert reader.__dict__.keys() - copy.__dict__.keys() == {"_tokenizer"}
    assert copy._tokenizer.fingerprint == reader._tokenizer.fingerprint


def test_the_blocks_are_the_same_for_any_number_of_processes(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in ("a", "b"):
        lines = [f"{name} cat ran to mat number {number} and back again" for number in range(400)]
        (texts / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr("spiritlm_pl.data.build_plan.SMALLEST_TASK", 2_000)
    given = f"[{str(units)!r}], {str(tmp_path / 'tokenizer')!r}, {str(tmp_path / 'ranks')!r}, [{str(texts)!r}]"
    script = tmp_path / "rank.py"
    script.write_text(
        "import os\n"
        "from spiritlm_pl.data import build_blocks, build_plan\n"
        "if __name__ == '__main__':\n"
        "    build_plan.SMALLEST_TASK = 2_000\n"
        f"    build_blocks.build_blocks({given}, block_tokens=400, num_jobs=2 - int(os.environ['RANK']))\n",
        encoding="utf-8",
    )
    ranks = [{"RANK": str(rank), "WORLD_SIZE": "2"} for rank in range(2)]
    running = [subprocess.Popen([sys.executable, script], env={**os.environ, **rank}) for rank in ranks]
    tokenizer, out = str(tmp_path / "tokenizer"), tmp_path / "one"
    build_blocks([str(units)], tokenizer, str(out), [str(texts)], block_tokens=400)
    assert [process.wait(120) for process in running] == [0, 0]
    found = blocks_of(out)
    assert found == blocks_of(tmp_path / "ranks") and len(found) > 10
    assert not (tmp_path / "ranks/.new").exists()


def test_bad_input_is_named(units: Path, tmp_path: Path) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    other = write_units(tmp_path / "other", "train", [utterance("x", "x", [], [0, 1])], num_units=9)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    for options, error, message in (
        ({"units": [str(units), str(other)]}, ValueError, "units must come from one tokenizer"),
        ({"units": []}, ValueError, "units must name at least one"),
        ({"units": [str(tmp_path / "none")]}, FileNotFoundError, "none/train/manifest.json is not there"),
        ({"units": [str(units), str(units)]}, ValueError, "units must name every corpus once, but .* is named twice"),
        (
            {"units": [str(tmp_path / "none")], "splits": ("validation",)},
            FileNotFoundError,
            "none/validation/manifest.json",
        ),
        ({"splits": ("train", "nope")}, ValueError, "splits must be of the corpora, but none has 'nope'"),
        ({"splits": ("train,test",)}, ValueError, r"but none has 'train,test': a list is written '\[a, b\]'"),
        ({"text": [str(empty)]}, ValueError, "none in .*empty.txt"),
        ({"text": [str(tmp_path / "none.txt")]}, FileNotFoundError, "none.txt is not there"),
        ({"text_validation": 1.0}, ValueError, r"text_validation must be in \[0, 1\), but is 1.0 instead"),
    ):
        values = {"units": [str(units)], "text_tokenizer": str(tmp_path / "tokenizer"), "out": str(tmp_path / "out")}
        with pytest.raises(error, match=message):
            build_blocks(**{**values, **options})


@pytest.mark.parametrize("rank", [0, 1])
def test_one_job_writes_to_a_folder(
    rank: int, units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All processes of a later job are refused, in one line."""
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    out = tmp_path / "blocks"
    out.mkdir()
    owner = {"host": "b", "machine": this_machine(), "process": os.getppid(), "since": 0}
    (out / f"{WRITER}.1.json").write_text(json.dumps(owner))
    monkeypatch.setattr("spiritlm_pl.data.workplace.TOLD_AGAIN", 0.1)
    for name, value in (("RANK", rank), ("WORLD_SIZE", 2), ("TORCHELASTIC_RUN_ID", "second")):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValueError, match="^OUT must be a folder that no other process writes to, but process .* on b"):
        run(["build-blocks", f"[{units}]", str(tmp_path / "tokenizer"), str(out)])
    assert [path.name for path in out.iterdir()] == [f"{WRITER}.1.json"]
    assert not capsys.readouterr().err


def test_manifests_of_before_have_no_ends(units: Path, tmp_path: Path) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    build_blocks([str(units)], str(tmp_path / "tokenizer"), str(tmp_path / "blocks"))
    path = tmp_path / "blocks" / "train" / "text" / "manifest.json"
    description = json.loads(path.read_text())
    assert description["vocabulary"].pop("end_of_document") == 2
    assert description["vocabulary"].pop("begin_of_document") is None
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match="manifest.json must have SHA-256"):
        read_manifest(path.parent)
    (path.parent / CHECKSUMS).unlink()
    assert read_manifest(path.parent).vocabulary.end_of_document is None
    for wrong in ([4], None, True):
        block = description["blocks"][0] | {"speech_tokens": wrong}
        path.write_text(json.dumps(description | {"blocks": [block]}))
        with pytest.raises(ValueError, match="is not: speech_tokens must be of type int"):
            read_manifest(path.parent)
    for wrong in ({"text_fingerprint": {}}, {"seconds": "long"}, {"seconds": True}, []):
        path.write_text(json.dumps(description | {"sources": wrong}))
        with pytest.raises(ValueError, match="manifest must be one of spiritlm build-blocks"):
            read_manifest(path.parent)


def test_blocks_for_a_language_model_have_its_ids(units: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lm"
    run(["train-text-tokenizer", str(folder), "--units", f"[{units}]"])
    sizes = {"num_text": TextTokenizer.load(folder).vocab_size, "num_units": 9, "num_tasks": 2, "multiple_of": 32}

    def describe(**others: int) -> Vocabulary:
        vocabulary = Vocabulary.spirit_lm(**{**sizes, **others})
        (folder / "spiritlm.json").write_text(
            json.dumps({"stage": "language_model", "vocabulary": vocabulary.to_dict()})
        )
        return vocabulary

    vocabulary, arguments = describe(), ([str(units)], str(folder), str(tmp_path / "blocks"))
    build_blocks(*arguments, num_tasks=2)
    ended = replace(vocabulary, end_of_document=2)
    assert read_manifest(tmp_path / "blocks" / "train" / "speech").vocabulary == ended
    build_blocks(*arguments, end_of_document=False)
    assert read_manifest(tmp_path / "blocks" / "train" / "speech").vocabulary == vocabulary
    describe(end_of_document=2, begin_of_document=1)  # as trained: blocks are like it, and cannot be unlike it
    build_blocks(*arguments)
    found = read_manifest(tmp_path / "blocks" / "train" / "speech").vocabulary
    assert found == replace(ended, begin_of_document=1)
    for name, token in (("end_of_document", 2), ("begin_of_document", 1)):
        with pytest.raises(ValueError, match=f"{name} must be token {token} as in the model of .*lm, but is None inst"):
            build_blocks(*arguments, **{name: False})
    describe()
    with pytest.raises(ValueError, match="multiple_of must be 32 for .*lm, but is 256 instead"):
        build_blocks(*arguments, multiple_of=256)
    describe(num_units=5)
    with pytest.raises(
        ValueError,
        match="num_units of the speech tokenizer must be at most the language model's 5, but of .*units is 7",
    ):
        build_blocks(*arguments)
    describe(num_pitches=4, num_styles=5)
    with pytest.raises(
        ValueError, match="must give the pitch and style codes of the language model, but .*units gives units alone"
    ):
        build_blocks(*arguments)
    with pytest.raises(ValueError, match="expressive must be True for .*lm, but is False instead"):
        build_blocks(*arguments, expressive=False)


def test_a_tokenizer_whose_pieces_reach_over_spaces_is_refused(units: Path, tmp_path: Path) -> None:
    """A sentence and its words would have other ids; with its words cut apart first, the tokenizer is taken."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.decoder = normalizers.Replace(" ", "▁"), decoders.Replace("▁", " ")
    tokenizer.train_from_iterator(SENTENCES * 4, trainers.BpeTrainer(vocab_size=80, show_progress=False))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "tokenizer")
    values = {"units": [str(units)], "text_tokenizer": str(tmp_path / "tokenizer"), "out": str(tmp_path / "out")}
    with pytest.raises(ValueError, match="pieces of its words, but .* take a tokenizer whose pieces end"):
        build_blocks(**values)
    assert not (tmp_path / "out").exists()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "tokenizer")
    build_blocks(**values)
    fingerprint = TextTokenizer.load(tmp_path / "tokenizer").fingerprint
    assert read_manifest(tmp_path / "out" / "train" / "text").sources["text_fingerprint"] == fingerprint


def test_a_sentencepiece_model_that_cannot_be_exported_is_refused(units: Path, tmp_path: Path) -> None:
    """Its pieces are whole words, which neither merges nor scores of parts give."""
    (tmp_path / "words").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_prefix=str(tmp_path / "words" / "tokenizer"),
        model_type="word",
        vocab_size=12,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match="text tokenizer must give the ids .* when it is exported, but gives"):
        build_blocks([str(units)], str(tmp_path / "words"), str(tmp_path / "blocks"))
    assert not (tmp_path / "blocks").exists()


def test_folders_of_one_name_in_other_working_directories_are_not_confused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, words in (
        ("here", ["the", "cat"]),
        ("there", ["a", "longer", "sentence", "of", "seven", "other", "words"]),
    ):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        spoken = [(word, float(start), float(start + 1)) for start, word in enumerate(words)]
        write_units(Path("units"), "train", [utterance(place, " ".join(words), spoken, [*range(len(words))])])
        run(["train-text-tokenizer", "tokenizer", "--units", "[units]"])
        made = build_blocks(["units"], "tokenizer", "blocks")
        assert made["train/speech"]["speech_tokens"] == len(words)


def test_utterances_of_equal_ids_in_several_corpora_are_documents_of_their_own(units: Path, tmp_path: Path) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    shutil.copytree(units, tmp_path / "other")
    folders = [str(units), str(tmp_path / "other")]
    made = build_blocks(folders, str(tmp_path / "tokenizer"), str(tmp_path / "blocks"))
    (entry,) = read_manifest(tmp_path / "blocks/train/speech").blocks
    keys = open_block(tmp_path / "blocks/train/speech", entry).keys.tolist()
    assert made["train/speech"]["documents"] == len(keys) == len(set(keys))
    build_blocks(folders[:1], str(tmp_path / "tokenizer"), str(tmp_path / "blocks"))
    (entry,) = read_manifest(tmp_path / "blocks/train/speech").blocks
    assert set(open_block(tmp_path / "blocks/train/speech", entry).keys.tolist()) < set(keys)


def test_a_build_that_has_lost_its_folder_leaves_the_blocks_of_the_other(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["train-text-tokenizer", str(tmp_path / "tokenizer"), "--units", f"[{units}]"])
    out = tmp_path / "blocks"
    build_blocks([str(units)], str(tmp_path / "tokenizer"), str(out))
    before = blocks_of(out)

    def lose(place: Workplace) -> None:
        (claim,) = out.glob(f"{WRITER}.*.json")
        claim.rename(out / f"{WRITER}.2.json")

    monkeypatch.setattr(Workplace, "leave", lose)
    with pytest.raises(ValueError, match="another one has begun to write to .* while this one stood still"):
        build_blocks([str(units)], str(tmp_path / "tokenizer"), str(out), seed=1, transcripts=False)
    assert {name: held for name, held in blocks_of(out).items() if not name.startswith(FRESH)} == before
