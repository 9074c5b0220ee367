"""What a file is by its first bytes: the one table for inspecting files and for importing weights."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 1024
TORCH_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# That number as the pickle with which torch's files began before they were zips.
_TORCH_LEGACY = b"\x8a\x0a" + TORCH_LEGACY_MAGIC.to_bytes(10, "little")
_PICKLE_PROTOCOLS = range(2, 6)
_BLANK = b"\xef\xbb\xbf \t\r\n"
_PAGE = (b"<!doctype html", b"<html", b"<head", b"<body")
_PAGE_AS_XML = (b"<html", b"<error>")
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class FileKind:
    """name: a stable word. description: what it is, in a few words without an article."""

    name: str
    description: str
    article: str = "a"

    def __str__(self) -> str:
        return f"{self.article} {self.description}"


EMPTY = FileKind("empty", "empty file", "an")
PAGE = FileKind("html", "web page")
LFS_POINTER = FileKind("git-lfs-pointer", "pointer of Git LFS, not the file")
ZIP = FileKind("zip", "zip archive")
TORCH_LEGACY = FileKind("torch-legacy", "PyTorch checkpoint (pickle, before torch 1.6)")
PICKLE = FileKind("pickle", "Python pickle")
SAFETENSORS = FileKind("safetensors", "safetensors file")
ONNX = FileKind("onnx", "ONNX model", "an")

# Offset, the bytes there, and what the file is. None of these is read as weights.
_SIGNATURES: tuple[tuple[int, bytes, FileKind], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", FileKind("hdf5", "HDF5 file (Keras weights)", "an")),
    (4, b"TFL3", FileKind("tflite", "TensorFlow Lite model")),
    (0, b"ftrt", FileKind("tensorrt-engine", "TensorRT engine")),
    (4, b"ORTM", FileKind("ort", "model in ONNX Runtime's own format")),
    (0, b"GGUF", FileKind("gguf", "GGUF file")),
    (0, b"\x93NUMPY", FileKind("npy", "numpy array")),
    (0, b"\xff\xd8\xff", FileKind("image", "JPEG picture")),
    (0, b"\x89PNG\r\n\x1a\n", FileKind("image", "PNG picture")),
    (4, b"ftyp", FileKind("video", "MP4 or MOV video", "an")),
    (0, b"\x1f\x8b", FileKind("gzip", "gzip archive")),
    (257, b"ustar", FileKind("tar", "tar archive")),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind("7z", "7z archive")),
    (0, b"Rar!", FileKind("rar", "RAR archive")),
    (0, b"%PDF", FileKind("pdf", "PDF document")),
    (0, b"\x7fELF", FileKind("elf", "program or library")),
)


def kind_by_first_bytes(head: bytes, size: int) -> FileKind | None:
    """What a file of `size` bytes is that starts with `head` (HEAD_BYTES of it suffice); None if unknown.

    Nothing behind the head is looked at, so a zip or a safetensors file may still be damaged, and an ONNX
    model, which has no magic number, is never told.
    """
    if not size:
        return EMPTY
    if _is_page(head.lstrip(_BLANK).lower()):
        return PAGE
    if head.startswith(_LFS):
        return LFS_POINTER
    for offset, magic, kind in _SIGNATURES:
        if head.startswith(magic, offset):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZIP
    if len(head) > 1 and head[0] == 0x80 and head[1] in _PICKLE_PROTOCOLS:
        return TORCH_LEGACY if _TORCH_LEGACY in head[:32] else PICKLE
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return SAFETENSORS
    return None


def _is_page(text: bytes) -> bool:
    # Stores answer with an XML document of their own where a link is dead.
    return text.startswith(_PAGE) or (text.startswith(b"<?xml") and any(tag in text for tag in _PAGE_AS_XML))
