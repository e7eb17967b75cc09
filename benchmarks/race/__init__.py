"""Compares search algorithms on a table of recorded trainings; `python -m benchmarks.race` is the program."""
