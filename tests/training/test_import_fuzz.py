"""Damaged files: whatever is flipped, cut or swapped, reading ends in success or in an InputError."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import time
import zipfile
from pathlib import Path

import pytest
import torch
from hostile_files import dict_of, module_of, number, tensor, text, write_torch_zip
from safetensors.torch import save
from torch import nn

from tercelet.contract.errors import InputError
from tercelet.training import read_weights

SEEDS = range(250)
# Of this process, whatever else the machine does. One case takes about a millisecond; a bomb that came about
# by chance would take far longer.
MOST_SECONDS = 10.0


def _net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SiLU())


def _saved(*, legacy: bool) -> bytes:
    stream = io.BytesIO()
    value = {"model": _net(), "date": "2024-01-01", "train_args": {"imgsz": 640}}
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def _pickled(path: Path) -> bytes:
    """The opcodes of a checkpoint that has a bit of everything."""
    checkpoint = dict_of(
        {
            "model": module_of(
                {"w": tensor()}, {"m": module_of({"w": tensor(numel=4, shape=(2, 2), strides=(2, 1))})}
            ),
            "train_args": dict_of({"imgsz": number(640)}),
            "license": text("MIT"),
        }
    )
    with zipfile.ZipFile(write_torch_zip(path, checkpoint)) as archive:
        return archive.read("archive/data.pkl")


def mutated(data: bytes, seed: int) -> bytes:
    """One to four random changes: a byte replaced, a bit flipped, a piece dropped, doubled or cut off."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if len(changed) < 2:
            break
        at = chance.randrange(len(changed))
        length = chance.randint(1, 12)
        kind = chance.randrange(5)
        if kind == 0:
            changed[at] = chance.randrange(256)
        elif kind == 1:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        elif chance.random() < 0.2:
            del changed[max(at, 1) :]
    return bytes(changed)


def read_or_refuse(path: Path) -> bool:
    """Whether the file was read; any exception but InputError fails the test."""
    start = time.process_time()
    try:
        read_weights(path)
        outcome = True
    except InputError:
        outcome = False
    assert time.process_time() - start < MOST_SECONDS
    return outcome


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_damaged_file_is_read_or_refused(form: str, tmp_path: Path) -> None:
    data = save(dict(_net().state_dict())) if form == "safetensors" else _saved(legacy=form == "legacy")
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    path.write_bytes(data)
    assert read_or_refuse(path)
    outcomes = set()
    for seed in SEEDS:
        path.write_bytes(mutated(data, seed) or b"x")
        outcomes.add(read_or_refuse(path))
    assert False in outcomes


def test_a_damaged_pickle_with_a_right_checksum_is_read_or_refused(tmp_path: Path) -> None:
    pickled = _pickled(tmp_path / "whole.pt")
    outcomes = []
    for seed in range(4 * len(SEEDS)):
        changed = mutated(pickled, seed).removeprefix(pickle.PROTO + b"\x02").removesuffix(pickle.STOP)
        outcomes.append(read_or_refuse(write_torch_zip(tmp_path / "w.pt", changed)))
    assert {True, False} == set(outcomes)


def test_random_opcodes_are_read_or_refused(tmp_path: Path) -> None:
    opcodes = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
    for seed in SEEDS:
        chance = random.Random(seed)
        soup = b"".join(
            chance.choice(opcodes) + chance.randbytes(chance.choice((0, 0, 1, 4)))
            for _ in range(chance.randint(1, 60))
        )
        read_or_refuse(write_torch_zip(tmp_path / "w.pt", soup))
