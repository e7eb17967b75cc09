"""A decoder on top of a counting model: it need not learn what counting knows already.

The idea is residual learning for language models (Li et al., 2022, "N-gram Is Back", arXiv:2210.14431): the decoder's
logits are added to the log probabilities that counting gives, so that before any training the whole is the counting
model. Two things are new here. The decoder reads what counting expects next, beside the token itself; and it decides
at every position how far counting is to be trusted. Both are honest only since a training text's own block is left
out of the counts, see `text/prior.py`: had just the target been left out, what is missing would tell the answer.

This is another subject than the decoder by itself, and its numbers stand in a track of their own. Knows the decoder
and the counts; refuses to know how either was made.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minilm import files
from minilm.config import ModelConfig
from minilm.decoding import Reader
from minilm.errors import RunError
from minilm.interop.huggingface import check_tensors
from minilm.kv_cache import KVCache
from minilm.layers import Linear
from minilm.model import GPT, IGNORED, WEIGHTS, Output, aligned_targets, read_weights
from minilm.sampling import Generates
from minilm.text.prior import BLOCKS, CountingPrior, Counts, block_numbers
from minilm.window import reading

PRIOR = "prior.safetensors"
COMPACT = (torch.uint8, torch.int16, torch.int32, torch.int64)  # on disk, the first that holds it


class PriorGPT(Generates, nn.Module):
    """A decoder and a counting prior as one model, with the decoder's own interface.

    In training mode ids and targets may carry the number of their block, as `numbered` gives them: then the block
    is left out of the counts. Plain ids of a counted text must not be trained on, for there the counts know it all.

    >>> from minilm.text.prior import count
    >>> decoder = GPT(ModelConfig(vocab_size=2, n_layer=1, n_head=1, n_embd=4, block_size=8))
    >>> model = PriorGPT(decoder, CountingPrior(count(np.array([0, 1] * 50), vocab_size=2, order=3), vocab_size=2))
    >>> model(torch.tensor([[0, 1, 0]])).logits.argmax(-1)
    tensor([[1, 0, 1]])
    """

    def __init__(self, decoder: GPT, prior: CountingPrior) -> None:
        super().__init__()
        self.decoder, self.prior, self.config = decoder, prior, decoder.config
        self.expected = Linear(self.config.vocab_size, self.config.n_embd, bias=False)
        nn.init.normal_(self.expected.weight, 0.0, 0.02)
        self.trust = nn.Parameter(torch.zeros(self.config.n_embd))
        self.trust_bias = nn.Parameter(torch.ones(1))

    @property
    def n_parameters(self) -> int:
        """Trained numbers; what was counted is not among them."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self,
        ids: Tensor,
        labels: Tensor | None = None,
        targets: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Output:
        """As `GPT.forward`: logits (B, T, V) for ids (B, T), and the loss where there is something to compare with."""
        start, before = (0, None) if cache is None else (cache.length, cache.tokens)
        self.decoder.check_ids(ids, start)
        targets, blocks = aligned_targets(ids, labels, targets), None
        if self.training and targets is not None:
            ids, targets, blocks = self._without_numbers(ids, targets)
        counted = self.prior(ids, blocks, before)  # (B, T, V)
        x = self.decoder.blocks_output(ids, start, cache, self._embedded(counted))  # (B, T, C)
        trust = self.trust_bias + x @ self.trust / math.sqrt(self.config.n_embd)  # (B, T)
        logits = self.decoder.head(x) + trust[..., None] * counted  # (B, T, V)
        if targets is None:
            return Output(None, logits)
        scored = logits.flatten(0, 1).float()
        return Output(F.cross_entropy(scored, targets.flatten(), ignore_index=IGNORED), logits)

    def _embedded(self, counted: Tensor) -> Tensor:
        """What counting expects, for the residual stream, (B, T, V) -> (B, T, C): 0 is a blind guess, 1 is certain."""
        return self.expected(1 + counted / math.log(max(2, self.config.vocab_size)))

    def _without_numbers(self, ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(ids, targets, the block of each target), (B, T) each; an ignored target stays and has no block."""
        V = self.config.vocab_size
        return ids % V, torch.where(targets < 0, targets, targets % V), (targets // V).clamp_min(0)

    def reader(self, batch_size: int) -> CachedReader:
        """Reads `batch_size` texts token by token, with the decoder's keys and values kept."""
        return CachedReader(self, batch_size)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> PriorGPT:
        """The model in a folder that `save_pretrained` or a training with a prior wrote, in eval mode."""
        folder = Path(folder)
        settings = files.read_json(folder / "config.json")
        if not isinstance(settings, dict) or not isinstance(settings.get("prior"), dict):
            raise RunError(f"{folder} holds no model with a counting prior; read it with GPT.from_pretrained")
        config = ModelConfig.from_dict(settings["model"])
        prior = load_prior(folder / PRIOR, config.vocab_size)
        with torch.random.fork_rng(devices=[]):  # the start values are overwritten, no draw should be spent
            model = cls(GPT(config), prior)
        tensors = read_weights(folder)
        expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        check_tensors(tensors, expected, str(folder))
        model.load_state_dict(tensors)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json, model.safetensors and prior.safetensors into `folder`."""
        folder = files.make_folder(folder)
        save_prior(folder / PRIOR, self.prior)
        files.write_tensors(folder / WEIGHTS, self.state_dict(), {})
        about = {"format": "minilm", "model": self.config.to_dict(), "prior": describe_prior(self.prior)}
        files.write_json(folder / "config.json", about)


class CachedReader(Reader):
    """Reads through the model's own forward pass, which keeps the decoder's keys and values, and the tokens for the
    counts."""

    def __init__(self, model: PriorGPT, batch_size: int) -> None:
        super().__init__(model.config, batch_size)
        weight = model.trust
        self.model, self.cache = model, KVCache(model.config, batch_size, weight.device, weight.dtype)

    def _logits(self, ids: Tensor, start: int, wanted: int) -> Tensor:
        self.cache.cut(start)
        with reading(self.model):
            logits: Tensor = self.model(ids, cache=self.cache).logits[:, -wanted:]  # (B, wanted, V)
        return logits


def numbered(tokens: np.ndarray, vocab_size: int, blocks: int = BLOCKS) -> np.ndarray:
    """A counted text for training, each token with the number of its block: token + V x block, (N,).

    >>> numbered(np.array([0, 1, 1, 0]), vocab_size=2, blocks=2).tolist()
    [2, 3, 5, 4]
    """
    kind = np.min_scalar_type(vocab_size * (blocks + 1))
    return (tokens + vocab_size * block_numbers(len(tokens), blocks)).astype(kind)


def describe_prior(prior: CountingPrior) -> dict[str, Any]:
    """What config.json says of a prior."""
    return {"kind": "ngram", "order": prior.order}


def save_prior(path: Path, prior: CountingPrior) -> None:
    """Writes the counts of the whole text; that a block was left out matters to training alone."""
    tensors: dict[str, Tensor] = {}
    for k, level in enumerate(prior.counts, start=1):
        rows = {"keys": level.keys, "counts": level.counts[0], "follows": level.follows[0]}
        tensors |= {f"{name}.{k}": _compact(row) for name, row in rows.items()}
    files.write_tensors(path, tensors, {"vocab_size": str(prior.vocab_size)})


def load_prior(path: Path, vocab_size: int) -> CountingPrior:
    """The prior in a file of `save_prior`."""
    tensors, header = files.read_tensors(path)
    order = sum(name.startswith("keys.") for name in tensors)
    needed = {f"{name}.{k}" for name in ("keys", "counts", "follows") for k in range(1, order + 1)}
    if header.get("vocab_size") != str(vocab_size) or not order or needed != set(tensors):
        raise RunError(f"{path} is not the counting prior of this model; restore the folder from a copy")
    arrays = {name: tensor.numpy().astype(np.int64) for name, tensor in tensors.items()}
    return CountingPrior(
        [
            Counts(arrays[f"keys.{k}"], arrays[f"counts.{k}"][None], arrays[f"follows.{k}"][None])
            for k in range(1, order + 1)
        ],
        vocab_size,
    )


def _compact(array: np.ndarray) -> Tensor:
    largest = int(array.max(initial=0))
    kind = next(kind for kind in COMPACT if largest <= torch.iinfo(kind).max)
    return torch.from_numpy(array).to(kind)
