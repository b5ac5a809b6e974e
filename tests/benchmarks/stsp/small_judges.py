"""Small judges in the form of `transformers`: an untrained one that hears, and one that learns texts in seconds.

python tests/benchmarks/stsp/small_judges.py MANIFEST... FOLDER
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

SENTIMENTS = ("negative", "neutral", "positive")


def hearing_judge(folder: Path, classes: Sequence[str] = ("angry", "default", "happy", "sad")) -> Path:
    """An untrained audio classifier of these classes."""
    torch.manual_seed(1)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(160, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
        num_labels=len(classes),
    )
    Wav2Vec2ForSequenceClassification(config).eval().save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    return folder


def reading_judge(
    folder: Path, texts: Sequence[tuple[str, str]], classes: Sequence[str] = SENTIMENTS, steps: int = 60
) -> Path:
    """A text classifier of these classes that is trained on texts with their classes."""
    torch.manual_seed(2)
    words = sorted({word for text, _ in texts for word, _ in _split().pre_tokenize_str(text.lower())})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), _split()
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout_prob=0.1,
        pad_token_id=0,
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
        num_labels=len(classes),
    )
    network = BertForSequenceClassification(config).train()
    values = whole([text for text, _ in texts], padding=True, truncation=True, max_length=62, return_tensors="pt")
    right = torch.tensor([classes.index(name) for _, name in texts])
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(steps):
        hidden = values["input_ids"].masked_fill(torch.rand(values["input_ids"].shape) < 0.2, 1)  # words unknown
        network(input_ids=hidden, attention_mask=values["attention_mask"], labels=right).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval().save_pretrained(folder)
    whole.save_pretrained(folder)
    return folder


def _split():
    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])


def halves(rows):
    """Whole texts and their second halves, as answers are."""
    for row in rows:
        words = row["asr"].split()
        yield row["asr"], row["sentiment"]
        yield " ".join(words[len(words) // 2 :]), row["sentiment"]


if __name__ == "__main__":
    *manifests, out = map(Path, sys.argv[1:])
    rows = [json.loads(line) for file in manifests for line in file.read_text().splitlines()]
    reading_judge(out, list(halves(rows)), steps=150)
