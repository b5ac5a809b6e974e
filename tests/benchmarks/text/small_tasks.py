"""Tasks of lm-eval with few questions of few words."""

import json

import torch

WORDS = ["the", "cat", "sat", "on", "mat", "a", "dog", "ran", "off"]


CHOICE = {
    "dataset_path": "json",
    "test_split": "test",
    "fewshot_split": "train",
    "output_type": "multiple_choice",
    "doc_to_text": "question {{question}}\nAnswer:",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}


def sentences(seed, count, length):
    generator = torch.Generator().manual_seed(seed)
    return [
        " ".join(WORDS[int(one)] for one in torch.randint(len(WORDS), (length,), generator=generator))
        for _ in range(count)
    ]


def questions(seed, count, choices=4):
    generator = torch.Generator().manual_seed(seed)
    asked = sentences(seed, count, 5)
    return [
        {
            "question": question,
            "choices": [sentences(seed + 31 * (number * 7 + which), 1, 1 + which)[0] for which in range(choices)],
            "answer": int(torch.randint(choices, (), generator=generator)),
        }
        for number, question in enumerate(asked)
    ]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
