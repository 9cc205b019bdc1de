"""Which files are read: by glob, by day, and their fingerprint."""

from __future__ import annotations

import datetime

import pytest

from transforms.log_files import find_files, find_log_files, fingerprint, open_file


@pytest.fixture
def folder(tmp_path):
    for day in (1, 2, 3, 4, 5):
        path = tmp_path / f"2024-01-{day:02d}"
        path.mkdir()
        (path / "b.jsonl").write_text("b" * day)
        (path / "a.jsonl").write_text("a" * day)
    (tmp_path / "all.csv").write_text("x")
    return tmp_path


def test_files_of_the_days_that_are_needed(folder, splits):
    files, problems = find_log_files(str(folder), "{YYYY}-{MM}-{DD}/*.jsonl", "auto", splits, None)
    assert problems == []
    assert [f.path.removeprefix(f"{folder}/") for f in files] == [
        f"2024-01-0{day}/{name}.jsonl" for day in (1, 2, 3, 5) for name in "ab"
    ]
    assert [f.index for f in files] == list(range(8))
    assert {f.format for f in files} == {"jsonl"}
    assert files[-1].day == datetime.date(2024, 1, 5).toordinal()


def test_a_column_may_tell_the_day_of_pruned_files(folder, splits):
    files, _ = find_log_files(str(folder), "{YYYY}-{MM}-*/a.jsonl", "auto", splits, "date")
    assert len(files) == 5
    assert {f.day for f in files} == {None}


def test_every_day_without_a_file_is_named(folder, splits):
    (folder / "2024-01-02" / "a.jsonl").unlink()
    (folder / "2024-01-05" / "a.jsonl").unlink()
    files, problems = find_log_files(str(folder), "{YYYY}-{MM}-{DD}/a.*", "auto", splits, None)
    assert len(files) == 2
    remedy = (
        "Copy it there, or change the days. Where a day has none, as a closed day may, set "
        "data.empty_days to warn."
    )
    assert [str(p) for p in problems] == [
        f"{folder}/2024-01-02/a.*: found no such file; expected the log of 2024-01-02, a day of "
        f"data.train. {remedy}",
        f"{folder}/2024-01-05/a.*: found no such file; expected the log of 2024-01-05, a day of "
        f"data.eval. {remedy}",
    ]
    _, (problem,) = find_log_files(str(folder), "{YYYY}-{MM}-{DD}/a.*", "auto", splits, None, True)
    assert problem.where == f"{folder}/2024-01-05/a.*", "eval has no other day"


@pytest.mark.parametrize(
    ("pattern", "read"),
    [
        ("**", ["_hour=05/a.csv", "a.csv", "b/a.csv"]),
        ("**/*.csv", ["_hour=05/a.csv", "b/a.csv"]),
        ("*/a.csv", ["_hour=05/a.csv", "b/a.csv"]),
        ("?temporary/*/*", []),
        ("[_.]*/*", ["_hour=05/a.csv"]),
        ("*.csv", ["a.csv"]),
        ("_*.csv", ["_a.csv"]),
        ("_temporary/0/*", ["_temporary/0/a.csv"]),
        ("_temporary/**", ["_temporary/0/a.csv"]),
        ("**/.hidden/*", ["b/.hidden/a.csv"]),
        (".hidden/a.csv", [".hidden/a.csv"]),
    ],
)
def test_what_engines_leave_beside_data_is_read_by_its_name_only(tmp_path, pattern, read):
    root = tmp_path / "_root"  # whose own name is no part of the pattern
    for folder in ("", "b", "_hour=05", "_temporary/0", "_delta_log", ".hidden", "b/.hidden"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "a.csv").write_text("x")
    (root / "_a.csv").write_text("x")
    (root / ".a.csv.crc").write_text("x")
    assert _found(root, pattern) == read


def _found(root, pattern):
    return [path.removeprefix(f"{root}/") for path in find_files(str(root), pattern, "k")[0]]


def test_globs_without_a_match(folder, splits):
    files, (problem,) = find_log_files(str(folder), "*.parquet", "auto", splits, "date")
    assert files == []
    assert str(problem).startswith(f"{folder}/*.parquet: found no such file; expected at least one")
    assert find_files(str(folder), "all.*", "k") == ([f"{folder}/all.csv"], [])


def test_names_that_do_not_tell_the_format(folder, splits):
    (folder / "log.txt").write_text("")
    files, (problem,) = find_log_files(str(folder), "log.*", "auto", splits, "date")
    assert files == []
    assert problem.where == f"{folder}/log.txt"
    files, problems = find_log_files(str(folder), "log.*", "csv", splits, "date")
    assert (files[0].format, problems) == ("csv", [])


def test_something_must_tell_the_day(folder, splits):
    _, (problem,) = find_log_files(str(folder), "{YYYY}-{MM}-*/a.jsonl", "auto", splits, None)
    assert problem.where == "data.day.column"


def test_the_fingerprint_follows_names_and_contents(folder):
    paths = sorted(map(str, folder.glob("*/*.jsonl")))
    before = fingerprint(paths, str(folder))
    assert fingerprint(reversed(paths), str(folder)) == before
    assert fingerprint(paths[1:], str(folder)) != before
    with open(paths[0], "r+") as file:
        file.write("c")
    changed = fingerprint(paths, str(folder))
    assert changed != before
    (folder / "2024-01-01").rename(folder / "2024-01-09")
    assert fingerprint(map(str, folder.glob("*/*.jsonl")), str(folder)) not in (before, changed)


def test_files_are_opened_as_they_are_stored(folder):
    path = folder / "x.csv.gz"
    path.write_bytes(b"no gzip")
    with open_file(str(path)) as file:
        assert file.read() == b"no gzip"


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "x.csv").mkdir()
    paths, (problem,) = find_files(str(tmp_path), "x.csv", "data.logs")
    assert paths == [] and problem.found == "no such file"
