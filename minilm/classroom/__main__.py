"""`python -m minilm.classroom`."""

from minilm import cli
from minilm.classroom import main

if __name__ == "__main__":
    cli.run_verb(main)
