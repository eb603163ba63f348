"""From raw files to batches: corpora, readers, data-bin, pairs."""
