"""The miniature world that is damaged: corpora, tokenizer, units, blocks, a model and a checkpoint, made in a minute.

world/stories, world/tones   corpora with word times; the F0 of the tones is beside them
world/recordings             audio of all containers with transcripts, and a table of them
world/times                  TextGrid files, a CTM file
world/texts                  text files of all formats
world/units, world/blocks    of the tones
world/model                  lm, speech_tokenizer, vocoder; of random weights but for the tokenizer
world/run                    two steps of training with a checkpoint, and lm.yaml, the configuration
"""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.faults.trial import ran, spiritlm

CONTAINERS = ("wav", "flac", "ogg", "mp3", "opus")
NUM_UNITS = 20
LM_STEPS = 2


def imports() -> None:
    """Import what commands import, so that forked processes have it."""
    import torch

    torch.set_num_threads(1)
    import deepspeed  # noqa: F401
    import gradio  # noqa: F401
    import peft  # noqa: F401
    import transformers.models.encodec.modeling_encodec  # noqa: F401

    import spiritlm_pl.adapters.folder
    import spiritlm_pl.alignment.run
    import spiritlm_pl.cli.batch.generate
    import spiritlm_pl.cli.build_blocks
    import spiritlm_pl.cli.plan
    import spiritlm_pl.cli.prepare.preferences
    import spiritlm_pl.cli.training
    import spiritlm_pl.conversations.build
    import spiritlm_pl.conversations.prepare
    import spiritlm_pl.corpora.collect
    import spiritlm_pl.corpora.sources.folder
    import spiritlm_pl.corpora.sources.lhotse_manifests
    import spiritlm_pl.datamodules.interleaved
    import spiritlm_pl.f0.store
    import spiritlm_pl.generation
    import spiritlm_pl.preferences.folder
    import spiritlm_pl.reproduce.run
    import spiritlm_pl.serve.app
    import spiritlm_pl.tokenizers.neural_codec  # noqa: F401


def make_world(folder: Path) -> Path:
    """Make the world once; return its folder.

    Args:
        folder: folder for the world; one that is complete is used as it is.

    Raises:
        RuntimeError: if a command fails.
    """
    if (folder / "complete").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _corpora(folder)
    _recordings(folder)
    _times(folder)
    _texts(folder)
    _model(folder)
    (folder / "complete").touch()
    return folder


def _do(folder: Path, *words: object) -> None:
    ended = ran(spiritlm(*words), folder, 300)
    if ended.code != 0:
        raise RuntimeError(f"{' '.join(map(str, words))} must end well, but ended with {ended.code}: {ended.err}")


def _corpora(folder: Path) -> None:
    from tests.conftest import make_tone_corpus

    make_tone_corpus(folder / "tones", train=12, held_out=3)
    _do(folder, "prepare", "stories", "stories", "--count=40", "--num-jobs=1", "--test_fraction=0.2")
    _do(folder, "extract-f0", "tones", "--extractor=yin", "--num-jobs=1", "--part_size=4")


def _stories(folder: Path) -> list[Any]:
    from spiritlm_pl.corpora.manifest import load_cuts

    return list(load_cuts(folder / "stories", "train"))


