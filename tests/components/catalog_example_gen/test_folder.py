"""The folder of pictures: what is found below it, and when its fingerprint changes."""

import os
from pathlib import Path

import pytest

from components.catalog_example_gen.folder import (
    Few,
    SkippedLinks,
    files_below,
    fingerprint,
    is_litter,
    passed_over,
    preference,
)
from schema.errors import UserError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in ("1.jpg", "men/2.PNG", "men/deep/3.webp", "notes.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def found(images: Path, links: bool = False) -> dict[str, tuple[bool, bool]]:
    """(is a picture, lies inside) by relative path."""
    return {file.path: (file.is_picture, file.inside) for file in files_below(str(images), links)}


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


def test_links_to_folders_are_not_followed_but_named_and_pipes_are_no_files(
    images: Path, tmp_path: Path
) -> None:
    before = found(images)
    (images / "around").symlink_to(images)
    (images / "men" / "up").symlink_to(tmp_path)
    os.mkfifo(images / "pipe.jpg")
    assert found(images) == before
    for number in range(7):
        (images / f"{number}x.gif").symlink_to("nothing")
    (images / "notes").symlink_to("nothing")
    skipped = SkippedLinks()
    list(files_below(str(images), skipped=skipped))
    assert skipped.folders == Few(2, ["around", "men/up"])
    assert skipped.dangling == Few(7, [f"{number}x.gif" for number in range(5)])


def test_links_that_may_lead_out_are_files_and_folders_like_others(
    images: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache" / "deep").mkdir(parents=True)
    (tmp_path / "cache" / "deep" / "4.jpg").write_bytes(b"x")
    (tmp_path / "cache" / "5").write_bytes(b"x")
    (images / "tops").symlink_to(tmp_path / "cache")
    (images / "5.jpg").symlink_to(tmp_path / "cache" / "5")
    assert found(images, links=True) == {
        **found(images, links=False),
        **dict.fromkeys(("5.jpg", "tops/deep/4.jpg"), (True, True)),
        "tops/5": (False, True),
    }


def test_links_that_lead_around_are_followed_to_their_end(images: Path, tmp_path: Path) -> None:
    (images / "self").symlink_to(images)
    (images / "men" / "deep" / "above").symlink_to("..")
    (images / "up").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "6.jpg").write_bytes(b"x")
    (tmp_path / "other" / "back").symlink_to(images)
    (images / "other").symlink_to(tmp_path / "other")
    before = {"1.jpg", "men/2.PNG", "men/deep/3.webp", "notes.txt"}
    assert set(found(images, links=True)) == {*before, "other/6.jpg"}


@pytest.mark.parametrize(
    "litter",
    [
        *(".hidden.jpg", "._1.jpg", ".git/objects/1.jpg", ".Trash/1.jpg", "1.jpg~"),
        *("__MACOSX/1.jpg", "men/.ipynb_checkpoints/1-checkpoint.jpg", "@eaDir/1.jpg/SMALL.jpg"),
        *("#recycle/1.jpg", "$RECYCLE.BIN/1.jpg", "Thumbs.db", "old~/1.jpg", "~$1.jpg"),
    ],
)
def test_what_programs_leave_behind_is_not_there(images: Path, litter: str) -> None:
    before, seen = found(images), fingerprint([], str(images))
    path = images / litter
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    assert found(images) == before
    assert fingerprint([], str(images)) == seen
    assert is_litter(passed_over(litter))


@pytest.mark.parametrize("name", ["1.jpg", "a.b.jpg", "macosx", "thumbs.jpg", "~a.jpg", "a~b"])
def test_a_name_of_another_kind_is_no_litter(name: str) -> None:
    assert not is_litter(name)
    assert passed_over(f"a/{name}") is None


def test_the_picture_is_that_of_the_first_suffix_then_the_fewest_folders_then_the_first() -> None:
    ordered = ["b.jpg", "c.JPG", "a/b.jpg", "b/a.jpg", "a/a/a.jpg", "b.jpeg", "a/a.png", "a.bmp"]
    ordered.append("a.txt")
    assert sorted(sorted(ordered), key=preference) == ordered


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
