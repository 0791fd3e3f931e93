"""The command line as a person meets it: sentences, exit statuses, no tracebacks."""

import socket
import subprocess
import sys

import pytest

COLUMNS = "id,category,subcategory,colour,pattern,season,gender,name"


def assert_one_clear_sentence(process, *expected: str) -> None:
    """Exit status 1, `error:` and the remedy on standard error, and nothing like a traceback."""
    assert process.returncode == 1, process.stdout + process.stderr
    told = " ".join(process.stderr.split())
    for part in expected:
        assert part in told
    assert "error: " in told
    assert "Traceback" not in process.stdout + process.stderr


def test_help_names_every_command_and_answers_without_tensorflow(seamline):
    process = seamline("--help")
    assert process.returncode == 0
    for command in (
        "demo-catalog",
        "run",
        "schema",
        "serve",
        "predict",
        "metrics",
        "report",
        "demo",
    ):
        assert command in process.stdout


def test_a_wrong_option_is_named_with_the_one_that_was_meant(seamline, drawn_catalog):
    process = seamline(*seamline.run_demo(drawn_catalog, "training.epoch=3"))
    assert_one_clear_sentence(process, "training.epoch is not an option", "did you mean epochs?")
    assert not (seamline.folder / "work").exists()


def test_a_missing_catalog_is_named(seamline):
    process = seamline(*seamline.run_demo("no/such/folder"))
    assert_one_clear_sentence(process, "no/such/folder")


@pytest.mark.parametrize(
    ("rows", "picture", "expected"),
    [
        ([], "1.jpg", "labels.csv"),
        ([COLUMNS.replace("subcategory,", "")], "1.jpg", "subcategory"),
        ([COLUMNS], "1.jpg", "labels.csv"),
        ([COLUMNS, "1,Topwear,Shirt,Red,Plain,Summer,Men,x"], "1.txt", "images"),
    ],
    ids=["empty file", "missing column", "no rows", "no pictures"],
)
def test_a_csv_or_folder_that_cannot_be_used_is_named(seamline, tmp_path, rows, picture, expected):
    (tmp_path / "shop" / "images").mkdir(parents=True)
    (tmp_path / "shop" / "images" / picture).touch()
    (tmp_path / "shop" / "labels.csv").write_text("\n".join(rows))
    process = seamline(*seamline.run_demo(tmp_path / "shop"))
    assert_one_clear_sentence(process, expected)
    assert not list((seamline.folder / "work").glob("serving/*"))


def test_one_class_only_is_refused(seamline, copy_of_catalog):
    labels = copy_of_catalog / "labels.csv"
    header, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([header, *(row for row in rows if ",Bags," in row)]))
    process = seamline(*seamline.run_demo(copy_of_catalog))
    assert_one_clear_sentence(process, "fewer than two different values", "catalog.category")


@pytest.mark.slow
def test_too_many_rejected_rows_stop_the_run_and_leave_the_list(seamline, copy_of_catalog):
    for picture in sorted((copy_of_catalog / "images").iterdir())[:100]:
        picture.unlink()
    process = seamline(*seamline.run_demo(copy_of_catalog))
    assert_one_clear_sentence(process, "checks.max_rejected", "no picture (102)", "rejects.csv")
    [rejects] = (seamline.folder / "work" / "artifacts").glob("CatalogExampleGen/rejects/*/*.csv")
    assert len(rejects.read_text().splitlines()) > 100


@pytest.mark.parametrize("command", ["metrics", "report", "serve"])
def test_a_folder_without_a_run_is_named(seamline, command):
    process = seamline(command, "nowhere")
    assert_one_clear_sentence(process, "nowhere", "seamline run")


def test_a_server_that_does_not_answer_is_named(seamline, drawn_catalog):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    picture = next((drawn_catalog / "images").glob("*.jpg"))
    process = seamline("predict", picture, "--server", address, "--timeout", 2)
    assert_one_clear_sentence(process, address, "seamline serve")


def test_a_picture_that_is_not_there_is_named(seamline):
    assert_one_clear_sentence(seamline("predict", "shoe.jpg"), "shoe.jpg")


def test_a_full_disk_is_told_with_the_remedy(seamline):
    script = (
        "import errno\n"
        "from pipeline.cli import _clear_errors\n"
        "with _clear_errors():\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device', 'weights.h5')\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert_one_clear_sentence(process, "The disk is full: weights.h5", "Make room")
