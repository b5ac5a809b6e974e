"""Where pairs and prompts come from: lines that people wrote, a benchmark's right and wrong, and tokenised corpora."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spiritlm_pl.benchmarks.items import ChoiceItem, PromptItem, Reading
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.evaluation.choice import DIRECTIONS, choice_items, sequence
from spiritlm_pl.generation.prompt import Prompt, Prompting
from spiritlm_pl.generation.scoring import common_beginning
from spiritlm_pl.generation.types import OutputModality, Speech, Text
from spiritlm_pl.preferences.pairs import BadPairError, Pair, check_pair
from spiritlm_pl.registry import find
from spiritlm_pl.text_tokenizers.tokenizer import HALF_PAIR
from spiritlm_pl.vocabulary import Modality

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

Pieces = Callable[[Any], Prompting]  # from a value of a line to a continuation
Asked = Callable[[Mapping[str, Any]], Prompting]  # from a line to its prompt


@dataclass(frozen=True)
class FoundPairs:
    """Pairs of a source.

    Attributes:
        pairs: pairs, each checked, with an id of its own.
        skipped: what gave no pair, each with its reason.
        notes: sentences about how the source was read.
    """

    pairs: list[Pair]
    skipped: list[Skipped]
    notes: Sequence[str] = ()


def _check_id(name: str) -> None:
    if HALF_PAIR.search(name):
        raise BadPairError("id must consist of whole characters, but has half a surrogate pair")


def _collected(model: "SpiritLM", made: Iterable[tuple[str, Callable[[], Pair]]], source: str) -> FoundPairs:
    """Make pairs and check them; those that fail are skipped.

    Raises:
        ValueError: if two have the same id.
    """
    found: dict[str, Pair] = {}
    skipped: list[Skipped] = []
    for name, make in made:
        try:
            _check_id(name)
            pair = make()
            check_pair(pair, model.vocabulary)
        except (ValueError, OSError) as error:
            skipped.append(Skipped(name, source, str(error)))
            continue
        if name in found:
            raise ValueError(f"ids must be unique, but {source} holds {name} twice")
        found[name] = pair
    return FoundPairs([*found.values()], skipped)


def given_pairs(
    model: "SpiritLM", items: Iterable[Mapping[str, Any]], asked: Asked, pieces: Pieces, source: str
) -> FoundPairs:
    """Make pairs of items with `prompt` (or `messages`), `chosen` and `rejected`.

    Each is a string of words and tokens, a list of pieces, or a list of token ids; all three are of one form. Both
    continuations get the token that ends documents, where the model has one, unless the item's `chosen_ends` or
    `rejected_ends` is false; token ids are taken as they are.

    Args:
        model: model whose tokens the pairs are made of; continuations are answers where a template asks it.
        items: items with an `id`.
        asked: function that reads the prompt of an item.
        pieces: function that reads a continuation.
        source: name of the file, for messages.
    """
    made = ((str(item["id"]), partial(_given, model, item, asked, pieces)) for item in items)
    return _collected(model, made, source)


def _given(model: "SpiritLM", item: Mapping[str, Any], asked: Asked, pieces: Pieces) -> Pair:
    sides = ("messages" if "messages" in item else "prompt", "chosen", "rejected")
    missing = [name for name in sides if item.get(name) in (None, "", [])]
    if missing:
        lacking = " and ".join(missing)
        raise BadPairError(f"a pair must have prompt, chosen and rejected, but there is nothing in {lacking}")
    values = [item[name] for name in sides]
    if all(isinstance(value, list) and all(type(one) is int for one in value) for value in values):
        return Pair(str(item["id"]), *values)
    prompt, chosen, rejected = asked(item), *map(pieces, values[1:])
    ends = []
    for name in ("chosen_ends", "rejected_ends"):
        if not isinstance(item.get(name, True), bool):
            raise BadPairError(f"{name} must be true or false, but is {item[name]!r}")
        ends.append(item.get(name, True))
    return _encoded(model, str(item["id"]), prompt, chosen, rejected, ends)


def _encoded(
    model: "SpiritLM", name: str, prompt: Prompting, chosen: Prompting, rejected: Prompting, ends: Sequence[bool]
) -> Pair:
    """Encode both continuations together with their prompt.

    Where a text token spans the end of the prompt, the tokens from there on belong to the continuations.
    """
    if prompt:
        encoded = model.encode_choice(prompt, [chosen, rejected], ends)
        return Pair(name, encoded.context, *encoded.continuations)
    # As in benchmarks of words and sentences.
    wholes = [model.encode_prompt(one, closed=True).tokens for one in (chosen, rejected)]
    opening = len(model.text_tokenizer.opening) + len(model.vocabulary.opening) + 1
    shared = min(opening, common_beginning(*wholes))
    before, (first, second) = wholes[0][:shared], (whole[shared:] for whole in wholes)
    closing = model.vocabulary.end_of_document
    if closing is not None:
        first, second = (
            [*tokens, closing] if ended else tokens for tokens, ended in zip((first, second), ends, strict=True)
        )
    return Pair(name, before, first, second)


def benchmark_pairs(model: "SpiritLM", benchmark: str, folder: Path, options: Mapping[str, Any]) -> FoundPairs:
    """Make pairs of the right and the wrong hypotheses of a benchmark.

    Args:
        model: model whose tokens the pairs are made of.
        benchmark: name of the benchmark, or path of its class.
        folder: folder of its data.
        options: options of its reading, such as the split.

    Raises:
        ValueError: if it is no benchmark of choices, or the folder cannot be read.
    """
    reading: Reading = find("benchmarks", benchmark, "benchmark").read(folder, options)
    strange = next((item for item in reading.items if not isinstance(item, ChoiceItem)), None)
    if strange is not None:
        raise ValueError(f"benchmark must be one of right and wrong hypotheses, but {benchmark} is not")
    ends = (False, False)  # hypotheses may be words alone

    def make(item: ChoiceItem) -> Pair:
        return _encoded(model, item.id, item.context, item.right, item.wrong, ends)

    found = _collected(model, ((item.id, partial(make, item)) for item in reading.items), str(folder))
    return FoundPairs(found.pairs, [*reading.skipped, *found.skipped], reading.notes)


def ending_pairs(model: "SpiritLM", units: UnitCorpus, directions: Sequence[str], seed: int) -> FoundPairs:
    """Make pairs of the endings of stories: a story's own is preferred to another story's.

    Args:
        model: model whose tokens the pairs are made of.
        units: split of a tokenised corpus with word times and ends of sentences.
        directions: directions from context to ending, of `spiritlm_pl.evaluation.choice.DIRECTIONS`.
        seed: seed of the choice of the other endings.
    """
    opening, closing = model.text_tokenizer.opening, model.vocabulary.end_of_document
    items = choice_items(units, model.text_tokenizer, model.vocabulary, seed=seed)

    def make(item: Any, direction: str) -> Pair:
        found = [
            sequence(item.context, ending, DIRECTIONS[direction], model.vocabulary, None, opening)
            for ending in (item.right, item.wrong)
        ]
        before = min(len(tokens) - scored for tokens, scored in found)
        end = [] if closing is None else [closing]
        first, second = ([*tokens[before:], *end] for tokens, _ in found)
        return Pair(f"{direction}-{item.id}", found[0][0][:before], first, second)

    made = ((f"{direction}-{item.id}", partial(make, item, direction)) for direction in directions for item in items)
    return _collected(model, made, str(units.folder))


@dataclass(frozen=True)
class FoundPrompts:
    """Prompts of a source.

    Attributes:
        prompts: encoded prompts by their ids.
        skipped: what gave no prompt, each with its reason.
    """

    prompts: dict[str, Prompt]
    skipped: list[Skipped]


def encode_prompts(
    model: "SpiritLM", items: Iterable[tuple[str, Callable[[], Prompting]]], output: OutputModality, source: str
) -> FoundPrompts:
    """Encode prompts; those that cannot be encoded, or leave no room in the model's context, are skipped.

    Args:
        model: model that is to continue them, or to answer where a template asks it.
        items: ids, and functions that give the prompts.
        output: modality of the continuations.
        source: name of the source, for messages.
    """
    found: dict[str, Prompt] = {}
    skipped: list[Skipped] = []
    for name, give in items:
        try:
            _check_id(name)
            prompt = model.encode_prompt(give(), output)
            model.check_room(prompt)
        except (ValueError, OSError) as error:
            skipped.append(Skipped(name, source, str(error)))
            continue
        if name in found:
            raise ValueError(f"ids must be unique, but {source} holds {name} twice")
        found[name] = prompt
    return FoundPrompts(found, skipped)


def recorded_prompts(model: "SpiritLM", reading: Reading, output: OutputModality, source: str) -> FoundPrompts:
    """Encode the prompts that were read from recordings or texts (`spiritlm_pl.benchmarks.continuations.prompts`)."""
    items: Sequence[PromptItem] = reading.items
    found = encode_prompts(model, ((item.id, partial(getattr, item, "prompt")) for item in items), output, source)
    return FoundPrompts(found.prompts, [*reading.skipped, *found.skipped])


def story_prompts(
    model: "SpiritLM", units: UnitCorpus, prompted: Modality, output: OutputModality, seed: int
) -> FoundPrompts:
    """Encode the beginnings of stories, without their last sentence, as prompts.

    Args:
        model: model that is to continue them.
        units: split of a tokenised corpus with word times and ends of sentences.
        prompted: modality of the prompts.
        output: modality of the continuations.
        seed: seed of the order.
    """
    items = choice_items(units, model.text_tokenizer, model.vocabulary, seed=seed)

    def give(item: Any) -> Prompting:
        if prompted is Modality.TEXT:
            return [Text(model.text_tokenizer.decode([token for word in item.context for token in word.text]))]
        return [Speech(tokens=tuple(token for word in item.context for token in word.speech))]

    return encode_prompts(model, ((item.id, partial(give, item)) for item in items), output, str(units.folder))