def _recordings(folder: Path) -> None:
    import av
    import soundfile

    rows = ["path,text,speaker,start,end"]
    for number, cut in enumerate(_stories(folder)[:10]):
        container = CONTAINERS[number % len(CONTAINERS)]
        samples, rate = soundfile.read(cut.recording.sources[0].source, dtype="float32")
        path = folder / "recordings" / f"speaker{number % 2}" / f"{container}{number}.{container}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if container == "opus":
            with av.open(str(path), "w", format="ogg") as output:
                stream = output.add_stream("libopus", rate=48_000, layout="mono")
                frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], "s16", "mono")
                frame.sample_rate = rate
                for packet in [*stream.encode(frame), *stream.encode(None)]:
                    output.mux(packet)
        else:
            soundfile.write(path, samples, rate)
        text = cut.supervisions[0].text
        path.with_suffix(".txt").write_text(f"{text}\n", encoding="utf-8")
        rows.append(
            f'{path.relative_to(folder / "recordings")},"{text}",{path.parent.name},0,{len(samples) / rate:.2f}'
        )
    (folder / "recordings" / "table.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _times(folder: Path) -> None:
    from spiritlm_pl.corpora.manifest import word_alignment

    grids = folder / "times" / "grids"
    grids.mkdir(parents=True)
    lines = []
    for split in ("train", "validation", "test"):
        from spiritlm_pl.corpora.manifest import load_cuts

        for cut in load_cuts(folder / "stories", split):
            words = word_alignment(cut)
            lines += [f"{cut.id} 1 {word.start} {word.end - word.start:.4f} {word.text}" for word in words]
            spans = [f'{word.start}\n{word.end}\n"{word.text}"' for word in words]
            (grids / f"{cut.id}.TextGrid").write_text(
                f'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n{cut.duration}\n<exists>\n1\n'
                f'"IntervalTier"\n"words"\n0\n{cut.duration}\n{len(spans)}\n' + "\n".join(spans) + "\n",
                encoding="utf-8",
            )
    (folder / "times" / "words.ctm").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _texts(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [cut.supervisions[0].text for cut in _stories(folder)]
    root = folder / "texts"
    root.mkdir()
    plain = ("\n".join(texts) + "\n").encode()
    rows = "".join(json.dumps({"text": text, "id": number}) + "\n" for number, text in enumerate(texts)).encode()
    (root / "plain.txt").write_bytes(plain)
    (root / "rows.jsonl").write_bytes(rows)
    (root / "packed.jsonl.gz").write_bytes(gzip.compress(rows, mtime=0))
    with pa.OSFile(str(root / "small.jsonl.zst"), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        stream.write(rows)
    pq.write_table(pa.table({"text": texts}), root / "table.parquet")


def lm_config(root: Path) -> dict[str, Any]:
    """Return the configuration of the small training.

    Args:
        root: the world, whose blocks and text tokenizer it reads.
    """
    streams = {kind: {"folder": str(root / "blocks")} for kind in ("text", "speech", "aligned")}
    network = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 128,
    }
    return {
        "model": {
            "class_path": "spiritlm_pl.modules.lm.LanguageModelModule",
            "init_args": {
                "network": {"config": network},
                "optimizer": {"lr": 0.002, "weight_decay": 0.1},
                "text_tokenizer": str(root / "text_tokenizer"),
            },
        },
        "data": {
            "class_path": "spiritlm_pl.datamodules.interleaved.InterleavedDataModule",
            "init_args": {"streams": streams, "row_length": 64, "batch_size": 2, "num_workers": 0, "val_rows": 4},
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": LM_STEPS,
            "gradient_clip_val": 1.0,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 0,
            "log_every_n_steps": 1,
            "use_distributed_sampler": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": False,
            "default_root_dir": "run",
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"every_n_train_steps": 2, "save_last": "link"},
                },
                {"class_path": "spiritlm_pl.callbacks.export.ExportNetwork", "init_args": {"dirpath": "lm"}},
            ],
        },
    }


def predict_words(root: Path, out: object) -> list[object]:
    """Return the words of the command that tokenises the tones.

    Args:
        root: the world.
        out: folder of the units.
    """
    return [
        *("predict", "--config=tokenize/quickstart_mfcc", f"--model.init_args.tokenizer={root}/model/speech_tokenizer"),
        *(f"--data.init_args.corpora=[{root}/tones]", "--data.init_args.part_size=3"),
        *("--data.init_args.batch_seconds=4", f"--trainer.callbacks.init_args.folder={out}"),
        "--trainer.enable_progress_bar=false",
        "--trainer.callbacks.init_args.overwrite=false",
    ]


def _model(folder: Path) -> None:
    import torch

    from spiritlm_pl.runtime.checkpoint import save_network
    from spiritlm_pl.tokenizers.features import MFCCConfig
    from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
    from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
    from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder

    torch.manual_seed(0)
    features = MFCCConfig().build()
    quantizer = KMeans(KMeansConfig(num_units=NUM_UNITS, feature_dim=features.feature_dim))
    torch.nn.init.normal_(quantizer.centroids, std=30.0)
    PhoneticTokenizer(features, quantizer).save(folder / "model" / "speech_tokenizer")
    voices = InverseSTFTConfig(num_units=NUM_UNITS, speakers=("anna", "bert"), embedding_dim=8, channels=16)
    save_network(folder / "model" / "vocoder", InverseSTFTVocoder(voices), "vocoder")
    _do(folder, *predict_words(folder, folder / "units"))
    _do(folder, "train-text-tokenizer", "text_tokenizer", "--corpora=[tones, stories]")
    units = f"[{folder}/units/tones]"
    _do(folder, "build-blocks", units, "text_tokenizer", "blocks", "--num-jobs=1", "--multiple_of=16")
    (folder / "lm.yaml").write_text(yaml.safe_dump(lm_config(folder)), encoding="utf-8")
    _do(folder, "fit", "--config=lm.yaml", "--trainer.callbacks.init_args.dirpath=model/lm")
