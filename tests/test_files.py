"""The writing module: whole or old, never half; every damage is noticed."""

from __future__ import annotations

import errno
import json
import os

import pytest
import torch

from minilm import disk, files
from minilm.errors import ConfigError, RunError, StorageError


@pytest.fixture
def tensors():
    return {
        "weight": torch.arange(12.0).reshape(3, 4),
        "step": torch.tensor(7),
        "half": torch.ones(2).bfloat16(),
    }


def test_tensors_come_back_with_their_header(tmp_path, tensors):
    files.write_tensors(tmp_path / "t.safetensors", tensors, {"state": '{"step": 7}'})
    back, header = files.read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert header["state"] == '{"step": 7}'


def test_every_flipped_bit_of_a_tensor_file_is_noticed(tmp_path, tensors):
    path = tmp_path / "t.safetensors"
    files.write_tensors(path, tensors, {"state": "{}"})
    good = path.read_bytes()
    silent = []
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        try:
            back, header = files.read_tensors(path)
        except RunError:
            continue
        same = back.keys() == tensors.keys() and all(torch.equal(back[name], tensors[name]) for name in back)
        if not (same and header.get("state") == "{}"):
            silent.append(position)
    assert not silent  # a flip in the name of the checksum's own key passes, but then the content is right


def test_every_truncation_of_a_tensor_file_is_noticed(tmp_path, tensors):
    path = tmp_path / "t.safetensors"
    files.write_tensors(path, tensors, {})
    good = path.read_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(RunError, match=r"t\.safetensors"):
            files.read_tensors(path)


def test_a_log_forgives_only_a_torn_last_line(tmp_path):
    path = tmp_path / "log.jsonl"
    records = [{"tid": k, "loss": 1.5 / (k + 1)} for k in range(3)]
    for record in records:
        files.append_record(path, record)
    whole = path.read_bytes()
    last_start = whole[:-1].rfind(b"\n") + 1
    for length in range(last_start, len(whole)):
        path.write_bytes(whole[:length])
        assert files.read_records(path) == records[:2]
        files.append_record(path, records[2])
        assert files.read_records(path) == records
    for position in range(last_start - 1):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(RunError, match="damaged in line"):
            files.read_records(path)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, "", '{"a": '])
def test_json_that_other_readers_would_take_differently_is_refused(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(RunError, match=r"c\.json"):
        files.read_json(tmp_path / "c.json")


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "c.json"
    files.write_json(path, {"old": True})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk.os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        files.write_json(path, {"new": True})
    with pytest.raises(StorageError, match="the disk is full"):
        files.append_record(tmp_path / "log.jsonl", {"a": 1})
    monkeypatch.undo()
    assert json.loads(path.read_text()) == {"old": True}
    assert files.read_records(tmp_path / "log.jsonl") == []
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(files.TEMPORARY)] == []


def test_a_folder_with_content_is_refused(tmp_path):
    assert files.new_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "a" / "file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        files.new_folder(tmp_path / "a")
    with pytest.raises(ConfigError, match="a file of that name"):
        files.new_folder(tmp_path / "a" / "file")


def test_weights_are_read_whole_while_others_replace_them(tmp_path):
    """A training renames new files into place at any moment; none of its reads may look damaged."""
    import threading

    import torch

    path, done = tmp_path / "model.safetensors", threading.Event()
    files.write_tensors(path, {"w": torch.zeros(2000)}, {"step": "0"})

    def training():
        for step in range(1, 60):
            files.write_tensors(path, {"w": torch.full((2000,), float(step))}, {"step": str(step)})
        done.set()

    writer, seen = threading.Thread(target=training), set()
    writer.start()
    while not done.is_set():
        tensors, header = files.read_tensors(path)
        assert (tensors["w"] == float(header["step"])).all()
        seen.add(header["step"])
    writer.join()
    assert len(seen) > 3, "the file must change while it is read"


def test_every_flipped_bit_of_a_sealed_file_is_noticed(tmp_path):
    """Or changes nothing: a space between two numbers."""
    path, value = tmp_path / "a.json", {"loss": 1.25, "name": "fox", "steps": [1, 2]}
    files.write_json(path, value, sealed=True)
    good = path.read_bytes()
    for place in range(len(good)):
        for bit in range(8):
            path.write_bytes(good[:place] + bytes([good[place] ^ (1 << bit)]) + good[place + 1 :])
            try:
                assert files.read_json(path) == value, (place, bit)
            except RunError as error:
                assert "; restore it" in str(error)
