"""Records that go through files: all come back, and few are in memory."""

import os
import random
from collections import defaultdict
from pathlib import Path

import pytest

from components.catalog_example_gen import spill
from components.catalog_example_gen.spill import Spill, read_chunk, read_sorted, write_chunk


def test_every_record_comes_back_under_its_key_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_MOST_BYTES", 1_000)
    records = [(number % 7, (f"name {number}", b"\xff", None)) for number in range(500)]
    spilled = Spill(str(tmp_path / "scratch"))
    chunks = [chunk for key, record in records for chunk in spilled.add(key, record)]
    chunks += spilled.flush()
    found = defaultdict(list)
    for key, chunk in chunks:
        found[key] += read_chunk(chunk)
    assert found == {key: [record for of, record in records if of == key] for key in range(7)}
    # Written in time, and the keys of one time into one file.
    sizes = [os.path.getsize(path) for path in (tmp_path / "scratch").iterdir()]
    assert max(sizes) < 1_100
    assert len(sizes) == sum(sizes) // 1_000 + 1


def test_nothing_writes_no_file(tmp_path: Path) -> None:
    assert Spill(str(tmp_path / "scratch")).flush() == []
    assert not list(tmp_path.iterdir())


def test_a_step_that_is_repeated_leaves_what_the_first_wrote(tmp_path: Path) -> None:
    first, second = (write_chunk([number], str(tmp_path)) for number in (1, 2))
    assert (list(read_chunk(first)), list(read_chunk(second))) == ([1], [2])


def test_sorted_chunks_become_one_sorted_row_with_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_MOST_FILES", 4)
    numbers = list(range(1_000))
    random.Random(3).shuffle(numbers)
    chunks = [write_chunk(sorted(numbers[n::30]), str(tmp_path)) for n in range(30)]
    opened, most = set(), 0
    open_file = spill.opened

    def counting(path: str):
        nonlocal most
        file = open_file(path)
        opened.add(file)
        most = max(most, sum(not one.closed for one in opened))
        return file

    monkeypatch.setattr(spill, "opened", counting)
    assert list(read_sorted(chunks, str(tmp_path))) == list(range(1_000))
    assert most <= 4
    assert list(read_sorted([], str(tmp_path))) == []
