from pathlib import Path

import pytest

from itda_core import UserError
from itda_core.corpus.uploads import keep_upload


@pytest.mark.parametrize(
    ("name", "start", "suffix"),
    [
        ("My notes.TXT", "my-notes-", ".txt"),
        ("../../etc/passwd", "passwd-", ".txt"),
        ("..", "unnamed-", ".txt"),
        ("a.b/c\x00.csv", "c-", ".csv"),
        ("x" * 999 + ".jsonl", "x" * 40, ".jsonl"),
        ("", "unnamed-", ".txt"),
        ("text.☃", "text-", ".txt"),
    ],
)
def test_an_upload_stays_in_its_folder_under_a_plain_name(name: str, start: str, suffix: str, tmp_path: Path) -> None:
    path = keep_upload(tmp_path / "library", name, b"text")
    assert path.parent == tmp_path / "library" / "uploads"
    assert path.name.startswith(start) and path.suffix == suffix
    assert path.read_bytes() == b"text"
    assert keep_upload(tmp_path / "library", name, b"text") == path != keep_upload(tmp_path / "library", name, b"other")


def test_where_nothing_can_be_written_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "library").write_text("a file")
    with pytest.raises(UserError):
        keep_upload(tmp_path / "library", "notes.txt", b"text")
