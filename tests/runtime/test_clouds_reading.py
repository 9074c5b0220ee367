"""Clouds from files of every kind, whole and broken."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.errors import InputError
from tercelet.runtime.clouds import read_cloud, read_grey16_png
from tercelet.runtime.clouds.matlab_file import matlab_array

ROUNDING_M = 1e-6  # the files were made from one another in float32

POINTS = np.array([[0, 1, 2], [3, 4.5, 5], [-6, 7, 8.25]], np.float32)
COLOURS = np.array([[0, 51, 255], [255, 0, 0], [102, 102, 102]], np.uint8)


def ply(order: str, *, faces: bool = False, count: int = 3) -> bytes:
    kind = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    head = f"ply\nformat {kind} 1.0\ncomment made here\nelement vertex {count}\n"
    head += "property double z\nproperty float x\nproperty float32 y\n"
    head += "property uchar red\nproperty uchar green\nproperty uint8 blue\n"
    head += "element face 1\nproperty list uchar int vertex_indices\n" if faces else ""
    rows = []
    for (x, y, z), colour in zip(POINTS.tolist(), COLOURS.tolist(), strict=True):
        if order:
            rows.append(struct.pack(f"{order}dff3B", z, x, y, *colour))
        else:
            rows.append(" ".join(map(str, (z, x, y, *colour))).encode() + b"\n")
    tail = (b"3 0 1 2\n" if not order else struct.pack(f"{order}B3i", 3, 0, 1, 2)) if faces else b""
    return head.encode() + b"end_header\n" + b"".join(rows) + tail


@pytest.mark.parametrize("order", ["", "<", ">"])
@pytest.mark.parametrize("faces", [False, True])
def test_a_ply_file_gives_its_vertices_and_colours(tmp_path: Path, order: str, faces: bool) -> None:
    path = tmp_path / "cloud.ply"
    path.write_bytes(ply(order, faces=faces))
    cloud = read_cloud(path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.points.dtype == np.float32
    assert cloud.colours is not None
    np.testing.assert_allclose(cloud.colours, COLOURS / 255, atol=1e-7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "PLY file with its header"),
        (b"ply\nformat ascii 1.0\n", "PLY file with its header"),
        (ply("<")[:-1], "expected 3 vertices, got 2"),
        (ply("")[:-6], "expected 18 numbers of vertices, got"),
        (ply("", count=10**9), "too short for them"),
        (ply("<", count=10**9), "expected 1000000000 vertices"),
        (ply("").replace(b" 51 ", b" ab "), "expected numbers of vertices"),
        (ply("").replace(b"ascii", b"binary"), "expected format ascii"),
        (ply("").replace(b"float x", b"float w"), "x, y and z once each"),
        (ply("").replace(b"float x", b"float z"), "x, y and z once each"),
        (ply("").replace(b"vertex 3", b"vertex -3"), "number of vertices"),
        (ply("").replace(b"float x", b"list uchar int x"), "plain numbers a vertex"),
        (ply("").replace(b"float x", b"half x"), "plain numbers a vertex"),
        (ply("").replace(b"element vertex", b"element face 1\nelement vertex"), "vertices first"),
    ],
)
def test_a_ply_file_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cloud.ply"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_cloud(path)


def test_an_empty_ply_file_is_an_empty_cloud(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    path.write_bytes(ply("", count=0).partition(b"end_header\n")[0] + b"end_header\n")
    assert read_cloud(path).points.shape == (0, 3)


@pytest.mark.parametrize(
    ("columns", "told", "colours"),
    [(3, None, False), (6, None, True), (4, None, False), (3, 3, False), (5, 5, False), (6, 6, True)],
)
def test_columns_of_a_bin_file_are_told_or_recognised(
    tmp_path: Path, columns: int, told: int | None, colours: bool
) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (120, columns)).astype(np.float32)
    values[:, :3] += 1.5
    path = tmp_path / "cloud.bin"
    values.tofile(path)
    cloud = read_cloud(path, columns=told)
    np.testing.assert_array_equal(cloud.points, values[:, :3])
    assert (cloud.colours is not None) == colours


def test_colours_of_a_bin_file_may_be_whole_numbers_up_to_255(tmp_path: Path) -> None:
    values = np.concatenate((np.full((40, 3), 2.5), np.arange(120).reshape(40, 3)), axis=1)
    values.astype(np.float32).tofile(tmp_path / "cloud.bin")
    cloud = read_cloud(tmp_path / "cloud.bin")
    assert cloud.colours is not None
    np.testing.assert_allclose(cloud.colours * 255, values[:, 3:], atol=1e-4)


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (b"", None, "expected rows of 6 or 4 or 3 float32 numbers, got 0 bytes"),
        (b"abcde", None, "got 5 bytes; say how many columns"),
        (bytes(28), 4, "expected rows of 4 float32 numbers, got 28"),
        (bytes(24), 2, "columns: expected at least 3"),
        (b"\xff" * 240, None, "bytes that are none"),
        (b"this is a text and no cloud " * 12, None, "bytes that are none"),
        (np.arange(100, dtype="<f4").tobytes(), None, "cannot be told apart"),
    ],
)
def test_a_bin_file_that_cannot_be_told_is_refused(
    tmp_path: Path, content: bytes, columns: int | None, message: str
) -> None:
    path = tmp_path / "cloud.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_cloud(path, columns=columns)


def test_numpy_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "cloud.npy", POINTS.astype(np.float64))
    np.testing.assert_array_equal(read_cloud(tmp_path / "cloud.npy").points, POINTS)
    np.savez_compressed(tmp_path / "cloud.npz", pc=np.concatenate((POINTS, COLOURS), axis=1))
    cloud = read_cloud(tmp_path / "cloud.npz")
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.colours is not None
    assert float(cloud.colours.max()) == 1.0


def broken_npz(path: Path) -> None:
    np.savez(path, pc=POINTS)
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("missing.ply", lambda path: None, "nothing is there"),
        ("cloud.xyz", lambda path: path.write_text("1 2 3"), "got suffix '.xyz'"),
        ("cloud.npy", lambda path: path.write_bytes(b"no array"), "points as .npy"),
        ("cloud.npy", lambda path: np.save(path, np.zeros(6)), r"got shape \(6,\)"),
        ("cloud.npy", lambda path: np.save(path, np.zeros((4, 2))), r"got shape \(4, 2\)"),
        ("cloud.npy", lambda path: np.save(path, np.array([["a"] * 3])), "of <U1"),
        ("cloud.npz", lambda path: np.savez(path, points=POINTS), "array 'pc' with the points, got 'points'"),
        ("cloud.npz", broken_npz, "archive that can be read"),
        ("cloud.npz", lambda path: path.write_bytes(b""), "archive that can be read"),
        ("cloud.mat", lambda path: path.write_bytes(bytes(200)), "level 5, got something else"),
        ("cloud.mat", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200)), "got -v7.3"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError, match=message):
        read_cloud(path)


def test_columns_are_for_bin_files_only(tmp_path: Path) -> None:
    np.save(tmp_path / "cloud.npy", POINTS)
    with pytest.raises(InputError, match="columns: expected with a .bin file only"):
        read_cloud(tmp_path / "cloud.npy", columns=3)


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}2I", kind, len(data)) + data + bytes(-len(data) % 8)


def mat_array(
    name: str, values: np.ndarray, *, order: str = "<", kind: int = 9, matlab_class: int = 6
) -> bytes:
    parts = element(6, struct.pack(f"{order}2I", matlab_class, 0), order)
    parts += element(5, struct.pack(f"{order}{values.ndim}i", *values.shape), order)
    parts += element(1, name.encode(), order)
    return element(14, parts + element(kind, values.tobytes(order="F"), order), order)


def mat_file(*elements: bytes, order: str = "<") -> bytes:
    mark = b"IM" if order == "<" else b"MI"
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}H", 0x0100) + mark + b"".join(elements)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "dtype"), [(9, "f8"), (7, "f4"), (2, "u1"), (3, "i2")])
def test_a_matlab_array_is_read_in_its_shape(tmp_path: Path, order: str, kind: int, dtype: str) -> None:
    values = np.arange(12).reshape(3, 4).astype(order + dtype)
    other = mat_array("other", values, order=order, kind=kind, matlab_class=4)  # text
    path = tmp_path / "file.mat"
    path.write_bytes(mat_file(other, mat_array("instance", values, order=order, kind=kind), order=order))
    np.testing.assert_array_equal(matlab_array(path, "instance"), values)
    np.testing.assert_array_equal(read_cloud(path).points, values[:, :3])
    with pytest.raises(InputError, match="numeric array 'other', got 'other', 'instance'"):
        matlab_array(path, "other")


def test_a_compressed_matlab_array_is_read_and_its_damage_found(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(50, 6)).clip(-1, 1)
    packed = zlib.compress(mat_array("instance", values))
    whole = mat_file(struct.pack("<2I", 15, len(packed)) + packed)
    path = tmp_path / "file.mat"
    path.write_bytes(whole)
    np.testing.assert_array_equal(matlab_array(path, "instance"), values)
    for content in (whole[:-30], whole[:200] + b"????" + whole[204:], mat_file()):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"file.mat: (the MATLAB file is damaged|expected a numeric)"):
            matlab_array(path, "instance")


def test_lies_about_size_are_found_in_matlab_files(tmp_path: Path) -> None:
    path = tmp_path / "file.mat"
    honest = mat_array("instance", np.zeros((3, 4)))
    for lie in (
        honest.replace(struct.pack("<2i", 3, 4), struct.pack("<2i", 2**30, 2**30)),
        honest.replace(struct.pack("<2i", 3, 4), struct.pack("<2i", -3, -4)),
        honest.replace(struct.pack("<2I", 9, 96), struct.pack("<2I", 9, 2**31)),
        honest.replace(struct.pack("<2I", 9, 96), struct.pack("<2I", 77, 96)),
        struct.pack("<2I", 14, 8) + bytes(8),
    ):
        path.write_bytes(mat_file(lie))
        with pytest.raises(InputError, match="damaged or cut short"):
            matlab_array(path, "instance")


def test_real_clouds_of_every_kind_are_read(shared: Path) -> None:
    folder = shared / "data" / "sunrgbd"
    whole = read_cloud(folder / "000002/depth.mat")
    some = read_cloud(folder / "000002/votenet_v1_pc.npz")
    assert (len(whole), len(some)) == (256599, 50000)
    assert whole.colours is not None
    assert float(whole.colours.max()) <= 1.0
    # Sorted by the direction in which no two points are alike, each of the fewer is one of the more.
    key = whole.points.astype(float) @ [1.0, 0.618, 0.3819]
    order = np.argsort(key)
    near = np.searchsorted(key[order], some.points[:200].astype(float) @ [1.0, 0.618, 0.3819])
    for point, place in zip(some.points[:200], near.tolist(), strict=True):
        candidates = whole.points[order[max(0, place - 8) : place + 8]]
        assert np.abs(candidates - point).max(axis=1).min() < ROUNDING_M
    assert len(read_cloud(folder / "mmdet3d_000017/000017.bin")) == 50000
    assert len(read_cloud(folder / "votenet_demo/input_pc_sunrgbd.ply")) == 20000
    assert len(read_cloud(folder / "votenet_demo/result_000000_pred_confident_nms_bbox.ply")) == 72


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (5, 30), (40, 3), (33, 33)])
@pytest.mark.parametrize("way", [8, 16, 32, 64, 128, 248])  # each filter of its own, and all of them
def test_grey_of_16_bits_is_read_whatever_the_filter(
    tmp_path: Path, shape: tuple[int, int], way: int
) -> None:
    cv2 = pytest.importorskip("cv2")
    values = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    values[:, ::2] = values[:, :1]
    done, data = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_FILTER, way])
    assert done
    (tmp_path / "depth.png").write_bytes(data.tobytes())
    np.testing.assert_array_equal(read_grey16_png(tmp_path / "depth.png"), values)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    *, width: int = 2, height: int = 2, bits: int = 16, colour: int = 0, data: bytes | None = None
) -> bytes:
    rows = zlib.compress(bytes(height * (2 * width + 1)) if data is None else data)
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "PNG file of 16-bit grey, got something else"),
        (png()[:-5], "damaged or cut short"),
        (png(bits=8), "got 8 bits"),
        (png(colour=2), "PNG colour type 2"),
        (png(data=bytes(9)), "damaged or cut short"),
        (png(data=b"\x05" + bytes(9)), "damaged or cut short"),  # a filter that there is not
        (png(width=1 << 20, height=1 << 20, data=b""), "at most"),
        (png(width=0, data=b""), "at most"),
    ],
)
def test_a_depth_picture_that_is_none_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "depth.png").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_grey16_png(tmp_path / "depth.png")
