"""A model leaves as a torch.export program or an ONNX file that takes texts of any length, and computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from minilm import GPT, ModelConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # of torch's exporters
SIZES = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 32}
MODELS = {
    "modern": (ModelConfig.modern(20, **SIZES), 2),
    "fused": (ModelConfig.modern(20, attention="fused", **SIZES), 2),
    "gpt2": (ModelConfig.gpt2(20, **SIZES), 2),
    "fast": (ModelConfig(20, bigrams=True, **SIZES), 3),  # pairs of tokens: one more
}


class Logits(nn.Module):
    """Exporters take tensors, not named tuples."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = GPT(config).eval()
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))

    def forward(self, ids):
        return self.model(ids).logits


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_program_takes_any_length(name):
    config, least = MODELS[name]
    model = Logits(config)
    length = torch.export.Dim("T", min=least, max=config.block_size)
    program = torch.export.export(
        model, (torch.zeros(2, 9, dtype=torch.int64),), dynamic_shapes=({1: length},)
    ).module()
    for T in (least, 7, 32):
        ids = torch.randint(20, (2, T))
        torch.testing.assert_close(program(ids), model(ids), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["modern", "gpt2"])
def test_an_onnx_file_takes_any_length(tmp_path, name):
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    import onnxruntime

    config, least = MODELS[name]
    model, path = Logits(config), str(tmp_path / "model.onnx")
    length = torch.export.Dim("T", min=least, max=config.block_size)
    example = (torch.zeros(1, 9, dtype=torch.int64),)
    torch.onnx.export(model, example, path, dynamo=True, dynamic_shapes=({1: length},), verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for T in (3, 7, 32):
        ids = torch.randint(20, (1, T))
        (logits,) = session.run(None, {session.get_inputs()[0].name: ids.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(ids), atol=1e-4, rtol=0)
