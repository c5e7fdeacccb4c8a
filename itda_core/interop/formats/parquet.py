"""Dictionary in Parquet: `atoms.parquet` and `codes.parquet`.

`atoms.parquet` has vectors and sources, `codes.parquet` a row for each coefficient.

atoms: atom, vector (d_model float32), document, position (both −1 if unknown), document_name, start, stop (the
token's character range in the document), before, label, after (the passage), admission_error. codes: token (its
ordinal among the tokens read), document, position, atom, coefficient; in order of tokens. Positions count a
document's own tokens, those of special tokens before it are negative; `about.json` records if they count all, and the
dictionary's model, corpus and settings, and with centring the mean that is subtracted before encoding.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from pyarrow import parquet

from itda_core.common.errors import DamagedError, UserError
from itda_core.common.files import write_json
from itda_core.interop.external import MOST_ATOMS, WIDEST, ExternalDictionary
from itda_core.interop.formats.manifest import ABOUT_FILE, Exported, external_of, read_about

ATOMS_TABLE, CODES_TABLE = "atoms.parquet", "codes.parquet"
_READ = {"document": pa.int64(), "position": pa.int64(), "admission_error": pa.float64()}
_DENSEST = 64  # bytes of vectors per byte of the file: activations hardly compress
CODE_SCHEMA = pa.schema(
    [
        ("token", pa.int32()),
        ("document", pa.int32()),
        ("position", pa.int32()),
        ("atom", pa.int32()),
        ("coefficient", pa.float32()),
    ]
)


def write_tables(source: Exported, folder: Path) -> None:
    """Write a dictionary's tables into an existing folder.

    Raises OSError if they cannot be written, DamagedError for an index with invalid sources or codes.
    """
    atoms = source.dictionary.atoms.numpy()
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(atoms.ravel()), atoms.shape[1])
    try:
        origins = pa.Table.from_pandas(source.index.origins(), _origin_schema(), preserve_index=False)
    except pa.ArrowException as error:
        raise DamagedError(f"the index of {source.record.id} holds no sources: build the dictionary again") from error
    # The dictionary's own sources and errors: the index has only the confirmed sources.
    for at, name in enumerate(("document", "position")):
        own = pa.array(source.dictionary.sources[:, at].numpy(), pa.int64())
        origins = origins.set_column(origins.schema.get_field_index(name), name, own)
    errors = source.dictionary.admission_errors.numpy()
    own = pa.array(errors, pa.float64(), mask=np.isnan(errors))
    origins = origins.set_column(origins.schema.get_field_index("admission_error"), "admission_error", own)
    table = origins.add_column(1, "vector", vectors).replace_schema_metadata()
    parquet.write_table(table, folder / ATOMS_TABLE, write_page_checksum=True)
    with parquet.ParquetWriter(folder / CODES_TABLE, CODE_SCHEMA, write_page_checksum=True) as writer:
        for codes in source.codes():
            writer.write_table(pa.Table.from_pandas(codes, CODE_SCHEMA, preserve_index=False))
    mean = {"mean": source.dictionary.mean.tolist()} if source.dictionary.is_centered else {}
    write_json(folder / ABOUT_FILE, source.about("parquet") | mean)


def read_tables(folder: Path) -> ExternalDictionary:
    """Read the atoms that `write_tables` wrote.

    Raises UserError if they cannot be read.
    """
    about = read_about(folder, "parquet")
    try:
        with parquet.ParquetFile(folder / ATOMS_TABLE, page_checksum_verification=True) as file:
            width = _checked_width(file, folder / ATOMS_TABLE)
            table = file.read(["vector", *_READ]).combine_chunks()
        vectors = table["vector"].combine_chunks()
        if vectors.null_count or vectors.flatten().null_count:
            raise ValueError("a vector is missing")
        atoms = vectors.flatten().to_numpy().reshape(len(vectors), width)
        sources = np.stack([table[name].to_numpy() for name in ("document", "position")], axis=1)
        errors = table["admission_error"].to_pandas().to_numpy(np.float64)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{ATOMS_TABLE} of {folder.name!r} cannot be read: {error}") from error
    tensors = {
        "atoms": torch.from_numpy(atoms.copy()),
        "sources": torch.from_numpy(sources.copy()),
        "admission_errors": torch.from_numpy(errors.copy()),
        **_mean_of(about),
    }
    return external_of(about, tensors, ATOMS_TABLE)


def _mean_of(about: Any) -> dict[str, torch.Tensor]:
    """Return the mean in the metadata as a tensor, if there is one.

    Raises UserError for one that is no list of numbers.
    """
    mean = about.get("mean")
    if mean is None:
        return {}
    if not isinstance(mean, list) or not all(isinstance(value, float) for value in mean):
        raise UserError(f"{ABOUT_FILE} has a mean that is no list of numbers")
    return {"mean": torch.tensor(mean, dtype=torch.float32)}


def read_codes(folder: Path) -> Iterator[pd.DataFrame]:
    """Yield the codes that `write_tables` wrote, table by table.

    Raises UserError if they cannot be read.
    """
    try:
        with parquet.ParquetFile(folder / CODES_TABLE, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(CODE_SCHEMA):
                raise ValueError("it has other columns")
            for batch in file.iter_batches():
                yield batch.to_pandas()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"{CODES_TABLE} of {folder.name!r} cannot be read: {error}") from error


def _checked_width(file: parquet.ParquetFile, path: Path) -> int:
    """Validate types and sizes before reading, and return the vectors' dimension.

    Raises ValueError, or KeyError for a missing column.
    """
    schema, n_atoms = file.schema_arrow, file.metadata.num_rows
    kind = schema.field("vector").type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        raise ValueError("its vectors are not of float32")
    if not 0 < kind.list_size <= WIDEST or not 0 < n_atoms <= MOST_ATOMS:
        raise ValueError(f"it holds {n_atoms:,} atoms of width {kind.list_size:,}")
    if n_atoms * kind.list_size * 4 > _DENSEST * path.stat().st_size:
        raise ValueError("it holds more vectors than such a file can")
    for name, expected in _READ.items():
        if schema.field(name).type != expected:
            raise ValueError(f"its {name} is {schema.field(name).type} where {expected} was expected")
    return kind.list_size


def _origin_schema() -> pa.Schema:
    return pa.schema(
        [
            ("atom", pa.int32()),
            ("document", pa.int64()),
            ("position", pa.int64()),
            ("document_name", pa.string()),
            ("start", pa.int32()),
            ("stop", pa.int32()),
            ("before", pa.string()),
            ("label", pa.string()),
            ("after", pa.string()),
            ("admission_error", pa.float64()),
        ]
    )
