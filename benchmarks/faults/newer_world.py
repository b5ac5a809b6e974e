"""What the newer commands read, beside the world of `world.py`: an adapter, a codec, conversations, pairs, results.

newer/adapter         LoRA of the world's language model, of two steps
newer/codec           folder of transformers with a tiny EnCodec, and what import-codec makes of it
newer/chat            rows of conversations: JSON lines, a list, Parquet, csv
newer/records         what `prepare conversations` makes of them
newer/lhotse          recordings and supervisions, cuts, a Kaldi folder
newer/pairs           pairs for preference tuning
newer/findings        a folder of `reproduce`
newer/files           figures of `plan`, a template
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.faults.trial import ran, spiritlm


def make_newer(root: Path) -> Path:
    """Make the folder once; return it.

    Args:
        root: the world.

    Raises:
        RuntimeError: if a command fails.
    """
    folder = root / "newer"
    if (folder / "complete").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _adapter(root, folder)
    _in_process(folder, lambda: _codec(folder))
    _chat(root, folder)
    _lhotse(root, folder)
    _pairs(folder)
    _in_process(folder, lambda: _findings(folder))
    _files(folder)
    (folder / "complete").touch()
    return folder


def _in_process(folder: Path, action: Callable[[], None]) -> None:
    ended = ran(action, folder / "run", 300)
    if ended.code != 0:
        raise RuntimeError(f"making {folder} must end well, but ended with {ended.code}: {ended.err}")


def _do(folder: Path, *words: object) -> None:
    _in_process(folder, spiritlm(*words))


def lora_words(root: Path, out: object) -> list[object]:
    """Return the words of the command that trains an adapter of the world's model.

    Args:
        root: the world.
        out: folder of the adapter.
    """
    return [
        *("fit", f"--config={root}/lm.yaml", f"--model.init_args.network={{checkpoint: {root}/model/lm}}"),
        "--model.init_args.adapter={rank: 2, alpha: 4}",
        f"--trainer.callbacks.init_args.dirpath={out}",
    ]


def _adapter(root: Path, folder: Path) -> None:
    _do(folder, *lora_words(root, folder / "adapter"))


def _codec(folder: Path) -> None:
    import torch
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_filters": 4, "codebook_size": 32, "num_lstm_layers": 1}
    made = EncodecModel(EncodecConfig(target_bandwidths=[0.75, 3.0], **sizes))
    for name, buffer in made.named_buffers():
        if name.endswith("codebook.embed"):
            buffer.normal_()
    made.save_pretrained(folder / "codec" / "source")
    spiritlm(
        "import-codec",
        folder / "codec" / "source",
        folder / "codec" / "model" / "speech_tokenizer",
        "--num-codebooks=2",
    )()


def _chat(root: Path, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    chat = folder / "chat"
    chat.mkdir()
    audio = [str(path) for path in sorted((root / "recordings").glob("*/*.wav"))]
    answer = {"role": "assistant", "content": "a fox"}
    rows: list[dict[str, Any]] = [
        {"id": f"row{number}", "messages": [{"role": "user", "content": ask}, answer]}
        for number, ask in enumerate(("who is it", "who was it", "is it a fox"))
    ]
    spoken = [{"type": "audio", "audio_url": {"url": audio[0]}}, {"type": "text", "text": "what is said"}]
    rows.append({"id": "spoken", "messages": [{"role": "user", "content": spoken}, answer]})
    shared = [{"from": "human", "value": "<audio>"}, {"from": "gpt", "value": "the river"}]
    rows.append({"id": "shared", "conversations": shared, "audios": [audio[1]]})
    (chat / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (chat / "list.json").write_text(json.dumps([row | {"id": f"{row['id']}-b"} for row in rows]), encoding="utf-8")
    plain = [row | {"id": f"{row['id']}-c"} for row in rows[:3]]
    pq.write_table(pa.Table.from_pylist(plain), chat / "table.parquet")
    cells = "".join(f"{path},the fox,train\n" for path in audio)
    (folder / "tasks.csv").write_text(f"audio,text,split\n{cells}", encoding="utf-8")
    _do(folder, "prepare", "conversations", f"[{chat}]", folder / "records", "--num-jobs=1", "--min_sample_rate=8000")


def _lhotse(root: Path, folder: Path) -> None:
    from lhotse import RecordingSet, SupervisionSet

    from spiritlm_pl.corpora.manifest import load_cuts

    place = folder / "lhotse"
    (place / "kaldi").mkdir(parents=True)
    cuts = list(load_cuts(root / "stories", "validation"))[:4]
    RecordingSet.from_recordings(cut.recording for cut in cuts).to_file(place / "recordings.jsonl")
    SupervisionSet.from_segments(one for cut in cuts for one in cut.supervisions).to_file(place / "supervisions.jsonl")
    (place / "cuts.jsonl").write_text("".join(json.dumps(cut.to_dict()) + "\n" for cut in cuts), encoding="utf-8")
    lines = {
        "wav.scp": [f"{cut.recording.id} {cut.recording.sources[0].source}" for cut in cuts],
        "text": [f"{cut.id} {cut.supervisions[0].text}" for cut in cuts],
        "utt2spk": [f"{cut.id} anna" for cut in cuts],
        "segments": [f"{cut.id} {cut.recording.id} 0 {cut.duration:.3f}" for cut in cuts],
    }
    for name, members in lines.items():
        (place / "kaldi" / name).write_text("".join(f"{line}\n" for line in members), encoding="utf-8")


def _pairs(folder: Path) -> None:
    (folder / "pairs").mkdir()
    rows = [{"id": str(n), "prompt": f"[Speech][Hu{n}]", "chosen": "[Hu1][Hu2]", "rejected": "[Hu4]"} for n in range(6)]
    (folder / "pairs" / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _findings(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from spiritlm_pl.reproduce.folder import TOKENIZERS, shared_settings
    from spiritlm_pl.reproduce.plan import all_tasks, plan_file
    from spiritlm_pl.reproduce.results import add_step

    out = folder / "findings"
    for name in plan_file()["tokenizers"]:
        (out / TOKENIZERS / name).mkdir(parents=True)
        (out / TOKENIZERS / name / "model.safetensors").write_bytes(b"1")
    settings = shared_settings(out, plan_file()["tokenizers"], 100, 1.0, (100, 1.0))
    for task in all_tasks(settings, ["none", "interleaved"], 2)[:4]:
        place = out / "runs" / task.name
        (place / "export").mkdir(parents=True)
        (place / "export" / "metrics.json").write_text(json.dumps({"val/text/loss": 1.5}), encoding="utf-8")
        save_file({"model.layers.0.a": torch.zeros(2, 3)}, place / "export" / "model.safetensors")
        scores: dict[str, Any] = {"ids": ["story 0", "story 1"]}
        for direction in ("text_to_text", "speech_to_speech", "speech_to_text", "text_to_speech"):
            scores[direction] = {"points": [1.0, 0.0], "right": [], "wrong": []}
        (place / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
        layers = [{"layer": n, "same": {"value": 0.5}, "other": {"value": 0.1}} for n in range(3)]
        (place / "words.json").write_text(json.dumps({"model": layers}), encoding="utf-8")
        for step in task.steps:
            add_step(out, task, step, 30.0, step.command)


def _files(folder: Path) -> None:
    from spiritlm_pl.planning import figures

    (folder / "files").mkdir()
    shutil.copy(Path(figures.__file__).with_name("figures.yaml"), folder / "files" / "figures.yaml")
    template = {"roles": {"user": {"before": "User:"}, "assistant": {"before": "Assistant:", "ends": True}}}
    (folder / "files" / "template.yaml").write_text(yaml.safe_dump(template), encoding="utf-8")
