"""Trains: batches go in, the best weights come out. Knows models and texts, not the tuner."""
