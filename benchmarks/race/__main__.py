"""Runs the command `python -m benchmarks.race`; a file of its own, since spawned processes cannot import this one."""

from benchmarks.race.command import main
from minilm import cli

if __name__ == "__main__":
    cli.run_verb(main)
