"""Several answers to each prompt, and their scores, as JSON lines that an interrupted run goes on with."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from spiritlm_pl.cli.batch.items import Item, LinesWriter, file_name
from spiritlm_pl.data.rng import derive, name_key
from spiritlm_pl.preferences.contract import Candidates
from spiritlm_pl.runtime.provenance import atomic_path

LARGEST_SEED = 1 << 31
SCORED_TOGETHER = 16  # prompts


def lines_file(folder: Path, name: str, identity: Mapping[str, Any]) -> Path:
    """Return the path of a file of lines whose name holds a hash of what the lines depend on."""
    digest = sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    return folder / f"{name}-{digest[:8]}.jsonl"


def sample(model: Any, prompts: Mapping[str, Any], path: Path, output: str, settings: Any) -> list[Candidates]:
    """Sample answers to prompts, and return those of all prompts, also of earlier runs.

    The answers to a prompt depend on its id and the seed alone, not on the other prompts.

    Args:
        model: model that answers.
        prompts: encoded prompts by their ids.
        path: file of lines that the answers are appended to.
        output: modality of the answers.
        settings: sampling options, with the number of samples.
    """
    with LinesWriter(path, []) as writer:
        items = writer.left({"id": name} for name in prompts)
        together = max(1, settings.batch_size // settings.num_samples)
        for start in range(0, len(items), together):
            batch = items[start : start + together]
            seeds = [derive(settings.seed, name_key(item["id"])) % LARGEST_SEED for item in batch]
            given = [prompts[item["id"]] for item in batch]
            found = model.generate_encoded(given, output, settings, seeds=seeds)
            for item, prompt, answers in zip(batch, given, found, strict=True):
                tokens = tuple(answer.tokens for answer in answers)
                stopped = tuple(answer.finish_reason == "stop" for answer in answers)
                writer.write(item, **Candidates(item["id"], tuple(prompt.tokens), tokens, stopped).to_line())
    return [one for one in map(Candidates.from_line, _read(path)) if one.id in prompts]


def score(
    model: Any, scorer: Any, candidates: Sequence[Candidates], path: Path | None
) -> dict[str, list[float | None]]:
    """Score answers, and return the scores by the ids of the prompts.

    Args:
        model: model that the answers are of.
        scorer: scorer of answers.
        candidates: prompts with their answers.
        path: file of lines that scores are appended to; None to score all anew.

    Raises:
        ValueError: if the scorer gives another number of scores than there are answers.
    """
    if path is None:
        return {one.id: scores for one, scores in zip(candidates, _scores(model, scorer, candidates), strict=True)}
    by_id = {one.id: one for one in candidates}
    with LinesWriter(path, []) as writer:
        items = writer.left({"id": name} for name in by_id)
        for start in range(0, len(items), SCORED_TOGETHER):
            batch: list[Item] = items[start : start + SCORED_TOGETHER]
            given = [by_id[item["id"]] for item in batch]
            for item, scores in zip(batch, _scores(model, scorer, given), strict=True):
                writer.write(item, scores=scores)
    return {line["id"]: line["scores"] for line in _read(path)}


def _scores(model: Any, scorer: Any, candidates: Sequence[Candidates]) -> list[list[float | None]]:
    found: list[list[float | None]] = scorer(model, candidates)
    if len(found) != len(candidates):
        raise ValueError(f"a scorer must score each prompt, but gave scores of {len(found)} for {len(candidates)}")
    for scores, one in zip(found, candidates, strict=True):
        if len(scores) != len(one.answers):
            raise ValueError(f"a scorer must score each answer, but gave {len(scores)} for {len(one.answers)}")
    return found


def write_form(model: Any, candidates: Sequence[Candidates], path: Path, audio: Path) -> None:
    """Write a table of answers in which people fill in the column score, and the spoken answers as wav files.

    Args:
        model: model that the answers are of; its vocoder, if it has one, speaks them.
        candidates: prompts with their answers.
        path: table to write.
        audio: folder of the wav files.
    """
    from spiritlm_pl.generation.stream import decode_tokens, speech_string
    from spiritlm_pl.vocabulary import Modality

    def told(tokens: Sequence[int], name: str) -> tuple[str, str]:
        words, files = [], []
        for number, segment in enumerate(decode_tokens(tokens, model.vocabulary), start=1):
            if segment.modality is Modality.TEXT:
                words.append(model.text_tokenizer.decode(list(segment.tokens)))
            elif model.synthesis is None:
                words.append(speech_string(segment.tokens, model.vocabulary))
            else:
                files.append(_spoken(model.synthesis, segment.tokens, audio / f"{name}_{number}.wav"))
        return " ".join(words), " ".join(files)

    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "answer", "score", "text", "audio", "prompt_text", "prompt_audio", "digest"])
        for one in candidates:
            name = file_name(one.id)
            prompt = told(one.prompt, f"{name}_prompt")
            for number, (answer, digest) in enumerate(zip(one.answers, one.digests, strict=True), start=1):
                table.writerow([one.id, number, "", *told(answer, f"{name}_{number}"), *prompt, digest])


def _spoken(synthesis: Any, tokens: Sequence[int], path: Path) -> str:
    from spiritlm_pl.corpora.audio import save_wav

    save_wav(path, synthesis.speak(tokens), synthesis.sample_rate)
    return str(path)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if "error" not in found:
            yield found
