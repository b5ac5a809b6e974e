"""`spiritlm build-conversations`: conversations and tasks over tokenised corpora to training blocks."""

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.corpora.text_files.skipped import Skipped


@writes("out")
def build_conversations(
    units: list[str],
    text_tokenizer: str,
    out: str,
    records: list[str] | None = None,
    tasks: list[str] | None = None,
    template: str | None = None,
    splits: tuple[str, ...] = ("train", "validation", "test"),
    expressive: bool | None = None,
    end_of_document: bool | None = None,
    begin_of_document: bool | None = None,
    block_tokens: int = 4_194_304,
    seed: int = 0,
) -> None:
    """Turn conversations, or speech tasks over corpora, into training blocks, OUT/SPLIT/conversation.

    Of each conversation only the answers are learnt, or the parts that it marks. Each turn to learn ends with the end
    token, so that a model of these blocks stops by itself. Blocks of other streams in OUT stay. What cannot be used
    (speech without units, unknown roles, nothing to learn) is left out, counted and reported.

    Examples:
        spiritlm build-conversations '[data/units/mine]' data/lm data/tune --tasks '[asr, tts]'
        spiritlm build-conversations '[data/units/chat]' data/lm data/tune --records '[data/chat]'
        spiritlm build-conversations '[]' data/lm data/tune --records '[data/written_chat]' --template plain

    Args:
        units: folders of tokenised corpora, all of one speech tokenizer; those of the records' speech, and those that
            the tasks are made of.
        text_tokenizer: folder of the language model that is tuned, or its text tokenizer, as for build-blocks.
        out: folder to write the blocks to.
        records: folders of `spiritlm prepare conversations`.
        tasks: what is made of every utterance: "asr", its transcript after its speech; "tts", its speech after its
            transcript; "intent", its label after its speech.
        template: form of the conversations: "chat", with the names of the speakers; "plain", without; or a YAML file.
            Left out, chat for records, and the published few-shot form for each task, also for the records of a task.
        splits: splits to build; what a corpus or a folder of records lacks is left out.
        expressive: false drops pitch and style codes of shards that have them; left out, as the language model, or else
            all of them are kept.
        end_of_document: true gives documents the text tokenizer's end token, which conversations need. Left out, true
            where the tokenizer has one, but false for a published model.
        begin_of_document: true opens every conversation with the token that the base model begins texts with. Left
            out, as the language model, or else false.
        block_tokens: approximate number of tokens in one block.
        seed: seed of the order of the conversations.

    Raises:
        ValueError: if an argument is wrong, or nothing can be learnt.
        FileNotFoundError: if units, records or the text tokenizer are missing.
    """
    from spiritlm_pl.benchmarks.few_shot.conversation import published_template
    from spiritlm_pl.conversations.build import build_conversations as build
    from spiritlm_pl.conversations.prepared import form_of
    from spiritlm_pl.conversations.tasks import TASKS
    from spiritlm_pl.conversations.template import load_template

    known = [task for task in tasks or () if task in TASKS]  # others are refused
    forms = dict.fromkeys((*known, *map(form_of, records or ())))
    chosen = {
        form: published_template(form) if template is None and form in TASKS else load_template(template or "chat")
        for form in forms
    }
    skipped = Skipped()
    made = build(
        out,
        text_tokenizer,
        units,
        records or [],
        tasks or [],
        chosen,
        splits=splits,
        block_tokens=block_tokens,
        seed=seed,
        skipped=skipped,
        vocabulary_options={
            "expressive": expressive,
            "end_of_document": end_of_document,
            "begin_of_document": begin_of_document,
        },
    )
    print(f"{'':<20}{'blocks':>8}{'conversations':>15}{'text tokens':>14}{'speech tokens':>15}")
    for split, manifest in made.items():
        text, speech = (
            sum(getattr(block, f"{kind}_tokens") for block in manifest.blocks) for kind in ("text", "speech")
        )
        print(f"{split:<20}{len(manifest.blocks):>8,}{manifest.num_documents:>15,}{text:>14,}{speech:>15,}")
    for line in skipped.lines():
        print(f"Left out: {line}")
