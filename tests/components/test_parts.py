"""Work on the files of the Examples: nothing twice, and nothing left of killed workers."""

from pathlib import Path

import apache_beam as beam

from components.parts import Part, work_off
from components.storage import UNFINISHED, created_whole
from pipeline.beam_runner import LOCAL


def copy(part: Part, mark) -> None:
    with created_whole(part.output) as file:
        file.write(Path(part.examples).read_bytes())
    mark()


def worked_off(parts) -> None:
    work_off(lambda: beam.Pipeline(argv=LOCAL), parts, copy)


def test_what_is_there_is_not_made_again_and_what_was_left_goes(tmp_path):
    parts = []
    for number in range(3):
        source = tmp_path / f"{number}.gz"
        source.write_text(f"products {number}")
        parts.append(Part("train", str(source), str(tmp_path / "made" / f"{number}.npy")))
    made = tmp_path / "made"
    made.mkdir()
    (made / "0.npy").write_text("of an earlier run")
    (made / f"of a killed worker{UNFINISHED}").write_text("hal")

    worked_off(parts)

    assert sorted(path.name for path in made.iterdir()) == ["0.npy", "1.npy", "2.npy"]
    assert (made / "0.npy").read_text() == "of an earlier run"
    assert (made / "2.npy").read_text() == "products 2"
