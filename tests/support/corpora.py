"""Write small corpora of every format, and read them."""

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from itda_core.common.errors import UserError
from itda_core.common.settings import CorpusSettings
from itda_core.common.types import Document
from itda_core.corpus.readers import read_documents

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))


def read(spec, **more):
    return list(read_documents(CorpusSettings(str(spec), **more)))


def refusal(spec, **more):
    with pytest.raises(UserError) as caught:
        read(spec, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_documents(path: Path, documents: Iterable[Document]) -> Path:
    """Write documents as a .jsonl file."""
    return write(path, "".join(json.dumps({"text": document.text}) + "\n" for document in documents))


def write_parquet(path: Path, **columns) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path
