"""Speech tokenizers: frame features, quantizers, units, pitch and style codes."""
