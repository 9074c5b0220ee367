"""HDF5 weights: numbers by name, and nothing that a file could smuggle past its own bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hostile_files import refused

from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.training import read_weights

NUMBERS = np.arange(6, dtype=np.float32).reshape(2, 3)


def written(path: Path, write: Callable[[h5py.File], object]) -> Path:
    """A file with what `write` puts in."""
    with h5py.File(path, "w") as file:
        write(file)
    return path


def test_a_file_without_numbers_is_refused(tmp_path: Path) -> None:
    refused(written(tmp_path / "w.h5", lambda file: file.create_group("a")), "has no tensors")


def test_groups_and_names_are_joined_with_dots(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file["a/b/kernel:0"] = NUMBERS
        file["branch1.0.weight"] = NUMBERS.astype(">f8")
        file["half"] = NUMBERS.astype(np.float16)
        file["count"] = np.int64(7)
        file.create_dataset("packed", data=NUMBERS, compression="gzip", shuffle=True, fletcher32=True)
        file.attrs["layer_names"] = "read by nobody"

    upstream = read_weights(written(tmp_path / "w.h5", write))
    assert (upstream.format, upstream.class_names) == ("hdf5", None)
    assert sorted(upstream.state) == ["a.b.kernel:0", "branch1.0.weight", "count", "half", "packed"]
    for name in ("a.b.kernel:0", "branch1.0.weight", "half", "packed"):
        assert upstream.state[name].dtype == np.float32
        assert np.array_equal(upstream.state[name], NUMBERS)
    assert upstream.state["count"] == 7
    assert upstream.state["count"].dtype == np.int64


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.h5", lambda file: file.create_dataset("w", data=np.ones(5000)))
    data = whole.read_bytes()
    path = tmp_path / "cut.h5"
    for length in (9, 60, 500, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        refused(path, "cut off or damaged")


def test_damage_in_any_byte_of_the_head_ends_in_numbers_or_a_refusal(tmp_path: Path) -> None:
    data = written(tmp_path / "whole.h5", lambda file: file.create_dataset("w", data=NUMBERS)).read_bytes()
    path = tmp_path / "damaged.h5"
    refusals = 0
    for place in range(8, min(len(data), 800), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            read_weights(path)
        except InputError:  # and nothing else
            refusals += 1
    assert refusals > 10


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", (2, 3))
    file.create_virtual_dataset("w", layout)


def _cycle(file: h5py.File) -> None:
    file["a/w"] = NUMBERS
    file["a/a"] = file["a"]


def _filtered(file: h5py.File) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((2, 3))
    # A number that no filter has, optional when it is written, looked for on the disk when it is read.
    properties.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple((2, 3))
    h5py.h5d.create(file.id, b"w", h5py.h5t.NATIVE_FLOAT, space, properties)


HOSTILE: list[tuple[Callable[[h5py.File], Any], str]] = [
    (
        lambda f: f.create_dataset("w", shape=(1 << 40,), dtype="f4", chunks=(1024,)),
        "many times the .* bytes",
    ),
    (lambda f: f.create_dataset("w", shape=(1 << 22,), dtype="f4"), "many times"),
    (lambda f: f.create_dataset("w", data=np.zeros(1 << 22), compression="gzip"), "many times"),
    (
        lambda f: [f.create_dataset(f"w{i}", (1 << 18,), "f4", chunks=(64,)) for i in range(9)],
        "many times .* from w",
    ),
    (
        lambda f: f.create_dataset("w", shape=(1 << 21, 1 << 21), dtype="i1", chunks=(1, 1)),
        "beyond all bounds",
    ),
    (lambda f: f.__setitem__("w", h5py.ExternalLink("/etc/passwd", "/")), "a link to another file"),
    (lambda f: f.__setitem__("w", h5py.SoftLink("/elsewhere")), "a link to another name"),
    (
        lambda f: f.create_dataset("w", (6,), "f4", external=[("/etc/passwd", 0, 24)]),
        "expected numbers in this file",
    ),
    (_virtual, "expected numbers in this file"),
    (_filtered, r"got filters \[40000\]"),
    (_cycle, "more than 20000 parts or 64 levels"),
    (lambda f: f.__setitem__("w", "text"), "w: expected numbers of at most 64 bits, got object"),
    (lambda f: f.__setitem__("w", np.array([b"a"])), r"expected numbers of at most 64 bits, got \|S1"),
    (lambda f: f.__setitem__("w", np.zeros(2, [("a", "f4")])), "expected numbers of at most 64 bits"),
    (lambda f: f.__setitem__("w", np.zeros(2, np.complex64)), "expected numbers of at most 64 bits"),
    (lambda f: f.__setitem__("w", np.zeros(2, np.longdouble)), "expected numbers of at most 64 bits"),
    (lambda f: f.__setitem__("w", h5py.Empty("f4")), "got an empty dataset"),
    (lambda f: f.__setitem__("w", np.dtype("f4")), "got a named type"),
    (lambda f: f.create_dataset("w", (1,) * 17, "f4"), "at most 16 dimensions, got 17"),
    (lambda f: f.__setitem__("w\x1b[31m", NUMBERS), "expected printable tensor names"),
    (lambda f: (f.__setitem__("a.b", NUMBERS), f.__setitem__("a/b", NUMBERS)), "a.b occurs twice"),
]


@pytest.mark.parametrize(("write", "match"), HOSTILE)
def test_what_is_not_plain_numbers_of_the_file_itself_is_refused(
    write: Callable[[h5py.File], object], match: str, tmp_path: Path
) -> None:
    refused(written(tmp_path / "w.h5", write), match)


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "w.h5", lambda file: file.create_dataset("w", data=NUMBERS))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r"read with h5py .* pip install 'tercelet\[train\]'"):
        read_weights(path)


def test_the_real_files_are_read(shared: Path) -> None:
    mcnn = read_weights(shared / "data" / "weights" / "mcnn_shanghaitechA_660.h5")
    assert len(mcnn.state) == 26
    assert sum(array.size for array in mcnn.state.values()) == 127_953
    keras = read_weights(shared / "data" / "weights" / "votenet_sunrgbd_v2_keras.h5")
    assert sum(array.size for array in keras.state.values()) == 958_674
