"""`spiritlm score`: log-likelihoods of hypotheses after contexts."""

from dataclasses import asdict
from pathlib import Path

from spiritlm_pl.cli.batch.items import (
    MODEL,
    STANDARD,
    LinesWriter,
    asked,
    best_device,
    pieces,
    read_items,
    warn_of_unknown,
)
from spiritlm_pl.interop.release.layout import Variant


def score(
    *inputs: str,
    out: Path | None = None,
    model: Path = MODEL,
    lm: Path | None = None,
    adapter: Path | None = None,
    template: str | None = None,
    variant: Variant | None = None,
    device: str | None = None,
    batch_size: int = 16,
    dtype: str | None = None,
) -> None:
    """Compute log-likelihoods of hypotheses after their contexts.

    A line of the input holds a context and its hypotheses: strings in which [Text], [Speech], [Hu5] ... are tokens, or
    lists such as [{"audio": "a.wav"}, {"text": "the mat"}]. A line of the output holds, for each hypothesis, the summed
    log-likelihood, the number of tokens and the mean, and which one is best by the mean (null for a tie). The end of a
    document, or of a turn, is not scored. A line may have messages (a role and a content each) in place of the context;
    the hypotheses are then answers of the assistant. If an item cannot be scored, its line has id and error, the
    others are scored, and the exit status is 1.

    An output line belongs to the input line of its id, whatever its place: the id that the input line gives, or else
    the line's number in its file, from 1 and with empty lines counted (FILE:NUMBER where there are several files).

    Examples:
        spiritlm score items.jsonl --out scores.jsonl
        echo '{"context": "[Text]the cat sat on", "hypotheses": [" the mat", " the moon"]}' | spiritlm score -

    Args:
        inputs: files of JSON lines; - or no file reads standard input.
        out: file that lines are appended to; items that are already in it are skipped, and those that failed are tried
            again, with their lines at the end. Standard output if left out.
        model: model folder, or directory of the published release.
        lm: folder of the language model; MODEL/lm if left out.
        adapter: folder of an adapter that was trained on this model (LoRA), to use with it; none if left out.
        template: form in which a tuned model is asked: the name of a task or "chat", if it was tuned on that; or a YAML
            file. The context is then the user's turn, and a hypothesis the assistant's. If left out, only messages are
            asked by a template: "chat", or the only one.
        variant: base or expressive, if the published release holds both.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        batch_size: number of items that are computed together.
        dtype: number format of the weights, such as float32 or bfloat16; as stored if left out.

    Raises:
        ValueError: if an argument or the model is wrong; errors in an item are written to its line.
        FileNotFoundError: if the model is missing.
    """
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, but is {batch_size} instead")
    sources = inputs or (STANDARD,)
    with LinesWriter(out, sources) as writer:
        items = writer.left(read_items(sources))

        from transformers.utils.logging import disable_progress_bar

        from spiritlm_pl.generation import LoadOptions, SpiritLM
        from spiritlm_pl.generation.asking import find_template, trained_templates
        from spiritlm_pl.generation.loading import ModelFolders
        from spiritlm_pl.generation.prompt import unknown_characters

        disable_progress_bar()  # the bar of reading the weights would disturb the output
        loading = LoadOptions(device=best_device(device), dtype=dtype, adapter=adapter)
        path = model if lm is None else ModelFolders.find(model, lm)
        form = None if template is None else find_template(trained_templates(path, adapter), template)
        spirit_lm = SpiritLM.from_pretrained(path, variant, loading)
        if form is not None:
            spirit_lm = spirit_lm.asked_by(form)
        unknown: dict[str, None] = {}  # characters, in their order
        for start in range(0, len(items), batch_size):
            good, encoded = [], []
            for item in items[start : start + batch_size]:
                try:
                    listed = item.get("hypotheses")
                    if not isinstance(listed, list):
                        raise ValueError(f"hypotheses must be a list, but is {listed!r} instead")
                    hypotheses = [pieces(one) for one in listed]
                    context = asked(item, "context", spirit_lm.vocabulary)
                    for one in (context, *hypotheses):
                        lacking = unknown_characters(one, spirit_lm.text_tokenizer, spirit_lm.vocabulary)
                        unknown |= dict.fromkeys(lacking)
                    encoded.append(spirit_lm.encode_choice(context, hypotheses))
                    good.append(item)
                except (ValueError, OSError) as error:
                    writer.write(item, error=str(error))
            for item, scores in zip(good, spirit_lm.score_encoded(encoded), strict=True):
                means = [score.mean for score in scores]
                best = None if means.count(max(means)) > 1 else means.index(max(means))
                writer.write(item, scores=[{**asdict(score), "mean": score.mean} for score in scores], best=best)
        warn_of_unknown(unknown)
