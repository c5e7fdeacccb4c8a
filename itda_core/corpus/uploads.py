"""Keep files that users upload, with the library."""

import hashlib
from pathlib import Path

from itda_core.common.disk_errors import writing
from itda_core.common.files import slug, written_whole
from itda_core.common.layout import UPLOADS


def keep_upload(root: Path, name: str, data: bytes) -> Path:
    """Write an uploaded file to the library's folder of uploads; return its path.

    The file is named after `name`, which is untrusted, and its contents' hash, so that none replaces another.

    Raises UserError if it cannot be written.
    """
    named = Path(name)
    suffix = named.suffix.lower() if named.suffix[1:].isalnum() and named.suffix.isascii() else ".txt"
    path = root / UPLOADS / f"{slug(named.stem)}-{hashlib.sha256(data).hexdigest()[:10]}{suffix}"
    with writing(root):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part:
            part.write_bytes(data)
    return path
