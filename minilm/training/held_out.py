"""Lets a run be judged and spoken with where its text is not: the tokens that no training saw travel in its folder.

The training split stays at home; what needs it says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from minilm import files
from minilm.errors import CorpusError, RunError, note
from minilm.text.corpora import MAPPED_ABOVE, Corpus, load_described
from minilm.training.checkpoint import CHECKPOINT, WEIGHTS, belongs, identity
from minilm.training.run import METRICS, PLACE, RESULT, Run, write_config

HELD_OUT = "held_out.safetensors"


def keep_held_out(folder: Path, corpus: Corpus, config: dict[str, Any]) -> None:
    """Writes validation and test split, and the token before them; of a text so large that its tokens lie in a file,
    nothing."""
    if corpus.tokens.nbytes > MAPPED_ABOVE or corpus.bounds[0] < 1:
        return
    parts = {"before": [corpus.scored("val")["before"]], "val": corpus.val, "test": corpus.test}
    tensors = {name: torch.from_numpy(np.asarray(part, np.int32)) for name, part in parts.items()}
    files.write_tensors(folder / HELD_OUT, tensors, {"run": identity(config)})


def give_away(run: Run, out: str | Path, checkpoint: bool = False) -> Path:
    """Copies a run into a new folder without what is this machine's: the text's place, the checkpoint (three times the
    weights) unless asked for."""
    assert run.folder is not None
    names = [WEIGHTS, METRICS, RESULT, HELD_OUT, files.TOKENIZER] + [CHECKPOINT] * checkpoint
    if link := next((run.folder / name for name in names if (run.folder / name).is_symlink()), None):
        raise RunError(
            f"what is given away must be files of the run itself, got {link}, a link; put the file there"
        )
    target = files.new_folder(out)
    for path in (run.folder / name for name in names if (run.folder / name).is_file()):
        files.write_bytes(target / path.name, path.read_bytes())
    write_config(target, run.config)
    (target / PLACE).unlink(missing_ok=True)
    return target


def text_of(run: Run) -> tuple[Corpus, bool]:
    """The run's corpus and whether it is whole: the text itself where it is, else what the run carries of it, after a
    line that says so. CorpusError where there is neither."""
    description = run.config["corpus"]
    try:
        return load_described(description, run.tokenizer), True
    except CorpusError as error:
        path = Path(str(run.folder)) / HELD_OUT
        if run.folder is None or not path.is_file():
            raise
        note(f"the run's text is not here, only the end of it that no training saw ({error})")
    return carried(path, description, run), False


def carried(path: Path, description: dict[str, Any], run: Run) -> Corpus:
    """The corpus that a run carries: its training split is one token long."""
    tensors, header = files.read_tensors(path)
    belongs(path, header, run.config)
    try:
        parts = [tensors[name].numpy().reshape(-1) for name in ("before", "val", "test")]
    except KeyError as error:
        raise RunError(
            f"{path} must hold before, val and test, and lacks {error}; restore it from a copy"
        ) from error
    if (
        not all(((part >= 0) & (part < run.tokenizer.vocab_size)).all() for part in parts)
        or len(parts[0]) != 1
    ):
        raise RunError(
            f"{path} must hold tokens of the run's vocabulary, and has others; restore it from a copy"
        )
    first, second = description["bounds"]
    return Corpus(
        name=description["name"],
        tokenizer=run.tokenizer,
        tokens=np.concatenate(parts),
        bounds=(1, 1 + len(parts[1])),
        character_bounds=(first, second),
        choice=description.get("tokens", "characters"),
        source=description["source"],
        floors=description["floors"],
    )
