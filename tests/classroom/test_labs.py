"""The proof of every lab, and independent witnesses of the references."""

from __future__ import annotations

import ast

import numpy as np
import pytest
import torch

from minilm.classroom.lab import lab_names, load_lab, part, stub, variants
from minilm.classroom.selftest import prove
from minilm.training.optim import schedule

# the others take half a minute and more each: `make test-slow`, `python -m minilm.classroom selftest`
QUICK = ("lab1", "lab2")


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in lab_names()]
)
def test_a_lab_proves_itself(name, runner):
    proof = prove(name, runner)
    assert not proof.failures, "\n".join(proof.failures)
    assert proof.wrong[0] == proof.wrong[1] and proof.alternatives[0] == proof.alternatives[1] >= 8
    assert proof.agreed[0] == proof.agreed[1] == proof.wrong[1] + proof.alternatives[1]


@pytest.mark.parametrize("name", lab_names())
def test_a_lab_is_whole(name):
    lab = load_lab(name)
    known = variants(lab, "wrong.py")
    for task in lab.tasks:
        assert (
            len({hint for hint in task.hints if hint}) == 3 and 1 <= task.difficulty <= 5 and task.points > 0
        )
        assert any(case.public for case in task.cases) and not all(case.public for case in task.cases)
        assert any(not case.public and not case.edge for case in task.cases), (
            f"{task.name} has no hidden core"
        )
        assert sum(variant.task == task.name for variant in known) >= 3
    assert all(variant.hint for variant in known) and len(known) >= 8


@pytest.mark.parametrize("name", lab_names())
def test_the_student_file_has_gaps_only(name):
    lab, text = load_lab(name), stub(load_lab(name))
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    solved = {n.name: n for n in ast.parse(part(lab, "solution.py")).body if isinstance(n, ast.FunctionDef)}
    for task in lab.tasks:
        node = functions[task.name]
        assert ast.get_docstring(node) and len(node.body) == 2 and isinstance(node.body[1], ast.Raise)
        assert f"task {lab.number(task)}" in ast.unparse(node.body[1])
        for statement in solved[task.name].body[1:]:
            assert ast.unparse(statement) not in text, "a line of the solution is left"


def test_references_agree_with_independent_witnesses():
    """The references are the truth of all marking, so each has a witness that we did not write for it."""
    from minilm.attention import causal_mask, scaled_dot_product_attention
    from minilm.classroom.labs.lab2 import solution as two
    from minilm.classroom.labs.lab3 import solution as three
    from minilm.classroom.labs.lab6 import solution as six

    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, 4, generator=generator)
    mask = causal_mask(5, 5)
    torch.testing.assert_close(two.attention(q, k, v, mask), scaled_dot_product_attention(q, k, v, mask))
    assert torch.equal(two.causal_mask(2, 5), causal_mask(2, 5))
    logits = torch.randn(3, 9, generator=generator)
    for p in (0.05, 0.5, 0.9):
        for row, kept in zip(logits.softmax(-1), six.top_p(logits, p).isfinite(), strict=True):
            rest = row[kept].sum() - row[kept].min()  # enough, and not enough without the least likely one
            assert (
                row[kept].sum() >= p and (rest < p or kept.sum() == 1) and row[kept].min() > row[~kept].max()
            )
    four = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.argsort(-1)[:, -4:], True)
    assert torch.equal(six.top_k(logits, 4).isfinite(), four)
    shares = logits.softmax(-1)
    counts = torch.stack([six.draw(shares, torch.full((3,), (n + 0.5) / 4000)) for n in range(4000)])
    frequency = torch.stack([(counts == token).float().mean(0) for token in range(9)], dim=1)
    torch.testing.assert_close(frequency, shares, atol=1e-3, rtol=0)
    x = torch.randn(4, 6, generator=generator)
    torch.testing.assert_close(three.gelu(x), torch.nn.functional.gelu(x, approximate="tanh"))


