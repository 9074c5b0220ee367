"""What checks run in a fresh interpreter. Each returns one line on success and raises otherwise.

Imports are inside the functions: a package that is broken must break its own trial only.
"""

from __future__ import annotations

from pathlib import Path

# y = x + x on two float32 numbers: ONNX IR 10, opset 18.
TINY_GRAPH = bytes.fromhex(
    "080a3a350a0e0a01780a017812017922034164641201675a0f0a0178120a0a08080112040a020802620f0a0179120a0a08080112"
    "040a02080242040a001012"
)
CUDA_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
VIDEO_FRAMES = 2
# A picture of one grey comes back from every lossy codec within a few levels.
GREY, GREY_TOLERANCE = 128, 8


def multiply_matrices() -> str:
    """numpy multiplies, which takes its compiled core and its BLAS."""
    import numpy as np

    product = np.full((8, 8), 2.0) @ np.full((8, 8), 0.5)
    if not bool((product == 8.0).all()):
        raise ArithmeticError(f"numpy {np.__version__}: 8 x 2 x 0.5 gave {product[0, 0]} instead of 8")
    return f"numpy {np.__version__}"


def run_tiny_graph() -> str:
    """ONNX Runtime loads a graph, runs it, and the numbers are right."""
    import numpy as np

    from tercelet.runtime.backends.onnxruntime import run_once

    version, (total,) = run_once(TINY_GRAPH, {"x": np.array([1, 2], np.float32)})
    if total.tolist() != [2.0, 4.0]:
        raise ArithmeticError(f"onnxruntime {version}: 1+1, 2+2 gave {total.tolist()}")
    return f"onnxruntime {version} ran a graph on the CPU"


def resize_picture() -> str:
    """OpenCV resizes a picture."""
    import numpy as np

    from tercelet.runtime.vision import resize_bilinear_into

    target = np.zeros((8, 8, 3), np.uint8)
    resize_bilinear_into(np.full((16, 12, 3), GREY, np.uint8), target)
    if not bool((target == GREY).all()):
        raise ArithmeticError(
            f"OpenCV resized a picture of grey {GREY} to values {np.unique(target).tolist()}"
        )
    return "OpenCV resized a picture"


def round_trip_files(folder: str) -> str:
    """JPEG, PNG and an mp4v video are written into the folder and read back."""
    import numpy as np

    from tercelet.runtime.vision import VideoReader, VideoWriter, read_image, write_image

    frame = np.full((64, 96, 3), GREY, np.uint8)
    for name in ("picture.jpg", "picture.png"):
        write_image(Path(folder, name), frame)
        _compare(read_image(Path(folder, name)), frame, name)
    video = Path(folder, "video.mp4")
    with VideoWriter(video, height=64, width=96, fps=10.0) as writer:
        for _ in range(VIDEO_FRAMES):
            writer.write(frame)
    reader = VideoReader(str(video), live=False)
    try:
        for count in range(VIDEO_FRAMES):
            entry = reader.read()
            if entry is None:
                raise ValueError(f"video.mp4: {VIDEO_FRAMES} frames were written, {count} came back")
            _compare(entry[1], frame, "video.mp4")
    finally:
        reader.close()
    return "JPEG, PNG and mp4v were written and read back"


def _compare(got: object, expected: object, name: str) -> None:
    import numpy as np

    first, second = np.asarray(got, np.int16), np.asarray(expected, np.int16)
    if first.shape != second.shape or int(np.abs(first - second).max()) > GREY_TOLERANCE:
        raise ValueError(f"{name}: came back as another picture than was written")


def import_packages(*names: str) -> str:
    """All the packages import, in one interpreter, as they will be used."""
    from importlib import import_module

    for name in names:
        import_module(name)
    return ", ".join(names)


def query_cuda(*libraries: str) -> str:
    """The CUDA driver (the first library that loads) starts and names its first device; or "absent"."""
    import ctypes

    driver = None
    for name in libraries or CUDA_LIBRARIES:
        try:
            driver = ctypes.CDLL(name)
            break
        except OSError:
            continue
    if driver is None:
        return "absent"
    code = driver.cuInit(0)
    if code:
        raise RuntimeError(f"cuInit failed with error {code}")
    count, version, name_buffer = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(128)
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceGetName(name_buffer, len(name_buffer), 0)
    number = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"{count.value} x {name_buffer.value.decode()}, CUDA {number}"
