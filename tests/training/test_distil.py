"""Learning from a teacher: against torch's own divergence, and what a student must not do to its teacher."""

from __future__ import annotations

import signal

import pytest
import torch
from torch.nn import functional as F

from minilm.config import ModelConfig, TrainConfig
from minilm.errors import RunError
from minilm.model import GPT
from minilm.training.distil import SHARE, Teacher, distilled_loss
from minilm.training.session import Interrupted, resume_training, run_training

SHAPE = ModelConfig(vocab_size=11, n_layer=1, n_head=1, n_embd=16, block_size=8, dropout=0.0)


def two_models():
    torch.manual_seed(0)
    models = GPT(SHAPE), GPT(SHAPE)
    with torch.no_grad():
        for parameter in (p for model in models for p in model.parameters()):
            parameter.normal_(0.0, 0.3)
    return models


def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(11, (3, 9), generator=generator)
    return ids[:, :-1], ids[:, 1:]


def test_the_gradient_is_that_of_the_paper_and_the_value_the_text_s():
    """The divergence from the teacher has the gradient of the cross-entropy with it: the entropy is the teacher's."""
    student, teacher = two_models()
    ids, targets = batch()
    loss = distilled_loss(student, teacher, "fp32")(ids, targets)
    assert loss.item() == pytest.approx(student(ids, targets=targets).loss.item(), rel=1e-6)
    loss.backward()
    ours = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    mine, theirs = (F.log_softmax(model(ids).logits, -1).flatten(0, 1) for model in (student, teacher))
    text = -mine.gather(1, targets.reshape(-1, 1)).mean()
    divergence = F.kl_div(mine, theirs.detach(), reduction="batchmean", log_target=True)
    ((1 - SHARE) * text + SHARE * divergence).backward()
    for one, other in zip(ours, (p.grad for p in student.parameters()), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_who_agrees_with_the_teacher_learns_from_the_text_alone():
    student, teacher = two_models()
    teacher.load_state_dict(student.state_dict())
    ids, targets = batch()
    distilled_loss(student, teacher, "fp32")(ids, targets).backward()
    pulled = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    ((1 - SHARE) * student(ids, targets=targets).loss).backward()
    for both, text in zip(pulled, (p.grad for p in student.parameters()), strict=True):
        torch.testing.assert_close(both, text, atol=1e-6, rtol=1e-4)


def test_the_teacher_is_left_as_it_was():
    student, teacher = two_models()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    distilled_loss(student, teacher.train(), "fp32")(*batch()).backward()
    assert not teacher.training and all(p.grad is None and p.requires_grad for p in teacher.parameters())
    assert all((teacher.state_dict()[name] == tensor).all() for name, tensor in before.items())


@pytest.fixture(scope="module")
def learnt(corpus, tmp_path_factory):
    """(teacher, shape, config, a student's run in a folder)."""
    shape = SHAPE.replace(vocab_size=corpus.tokenizer.vocab_size)
    config = TrainConfig(
        steps=40, batch_size=4, evaluations=4, patience=None, learning_rate=0.01, device="cpu"
    )
    teacher = Teacher(run_training(corpus, shape, config).model, NOTE)
    folder = tmp_path_factory.mktemp("student") / "run"
    return teacher, shape, config, run_training(corpus, shape, config, folder, teacher=teacher)


NOTE = {"most_steps": 40, "val_loss": 2.0, "seconds": 1.0, "step_seconds": 0.5}


def test_a_student_is_another_model_than_without_a_teacher(corpus, learnt):
    teacher, shape, config, run = learnt
    alone = run_training(corpus, shape, config)
    assert run.result["val_loss"] != alone.result["val_loss"] and run.config["taught"] == NOTE


def test_a_student_that_was_interrupted_goes_on_bit_for_bit(corpus, learnt, tmp_path):
    teacher, shape, config, run = learnt
    seen = []

    def stop_early(values):
        seen.append(values)
        if len(seen) == 15:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        run_training(corpus, shape, config, tmp_path / "run", teacher=teacher, on_record=stop_early)
    with pytest.raises(RunError, match="learns from another one, which must be given"):
        resume_training(tmp_path / "run", corpus=corpus)
    again = resume_training(tmp_path / "run", corpus=corpus, teacher=Teacher(teacher.model))
    assert again.result["val_loss"] == run.result["val_loss"] and again.result["steps"] == 40
    same = zip(again.model.parameters(), run.model.parameters(), strict=True)
    assert all((one == other).all() for one, other in same)
