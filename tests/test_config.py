"""Configurations: every fault at once, nothing unknown accepted."""

from __future__ import annotations

import json
import math

import pytest

from minilm.config import PRESETS, REMOVED, ModelConfig, TrainConfig
from minilm.errors import ConfigError


def test_all_faults_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        ModelConfig(vocab_size=0, n_layer=-1, dropout=1.0, position="rop", bias=1)
    for part in ("vocab_size", "n_layer", "dropout must be below 1", "did you mean 'rope'?", "bias"):
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.1", True, -0.1, 0])
def test_learning_rate_must_be_a_positive_finite_number(value):
    with pytest.raises(ConfigError, match="learning_rate"):
        TrainConfig(learning_rate=value)


@pytest.mark.parametrize("changes", [{"n_head": 3}, {"n_embd": 4, "n_head": 4}, {"n_layers": 2}])
def test_combinations_and_unknown_keys(changes):
    with pytest.raises(ConfigError):
        ModelConfig.modern(65, **changes)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    model = ModelConfig.from_dict({"vocab_size": 65, **PRESETS[name].model})
    train = TrainConfig.from_dict(PRESETS[name].train)
    assert ModelConfig.from_dict(json.loads(json.dumps(model.to_dict()))) == model
    assert TrainConfig.from_dict(json.loads(json.dumps(train.to_dict()))) == train


def test_removed_options_are_dropped_at_their_old_defaults_and_refused_otherwise():
    assert TrainConfig.from_dict({"steps": 3, **REMOVED}) == TrainConfig(steps=3)
    assert ModelConfig.from_dict({"vocab_size": 5, **REMOVED}) == ModelConfig(5)
    with pytest.raises(ConfigError) as caught:
        ModelConfig.from_dict({"vocab_size": 5, "embedding_skip": True, "average": 0.5})
    assert str(caught.value) == (
        "embedding_skip was removed and must be False, got True; average was removed and must be 0.0, got 0.5; "
        "use the minilm that had it, of commit d0be72f"
    )


def test_gpt2_has_gpt2s_size():
    """124,439,808 is the published size of GPT-2 small (Radford et al., 2019)."""
    config = ModelConfig.gpt2(50257, block_size=1024, n_layer=12, n_head=12, n_embd=768)
    assert config.n_parameters == 124_439_808
