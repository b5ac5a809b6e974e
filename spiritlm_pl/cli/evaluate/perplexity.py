"""Command that measures the perplexity of texts under language models."""

import sys
from typing import Literal

from spiritlm_pl.cli.evaluate.report import check_reports, write_report, write_table


def perplexity(
    lms: dict[str, str],
    text: list[str],
    out: str,
    text_documents: Literal["line", "blank_line", "file"] = "line",
    text_field: str = "text",
    items: int | None = None,
    batch_tokens: int = 4096,
    device: str = "cpu",
) -> None:
    """Measure the perplexity of texts under language models: what is kept of a text model that has learnt speech?

    Weights are float32. A model that was trained here is asked with [Text] before each document. The first word of a
    document is given to all models, and is not scored. Figures that cannot be trusted are told: those of fewer than 100
    tokens, and those of a text of which more than a twentieth of the tokens are bytes or unknown.

    Examples:
        spiritlm evaluate perplexity '{before: FOLDER, after: runs/mine/export}' '[held_out.txt]' perplexity.json
        spiritlm evaluate perplexity '{mine: runs/mine/export}' '[data/texts/test]' perplexity.json --items 500

    Args:
        lms: language models by name, such as '{"before": "a", "after": "b"}': folders that were exported here or of
            transformers with a tokenizer, or names on the Hugging Face hub. All are compared with the first.
        text: files, folders or patterns of text, as for `spiritlm build-blocks --text`.
        out: JSON file to write: figures by model, and the number of documents left out. A table is written beside it as
            Markdown.
        text_documents: a document of a plain text file: a line, the lines between blank lines, or the whole file.
        text_field: field or column that holds the text, in JSON lines and tables.
        items: largest number of documents, spread evenly over the text; all if left out.
        batch_tokens: largest number of tokens in a batch, padding included.
        device: device to compute on: cpu, cuda, cuda:1, ...
    """
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.corpora.splitting import spread_evenly
    from spiritlm_pl.corpora.text_files.options import TextOptions
    from spiritlm_pl.corpora.text_files.skipped import Skipped
    from spiritlm_pl.corpora.text_files.source import open_source
    from spiritlm_pl.evaluation.perplexity import perplexity_table, text_perplexity
    from spiritlm_pl.evaluation.text_likelihood import load_text_likelihood
    from spiritlm_pl.runtime.devices import check_device

    check_reports(out=out)

    if not lms:
        raise ValueError("lms must name at least one language model, but is empty instead")
    for name, number in (("items", items), ("batch_tokens", batch_tokens)):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be at least 1, but is {number} instead")
    skipped = Skipped()
    source = open_source(text, TextOptions(field=text_field, documents=text_documents))
    texts = [document for _, document in source.all_texts(skipped)]
    texts = texts if items is None else spread_evenly(texts, items)
    place = check_device(device)
    disable_progress_bar()
    models = {name: load_text_likelihood("lms", folder, place) for name, folder in lms.items()}
    results, reasons = text_perplexity(models, texts, batch_tokens)
    figures = {name: one.to_dict() for name, one in results.items()}
    write_report(out, {"models": figures, "skipped": skipped.total + len(reasons)})
    write_table(out, perplexity_table(results, f"Perplexity of {source.name}"))
    for line in [*skipped.lines(), *(f"{reasons.count(reason)} x {reason}" for reason in dict.fromkeys(reasons))]:
        print(f"left out: {line}", file=sys.stderr)
