"""The way from unit shards and text to training rows: storing, interleaving, packing, mixing."""
