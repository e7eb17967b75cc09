"""Training: batches go in, the best weights come out. Knows models and texts; refuses to know the tuner."""
