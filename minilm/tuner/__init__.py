"""Searches hyperparameters: spaces, proposals, workers, records, and the study that joins them."""
