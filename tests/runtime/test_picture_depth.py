"""Pictures that are not 8-bit colour: what is taken, and what is refused by name instead of mended."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import numbered_frame

from tercelet.contract import InputError
from tercelet.runtime import vision

ANY = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)


def with_alpha(alpha: object) -> np.ndarray:
    return np.dstack([ANY, np.broadcast_to(np.asarray(alpha, np.uint8), ANY.shape[:2])])


def stored(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".pgm"])
def test_8_bit_grey_is_repeated_in_three_channels(tmp_path: Path, suffix: str) -> None:
    grey = ANY[..., 0].copy()
    got = vision.read_image(stored(tmp_path / f"x{suffix}", grey))
    assert np.array_equal(got, np.dstack([grey] * 3))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [255, 0])
def test_an_alpha_that_hides_nothing_is_left_out(tmp_path: Path, suffix: str, alpha: int) -> None:
    got = vision.read_image(stored(tmp_path / f"x{suffix}", with_alpha(alpha)))
    assert np.array_equal(got, ANY)
    assert got.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.png", lambda: ANY.astype(np.uint16) * 16, "got 16-bit integer samples in 3 channels"),
        ("a.png", lambda: ANY[..., 0].astype(np.uint16), "got 16-bit integer samples in 1 channels"),
        ("a.tif", lambda: ANY[..., 0].astype(np.uint16), "got 16-bit integer samples in 1 channels"),
        ("a.pgm", lambda: ANY[..., 0].astype(np.uint16), "got 16-bit integer samples in 1 channels"),
        ("a.tif", lambda: ANY.astype(np.float32), "got 32-bit floating-point samples in 3 channels"),
        ("a.tif", lambda: ANY[..., 0].astype(np.float64), "got 64-bit floating-point samples"),
        ("a.png", lambda: with_alpha(77), "got one with transparent parts"),
        ("a.png", lambda: with_alpha(np.arange(16) * 16), "got one with transparent parts"),
    ],
)
def test_what_would_have_to_be_mended_is_refused_by_name(
    tmp_path: Path, name: str, make: Callable[[], np.ndarray], message: str
) -> None:
    path = stored(tmp_path / name, make())
    with pytest.raises(InputError, match=f"{name}: expected .*{message}.*; convert it to 8-bit colour first"):
        vision.read_image(path)


def test_a_png_is_still_turned_upright(tmp_path: Path) -> None:
    data = cv2.imencode(".png", ANY)[1].tobytes()
    # A TIFF header, and a directory with the one entry "orientation: turn by 90 degrees to the right".
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + b"\0\0\0\0"
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    path = tmp_path / "x.png"
    path.write_bytes(data[:33] + chunk + data[33:])
    if cv2.imread(str(path)).shape == ANY.shape:
        pytest.skip("this OpenCV does not read the orientation of PNG files")
    assert np.array_equal(vision.read_image(path), np.rot90(ANY, -1))


def test_a_jpeg_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "x.jpg", numbered_frame(1))
    flags = []
    decode = cv2.imdecode

    def count(data: np.ndarray, flag: int) -> np.ndarray:
        flags.append(flag)
        return decode(data, flag)

    monkeypatch.setattr(cv2, "imdecode", count)
    vision.read_image(path)
    assert flags == [cv2.IMREAD_COLOR]
