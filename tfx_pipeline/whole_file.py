"""Files that appear whole under their name, or not at all."""

from __future__ import annotations

from pathlib import Path

from keras_models.disk_space import room_for


def write_whole(path: Path, text: str, what: str) -> None:
    """Writes a file beside its place and renames it in.

    Args:
      path: The file; it is replaced.
      text: What it holds from then on.
      what: What that is, for the message of a full disk.

    Raises:
      DiskFullError: if there is no room for it; the file stays as it was.
    """
    # A kill may leave it, and the next write takes it.
    draft = path.with_name(f".{path.name}.new")
    try:
        with room_for(what, path):
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