def test_the_decoder_agrees_with_transformers():
    transformers = pytest.importorskip("transformers")
    from minilm.classroom.labs.lab3 import solution

    config = transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=12, n_layer=2, n_head=3)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    state = model.transformer.state_dict()
    for name, value in state.items():  # biases of linear maps are zero here, since the lab has none
        if not name.endswith(
            (".attn.c_attn.bias", ".attn.c_proj.bias", ".mlp.c_fc.bias", ".mlp.c_proj.bias")
        ):
            value.copy_(torch.randn(value.shape))
        else:
            value.zero_()
    names = {"norm_1": "ln_1.weight", "norm_1_bias": "ln_1.bias", "qkv": "attn.c_attn.weight"}
    names |= {"proj": "attn.c_proj.weight", "norm_2": "ln_2.weight", "norm_2_bias": "ln_2.bias"}
    names |= {"up": "mlp.c_fc.weight", "down": "mlp.c_proj.weight"}
    blocks = [{ours: state[f"h.{layer}.{theirs}"] for ours, theirs in names.items()} for layer in range(2)]
    outer = {"wte": "wte.weight", "wpe": "wpe.weight", "norm_f": "ln_f.weight", "norm_f_bias": "ln_f.bias"}
    weights = {**{ours: state[theirs] for ours, theirs in outer.items()}, "blocks": blocks}
    ids = torch.tensor([[1, 5, 2, 9, 0], [3, 3, 7, 10, 4]])
    labels = torch.tensor([[1, 5, -100, 9, 0], [3, 3, 7, 10, -100]])
    with torch.no_grad():
        theirs = model(ids, labels=labels)
        ours = solution.gpt(ids, weights, 3)
    torch.testing.assert_close(ours, theirs.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(solution.loss(ours, labels), theirs.loss, rtol=1e-4, atol=1e-4)


def test_the_optimizer_agrees_with_torch_over_many_steps():
    from minilm.classroom.labs.lab4 import solution

    generator = torch.Generator().manual_seed(1)
    p, m, v = torch.randn(3, 4, generator=generator), torch.zeros(3, 4), torch.zeros(3, 4)
    weight = torch.nn.Parameter(p.clone())
    theirs = torch.optim.AdamW([weight], lr=0.05, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.3)
    for t in range(1, 31):
        gradient = torch.randn(3, 4, generator=generator)
        weight.grad = gradient.clone()
        theirs.step()
        p, m, v = solution.adamw(p, gradient, m, v, t, 0.05, [0.8, 0.9], 1e-3, 0.3)
    torch.testing.assert_close(p, weight.detach(), rtol=1e-4, atol=1e-5)
    clipped, norm = solution.clip([gradient, gradient * 2], 0.5)
    parameter = torch.nn.Parameter(torch.zeros(2, 3, 4))
    parameter.grad = torch.stack([gradient, gradient * 2])
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_([parameter], 0.5)))
    torch.testing.assert_close(torch.stack(clipped), parameter.grad)


def test_the_schedule_agrees_with_minilm():
    from minilm.classroom.labs.lab4 import solution
    from minilm.config import TrainConfig

    config = TrainConfig(schedule="cosine", warmup=0.0)
    ours = [solution.learning_rate(step, 11, 0, 1.0, 0.0) for step in range(11)]
    np.testing.assert_allclose(ours, [schedule(config, step / 10) for step in range(11)], atol=1e-12)


def test_tuning_agrees_with_scipy_and_hyperopt():
    from hyperopt.tpe import ap_split_trials
    from scipy import stats

    from minilm.classroom.labs.lab5 import solution as five

    u = [0.0, 0.2, 0.5, 0.99, 1.0]
    np.testing.assert_allclose(five.log_uniform(u, 1e-4, 0.3), stats.loguniform(1e-4, 0.3).ppf(u), rtol=1e-12)
    rng = np.random.default_rng(0)
    for n in (1, 5, 17, 60):
        losses, trials = rng.normal(size=n), np.arange(n)
        below, above = ap_split_trials(trials, trials, trials, losses, 0.25)
        assert five.split(losses.tolist(), 0.25) == (sorted(below), sorted(above))
    x, good, bad = rng.random(3), rng.random((4, 3)), rng.random((9, 3))
    densities = [(1 + stats.norm(points, 0.3).pdf(x).sum(0)) / (1 + len(points)) for points in (good, bad)]
    expected = np.log(densities[0] / densities[1]).sum()
    assert five.score(x.tolist(), good.tolist(), bad.tolist(), 0.3) == pytest.approx(expected)
    report = {"default": [1.5, 1.7, 1.62], "tuned": [1.4, 1.45], "counting": 1.5, "trials": [1.0, None]}
    found = five.read_report(report)
    welch = stats.ttest_ind(report["default"], report["tuned"], equal_var=False)
    assert found["gain"] / (found["noise"] / 2) == pytest.approx(welch.statistic)
    assert (found["verdict"], found["beats_counting"], found["failed"]) == ("better", True, 0.5)


def test_the_space_of_the_tuning_lab_draws_what_it_should():
    from hyperopt.pyll import stochastic

    from minilm.classroom.labs.lab5 import solution as five

    rng, space = np.random.default_rng(1), five.space()
    points = [stochastic.sample(space, rng=rng) for _ in range(300)]
    assert {point["num_layers"] for point in points} == {1, 2, 3}
    assert {point["hidden_size"] for point in points} == set(range(32, 257, 32))
    rates = np.array([point["learning_rate"] for point in points])
    assert rates.min() >= 0.001 and rates.max() <= 0.3
    assert abs(np.log(rates).mean() - np.log(0.001 * 0.3) / 2) < 0.3
    assert [five.stops({"learning_rate": 0.01, "hidden_size": 0}), five.portrait()["rates"]] == [
        True,
        ["a quarter"] * 4,
    ]


def test_search_beats_chance_on_the_recorded_trainings():
    from random import Random

    from minilm.classroom.labs.lab5 import solution as five
    from minilm.classroom.labs.lab5.recorded import TABLE

    rows = range(len(TABLE["losses"]))
    found: dict[int, list[float]] = {1: [], 24: []}
    for seed in range(20):
        order = Random(seed).sample(rows, len(rows))
        for candidates, best in found.items():
            tried = five.search(TABLE, order, 25, 8, candidates)
            assert len(set(tried)) == 25 and (candidates > 1 or tried == order[:25])
            best.append(min(TABLE["losses"][row] for row in tried))
    assert np.mean(found[24]) < np.mean(found[1])
