"""`spiritlm score`: how likely is a hypothesis after a context?"""

from dataclasses import asdict

from spiritlm_pl.cli.batch.items import LinesWriter, best_device, parser, pieces, read_items

EPILOG = """\
examples:
  spiritlm score items.jsonl --out scores.jsonl
  echo '{"context": "[Text]the cat sat on", "hypotheses": [" the mat", " the moon"]}' | spiritlm score -

A line of the input holds a context and its hypotheses: strings in which [Text], [Speech], [Hu5] ... are tokens, or
lists such as [{"audio": "a.wav"}, {"text": "the mat"}]. A line of the output holds, for each hypothesis, the summed
log-likelihood, the number of tokens and the mean, and which one is best by the mean
(null for a tie). The end of a document is not scored.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: as on the command line, without `spiritlm score`; those of the process by default.

    Raises:
        ValueError: if an argument or the model is wrong; what is wrong with an item stands in its line.
        FileNotFoundError: if the model is missing.
    """
    made = parser("score", "Log-likelihoods of hypotheses after their contexts.", EPILOG)
    made.add_argument("--batch-size", type=int, default=16, metavar="N", help="items at once (default: 16)")
    made.add_argument("--dtype", metavar="TYPE", help="of the weights: float32, bfloat16 (default: as stored)")
    options = made.parse_args(arguments)
    if options.batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, but is {options.batch_size} instead")
    writer = LinesWriter(options.out, options.inputs)
    items = writer.left(read_items(options.inputs))

    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.generation import LoadOptions, SpiritLM

    disable_progress_bar()  # of reading the weights
    loading = LoadOptions(device=best_device(options.device), dtype=options.dtype)
    spirit_lm = SpiritLM.from_pretrained(options.model, options.variant, loading)
    with writer:
        for start in range(0, len(items), options.batch_size):
            good, encoded = [], []
            for item in items[start : start + options.batch_size]:
                try:
                    listed = item.get("hypotheses")
                    if not isinstance(listed, list):
                        raise ValueError(f"hypotheses must be a list, but is {listed!r} instead")
                    hypotheses = [pieces(one) for one in listed]
                    encoded.append(spirit_lm.encode_choice(pieces(item.get("context")), hypotheses))
                    good.append(item)
                except (ValueError, OSError) as error:
                    writer.write(item, error=str(error))
            for item, scores in zip(good, spirit_lm.score_encoded(encoded), strict=True):
                means = [score.mean for score in scores]
                best = None if means.count(max(means)) > 1 else means.index(max(means))
                writer.write(item, scores=[{**asdict(score), "mean": score.mean} for score in scores], best=best)
