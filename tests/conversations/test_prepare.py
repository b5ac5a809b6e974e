"""Preparation of conversations in the forms that people have, and what is left out of them."""

import base64
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from spiritlm_pl.conversations.prepare import prepare_conversations
from spiritlm_pl.corpora.audio import save_wav
from spiritlm_pl.corpora.manifest import load_cuts, read_info


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    folder = tmp_path / "wavs"
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b", "c"):
        save_wav(folder / f"{name}.wav", 0.1 * torch.randn(16_000, generator=generator))
    (folder / "broken.wav").write_bytes(b"RIFF and nothing else")
    return folder


def prepared(rows: list, folder: Path, name: str = "rows.jsonl", **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith("parquet"):
        for message in (one for row in rows for one in row.get("messages", ())):  # a column has one type
            if isinstance(message["content"], str):
                message["content"] = [{"type": "text", "text": message["content"]}]
        names = {name for row in rows for name in row}
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) if name.endswith("jsonl") else json.dumps(rows))
    out = folder / "out"
    options = {"validation_fraction": 0.0, "test_fraction": 0.0, "num_jobs": 1, "overwrite": True, **options}
    counts, skipped = prepare_conversations([str(path)], out, **options)
    lines = [json.loads(line) for line in (out / "conversations-train.jsonl").read_text().splitlines()]
    assert len(lines) == counts["train"]
    return lines, skipped, out


def shape(record: dict) -> list[tuple[str, list[str]]]:
    return [(turn["role"], [next(iter(part)) for part in turn["parts"]]) for turn in record["turns"]]


def test_forms_are_told_by_their_fields(audio, tmp_path):
    encoded = base64.b64encode((audio / "b.wav").read_bytes()).decode()
    rows = [
        {
            "id": "own",
            "turns": [
                {"role": "user", "parts": [{"audio": "a.wav", "start": 0.25, "duration": 0.5}]},
                {"role": "assistant", "parts": [{"text": "hm"}, {"tokens": "[Hu1]"}]},
            ],
        },
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "what is this"},
                        {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}},
                    ],
                },
                {"role": "assistant", "content": [{"type": "audio", "audio": "c.wav"}], "weight": 1},
            ]
        },
        {
            "conversations": [{"from": "human", "value": "<audio>say it again"}, {"from": "gpt", "value": "<audio>"}],
            "audios": ["a.wav", "b.wav"],
        },
    ]
    for name in ("rows.jsonl", "rows.json", "rows.parquet"):  # in which every row has the fields of all
        lines, skipped, out = prepared(rows, tmp_path, name, audio_root=str(audio))
        assert not skipped.total
        assert [shape(line) for line in lines] == [
            [("user", ["utterance"]), ("assistant", ["text", "tokens"])],
            [("system", ["text"]), ("user", ["text", "utterance"]), ("assistant", ["utterance"])],
            [("user", ["utterance", "text"]), ("assistant", ["utterance"])],
        ]
        cuts = {cut.id: cut for cut in load_cuts(out, "train")}
        named = [
            part["utterance"]
            for line in lines
            for turn in line["turns"]
            for part in turn["parts"]
            if "utterance" in part
        ]
        assert sorted(cuts) == sorted(named) and len(named) == 5
        assert cuts["own-0"].duration == pytest.approx(0.5)


def test_rows_of_tasks(audio, tmp_path):
    rows = [{"audio_filepath": "a.wav", "text": "a dog", "offset": 0.5, "duration": 0.4}, {"audio": "b.wav"}]
    lines, skipped, out = prepared(rows, tmp_path, task="asr", audio_root=str(audio))
    assert [shape(line) for line in lines] == [[("user", ["utterance"]), ("assistant", ["text"])]]
    assert next(iter(load_cuts(out, "train"))).duration == pytest.approx(0.4)
    assert skipped.counts == {
        "row without a text for asr (text, sentence, transcript, transcription, normalized_text, raw_text)": 1
    }
    lines, _, _ = prepared(rows[:1], tmp_path, task="tts", audio_root=str(audio))
    assert [shape(line) for line in lines] == [[("user", ["text"]), ("assistant", ["utterance"])]]


def test_tables_with_audio_columns(audio, tmp_path):
    rows = [
        {"audio": {"bytes": (audio / "a.wav").read_bytes(), "path": None}, "sentence": "a dog"},
        {"audio": {"bytes": None, "path": "b.wav"}, "sentence": "a cat"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), audio / "part.parquet")
    counts, skipped = prepare_conversations(
        [str(audio / "part.parquet")],
        tmp_path / "out",
        task="asr",
        validation_fraction=0.5,
        test_fraction=0,
        num_jobs=1,
    )
    assert counts == {"train": 1, "validation": 1, "test": 0} and not skipped.total


