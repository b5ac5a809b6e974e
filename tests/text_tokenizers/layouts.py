from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers


def byte_level_of(lines, size, regex=None, normalizer=None, digits=False):
    """As GPT-2's; with a regular expression as Qwen's, Llama 3's and later Mistral's; with digits as SmolLM's."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    cut = [] if regex is None else [pre_tokenizers.Split(Regex(regex), "isolated")]
    cut += [pre_tokenizers.Digits(individual_digits=True)] * digits
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex is None)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cut, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer
