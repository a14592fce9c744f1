"""Where text comes from: a file, a folder of files, the standard library. No torch."""

import codecs
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stabilitykit.errors import DataError
from stabilitykit.lab.training.text import STRETCH, FileText, MemoryText

_LEFT_OUT = frozenset(
    [
        *("test", "tests", "idlelib", "idle_test", "lib2to3", "ensurepip", "turtledemo"),
        *("site-packages", "dist-packages", "lib-dynload", "__pycache__"),
    ]
)
"""Folders that some distributions move elsewhere, or that hold tests and other people's code."""
_LEFT_OUT_PREFIXES = ("config-", "_sysconfigdata")
"""What differs with how the interpreter was built."""


def file_text(path: Path) -> FileText:
    """Return the text of one file, which stays on disk.

    Args:
        path: A UTF-8 text file.

    Raises:
        DataError: It is not that; the line says what was found instead.
    """
    _refuse_what_is_no_text(path)
    return _mapped([path])


def folder_text(folder: Path, suffixes: tuple[str, ...]) -> FileText:
    """Return the text of a folder's files, sorted by their POSIX path and joined by newlines.

    Folders within are gone through too; hidden files and folders and links to folders are passed over, as
    are empty files. A file that ends in a suffix but is no text is refused: what is trained on shall not
    depend on what could not be read.

    Args:
        folder: Where to look.
        suffixes: How the names of text files end.

    Raises:
        DataError: A file is no UTF-8 text, or there is none.
    """
    names = (path for path in _walked(folder) if path.name.endswith(suffixes) and path.is_file())
    paths = [path for path in sorted(names, key=Path.as_posix) if _size(path)]
    if not paths:
        raise DataError(
            f"{folder}: holds no text: no file that is not empty ends in {' or '.join(suffixes)}; "
            "set data.suffixes"
        )
    for path in paths:
        _refuse_what_is_no_text(path)
    return _mapped(paths)


def standard_library() -> MemoryText:
    """Return the sources of the running Python's standard library, without what differs between builds.

    Raises:
        DataError: This Python comes without them.
    """
    root = Path(sysconfig.get_path("stdlib"))
    sources = sorted(_sources(root), key=Path.as_posix)
    if not sources:
        raise DataError(
            f"{root}: this Python comes without its library's sources; set data.path to a text file"
        )
    try:
        text = b"\n".join(path.read_bytes().replace(b"\r\n", b"\n") for path in sources)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}; set data.path") from error
    return MemoryText(np.frombuffer(text, np.uint8))


def _mapped(paths: list[Path]) -> FileText:
    try:
        return FileText(paths)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _refuse_what_is_no_text(path: Path) -> None:
    try:
        # A pipe or a device may never end.
        if path.exists() and not path.is_file():
            raise DataError(f"{path}: is not a regular file; a text file or a folder is needed")
        fault = _fault(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror}; a text file or a folder is needed"
        ) from error
    if fault:
        raise DataError(f"{path}: {fault}; a UTF-8 text file is needed")


def _fault(path: Path) -> str | None:
    """Return what is wrong with a file that should be text, read a stretch at a time."""
    decoder, at = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while part := file.read(STRETCH):
            if (nul := part.find(b"\0")) >= 0:
                return f"binary, a NUL byte at offset {at + nul:,}"
            if fault := _undecodable(decoder, part, at):
                return fault
            at += len(part)
    return _undecodable(decoder, b"", at) if at else "is empty"


def _undecodable(decoder: codecs.IncrementalDecoder, part: bytes, at: int) -> str | None:
    """Return what cannot be decoded in a part that begins ``at`` bytes into a file; none is its end."""
    held = len(decoder.getstate()[0])
    try:
        decoder.decode(part, final=not part)
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at offset {at - held + error.start:,}"
        return f"{found} is not valid UTF-8"
    return None


def _walked(folder: Path) -> Iterator[Path]:
    for here, subfolders, files in os.walk(folder, onerror=_refuse):
        subfolders[:] = (name for name in subfolders if not name.startswith("."))
        yield from (Path(here, name) for name in files if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


def _sources(root: Path) -> Iterator[Path]:
    for folder, subfolders, files in os.walk(root):
        # In place, which is how a walk is kept out of a folder: site-packages may be vast.
        subfolders[:] = filter(_is_kept, subfolders)
        yield from (Path(folder, name) for name in files if name.endswith(".py") and _is_kept(name))


def _is_kept(name: str) -> bool:
    return name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_PREFIXES)
