"""The folder of pictures: what is found below it, and when its fingerprint changes."""

import os
from pathlib import Path

import pytest

from components.catalog_example_gen.folder import files_below, fingerprint
from schema.errors import UserError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in ("1.jpg", "men/2.PNG", "men/deep/3.webp", "notes.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def found(images: Path) -> dict[str, tuple[bool, bool]]:
    """(is a picture, lies inside) by relative path."""
    return {file.path: (file.is_picture, file.inside) for file in files_below(str(images))}


def test_files_are_found_at_any_depth_and_pictures_known_by_their_suffix(images: Path) -> None:
    assert found(images) == {
        "1.jpg": (True, True),
        "men/2.PNG": (True, True),
        "men/deep/3.webp": (True, True),
        "notes.txt": (False, True),
    }


def test_a_link_out_of_the_folder_is_marked_and_one_inside_is_a_file(
    images: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (images / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (images / "in.jpg").symlink_to("men/2.PNG")
    (images / "dangling.jpg").symlink_to("nothing")
    assert found(images)["out.jpg"] == (True, False)
    assert found(images)["in.jpg"] == (True, True)
    assert "dangling.jpg" not in found(images)


def test_links_to_folders_are_not_followed_and_pipes_are_no_files(
    images: Path, tmp_path: Path
) -> None:
    before = found(images)
    (images / "around").symlink_to(images)
    (images / "up").symlink_to(tmp_path)
    os.mkfifo(images / "pipe.jpg")
    assert found(images) == before


def test_a_folder_that_is_a_link_itself_is_read(images: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(images)
    assert found(tmp_path / "link") == found(images)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere cannot be listed"):
        list(files_below(str(tmp_path / "nowhere")))


def test_the_fingerprint_changes_with_every_picture_and_the_csv_and_with_nothing_else(
    images: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("id\n")

    def now() -> str:
        return fingerprint([str(labels)], str(images))

    seen = [now()]
    assert now() == seen[0]
    (images / "notes.txt").write_text("longer notes")
    (images / "1.jpg").read_bytes()
    assert now() == seen[0]

    os.utime(images / "1.jpg", ns=(5, 5))
    seen.append(now())
    (images / "men/2.PNG").write_bytes(b"another length")
    seen.append(now())
    (images / "4.gif").write_bytes(b"")
    seen.append(now())
    (images / "4.gif").rename(images / "5.gif")
    seen.append(now())
    (images / "5.gif").unlink()
    os.utime(labels, ns=(5, 5))
    seen.append(now())
    labels.unlink()
    seen.append(now())
    assert len(set(seen)) == len(seen)


def test_a_missing_catalog_has_a_fingerprint_so_that_the_ingest_can_say_what_is_missing(
    tmp_path: Path,
) -> None:
    assert fingerprint([str(tmp_path / "no.csv")], str(tmp_path / "none"))