def test_what_cannot_be_used_is_counted_and_nothing_else_lost(audio, tmp_path):
    good = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
    rows = [
        good,
        {
            "messages": [{"role": "user", "content": "<audio>"}, {"role": "assistant", "content": "hi"}],
            "audios": ["broken.wav"],
        },
        {"messages": [{"role": "user", "content": "<audio>"}, {"role": "assistant", "content": "hi"}]},
        {
            "messages": [{"role": "user", "content": "<audio>"}, {"role": "assistant", "content": "x"}],
            "audios": ["no.wav"],
        },
        {"messages": [{"role": "user", "content": "hello"}]},
        {"messages": "hello"},
        {"text": "hello"},
        [1],
        {"messages": [{"content": "hello"}, {"role": "assistant", "content": "hi"}]},
        {"id": "same", **good},
        {"id": "same", **good},
    ]
    lines, skipped, out = prepared(rows, tmp_path, audio_root=str(audio))
    assert len(lines) == 2
    assert skipped.total == 9
    told = " | ".join(skipped.lines())
    for reason in (
        "conversation whose audio cannot be used",
        "row with fewer audios than <audio>",
        "conversation whose audio is missing",
        "must have a part to learn, by default a turn of assistant, but has turns of user",
        "messages that are no list of objects",
        "row without turns, messages or conversations",
        "row that is no object",
        "turn without a role",
        "conversation whose id another one has",
    ):
        assert reason in told
    listed = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert len(listed) == 10 == (read_info(out) or {})["skipped"]  # audio that is broken, and each row
    with pytest.raises(ValueError, match="source must hold conversations, but none can be used: 1 x row without"):
        prepared([{"text": "x"}], tmp_path / "none")


def test_a_start_beyond_the_end_is_told_as_it_was_typed(audio, tmp_path):
    answer = {"role": "assistant", "parts": [{"text": "hi"}]}
    asked = [{"audio": "a.wav", "start": start, "duration": 0.5} for start in (77.5, 88.25)]
    rows = [{"turns": [{"role": "user", "parts": [part]}, answer]} for part in ({"text": "hello"}, *asked)]
    lines, skipped, out = prepared(rows, tmp_path, audio_root=str(audio))
    assert len(lines) == 1
    (told,) = skipped.lines()
    assert re.search(r"2 x .*\(start must be below the \d\.\d\d s of the file, but is 77\.5 s\), such as ", told)
    assert "but is 88.25 s" in (out / "skipped.jsonl").read_text()  # each row has its own value


def test_a_row_that_nobody_expects_ends_nothing(audio, tmp_path):
    answer = {"role": "assistant", "content": "hi"}
    good = {"messages": [{"role": "user", "content": "hello"}, answer]}
    encoded = base64.b64encode((audio / "a.wav").read_bytes()).decode()
    rows = [
        good,
        {"messages": [{"role": "user", "content": [{"type": "audio", "audio": encoded}]}, answer]},
        {"messages": [{"role": "user", "content": [{"type": "audio", "audio": "~nobody/x.wav"}]}, answer]},
        {"messages": [{"role": "user", "content": "half \ud800"}, answer]},
        {
            "id": "x" * 300,
            "messages": [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": encoded}}]},
                answer,
            ],
        },
        good,
    ]
    lines, skipped, _ = prepared(rows, tmp_path, audio_root=str(audio))
    assert len(lines) == 3
    assert skipped.counts == {"conversation whose audio is missing": 2, "text with half a surrogate pair": 1}


def test_what_is_equal_stays_in_one_split(audio, tmp_path):
    turns = [{"role": "user", "content": "<audio>"}, {"role": "assistant", "content": "hi"}]
    rows = [{"messages": turns, "audios": [f"{'abc'[number % 3]}.wav"]} for number in range(30)]
    options = {"audio_root": str(audio), "validation_fraction": 0.3, "test_fraction": 0.3}
    lines, _, _ = prepared(rows, tmp_path, **options)
    assert len(lines) == 10
    rows = [{"audio": f"{'abc'[number % 3]}.wav", "text": "AB"[number % 2]} for number in range(12)]
    lines, _, _ = prepared(rows, tmp_path, task="asr", **options)
    assert len({line["turns"][1]["parts"][0]["text"] for line in lines}) == 1


def test_a_folder_of_something_else_stays(audio, tmp_path):
    rows = [{"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}]
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]))
    with pytest.raises(ValueError, match="out must be a new folder or a corpus, but .*wavs holds a.wav, b.wav"):
        prepare_conversations([str(tmp_path / "rows.jsonl")], audio)
    with pytest.raises(FileNotFoundError, match="source must be files, folders or patterns, but nowhere is not there"):
        prepare_conversations(["nowhere"], tmp_path / "out")
    with pytest.raises(ValueError, match="source must be local files, .* but s3://b/rows.jsonl is not; download it"):
        prepare_conversations(["s3://b/rows.jsonl"], tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="audio_root must be a folder, but nowhere is not there"):
        prepare_conversations([str(tmp_path / "rows.jsonl")], tmp_path / "out", audio_root="nowhere")
