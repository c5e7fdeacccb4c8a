"""Dictionary in safetensors: `dictionary.safetensors`, and codes in other files.

The first has atoms [n_atoms, d_model] float32, sources [n_atoms, 2] int64 (document, position among its own tokens,
negative for a special token before them; (−1, −1) if unknown), admission_errors [n_atoms] float64, and with centring
mean [d_model] float32, which is subtracted from an activation before encoding and added to a reconstruction. The codes,
in order of tokens, are stored in `codes-00000.safetensors` and so on: token, document, position, atom (int32) and
coefficient (float32), arrays of equal length, with a bounded number of tokens per file to limit memory. `about.json`
records the dictionary's model, corpus and settings.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save as save_arrays
from safetensors.torch import load_file, save

from itda_core.common.errors import UserError
from itda_core.common.files import write_json
from itda_core.interop.external import ExternalDictionary
from itda_core.interop.formats.manifest import ABOUT_FILE, CODE_KINDS, Exported, external_of, read_about

TENSORS_FILE = "dictionary.safetensors"
_CODES = "codes-{:05}.safetensors"


def write_tensors(source: Exported, folder: Path) -> None:
    """Write a dictionary's tensors into an existing folder.

    Raises OSError if they cannot be written.
    """
    content = save(source.dictionary.tensors())  # save_file would make the file readable by its owner alone
    (folder / TENSORS_FILE).write_bytes(content)
    for number, codes in enumerate(source.codes()):
        columns = {name: codes[name].to_numpy(kind) for name, kind in CODE_KINDS.items()}
        (folder / _CODES.format(number)).write_bytes(save_arrays(columns))
    write_json(folder / ABOUT_FILE, source.about("safetensors"))


def read_tensors(folder: Path) -> ExternalDictionary:
    """Read the atoms that `write_tensors` wrote.

    Raises UserError if they cannot be read.
    """
    return external_of(read_about(folder, "safetensors"), _load(folder / TENSORS_FILE), TENSORS_FILE)


def read_codes(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    """Yield the codes that `write_tensors` wrote, file by file.

    Raises UserError if they cannot be read.
    """
    number = 0
    while (path := folder / _CODES.format(number)).is_file():
        found = {name: tensor.numpy() for name, tensor in _load(path).items()}
        if {name: array.dtype for name, array in found.items()} != {
            name: np.dtype(kind) for name, kind in CODE_KINDS.items()
        }:
            raise UserError(f"{path.name} of {folder.name!r} holds other arrays than codes")
        yield found
        number += 1


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path.name} of {path.parent.name!r} cannot be read: {error}") from error
