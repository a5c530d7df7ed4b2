import errno
from pathlib import Path

import pytest

from analysis.tables.write import write_files


def test_a_file_that_cannot_be_written_is_named_and_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "table.md").mkdir()
    with pytest.raises(OSError) as caught:
        write_files(tmp_path, {"table.tex": "written", "table.md": "not written"})
    assert (caught.value.errno, caught.value.filename) == (errno.EISDIR, str(tmp_path / "table.md"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.md", "table.tex"]
