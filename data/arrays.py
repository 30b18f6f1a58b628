"""Dictionaries of arrays in ``.npy`` files, as PartialSpoof publishes its labels, read without running anything."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError
from data.files import replacing

_ALLOWED = {
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
}
"""What an array of numbers or texts needs. Anything else in a pickle could be a program."""


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The constructor of an array. Raises UnpicklingError for anything else."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return super().find_class(module, name)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays (N,) by name that ``numpy.save(path, {name: array})`` has written.

    Raises InputError when `path` is not such a file, or holds anything but a dictionary of arrays.
    """
    again = "download it again, or write it with numpy.save"
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, kind = read_header(file)
            if shape != () or kind != np.dtype(object):
                raise ValueError("it holds an array, not a dictionary")
            held = _Arrays(file).load()
    except Exception as error:  # a damaged pickle raises anything
        raise InputError(f"cannot be read as a dictionary of arrays ({error})", path, again) from None
    document = held.item() if isinstance(held, np.ndarray) and held.shape == () else held
    if not isinstance(document, dict):
        raise InputError("holds no dictionary of arrays", path, again)
    for name, array in document.items():
        if not isinstance(name, str) or not isinstance(array, np.ndarray) or array.ndim != 1:
            raise InputError(f"entry {name!r} is not a list of values", path, again)
    return document


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `arrays` (N,) by name as `read_arrays` reads them. Raises UsageError when they cannot be written."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.array(dict(arrays), dtype=object), allow_pickle=True)
