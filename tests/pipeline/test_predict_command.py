"""`seamline predict` as a person meets it, on pictures and on a whole catalog."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from tests.serving.client.word_server import WordServer

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def words():
    server = WordServer()
    yield server
    server.stop()


@pytest.fixture
def predict(words, tmp_path, monkeypatch):
    """Runs `seamline predict` in a folder of its own; gives the status and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    terminated = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        command = ["predict", *map(str, arguments), "--server", words.endpoint]
        monkeypatch.setattr(sys, "argv", ["seamline", *command])
        done = CliRunner().invoke(app, command)
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.exit_code, done.stdout, " ".join(done.stderr.split())

    yield run
    signal.signal(signal.SIGTERM, terminated)


@pytest.fixture
def shop(tmp_path):
    """A catalog of 300 products without categories, in the folder of the command."""
    (tmp_path / "shop" / "images").mkdir(parents=True)
    lines = ["id,kind,articleType"]
    for i in range(300):
        (tmp_path / "shop" / "images" / f"{i}.jpg").write_bytes(b"green")
        lines.append(f"{i},{'' if i % 2 else 'given'},")
    (tmp_path / "shop" / "images" / "5.jpg").write_bytes(b"torn")
    (tmp_path / "shop" / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "shop.yaml").write_text(
        "catalog: {folder: shop, category: kind, subcategory: articleType}"
    )
    for name, word in (("red.jpg", b"red"), ("torn.jpg", b"torn")):
        (tmp_path / name).write_bytes(word)
    return tmp_path


WALK = ("--csv", "shop/labels.csv", "--images", "shop/images", "--out", "out.csv")


def test_pictures_have_a_row_each(predict, shop):
    status, out, _ = predict("red.jpg", "red.jpg")
    assert status == 0
    assert out.count("red 0.75") == 4 and out.count("tone=bright 0.50") == 2


def test_a_picture_that_cannot_be_used_is_named_and_the_others_are_answered(predict, shop):
    status, out, err = predict("red.jpg", "torn.jpg", "none.jpg")
    assert status == 1
    assert "red 0.75" in out
    assert "error: torn.jpg cannot be decoded: torn; none.jpg cannot be read: No such file" in err


def test_json_has_an_object_a_picture(predict, shop):
    status, out, _ = predict("red.jpg", "torn.jpg", "--json")
    red, torn = map(json.loads, out.splitlines())
    assert (status, red["image"], red["category"]) == (1, "red.jpg", "red")
    assert torn == {"image": "torn.jpg", "refused": "cannot be decoded: torn"}
    _, out, _ = predict("red.jpg", "--json", "--everything")
    assert json.loads(out)["embedding"] == pytest.approx([0.6, 0.8])


def test_a_version_or_label_and_a_key_go_with_the_question(predict, shop, words, monkeypatch):
    (shop / "key").write_text("s3cret\n")
    predict("red.jpg", "--version", 7, "--api-key-file", "key")
    monkeypatch.setenv("SEAMLINE_API_KEY", "other")
    predict("red.jpg", "--label", "stable")
    first, second = (request.model_spec for request in words.requests)
    assert (first.version.value, second.version_label) == (7, "stable")
    assert [one["authorization"] for one in words.metadata] == ["Bearer s3cret", "Bearer other"]


def test_a_catalog_is_walked_filled_and_summed_up(predict, shop):
    status, out, _ = predict("--config", "shop.yaml", "--out", "out.csv", "--fill", "full.csv")
    assert status == 0
    assert "out.csv: 300 products; 299 answered" in out
    assert "sure enough by the model's own thresholds: category 100.0%" in out
    assert "1 without an answer: cannot be decoded (1)" in out
    # The 150 odd ones were empty; one of them is torn.
    assert "full.csv: 149 empty cells filled (kind 149)" in out
    assert (shop / "full.csv").read_text().splitlines()[1:4] == ["0,given,", "1,green,", "2,given,"]
    assert (shop / "full.report.csv").read_text().splitlines()[1] == "3,1,kind,green,0.7500"
    status, out, _ = predict(*WALK)
    assert (status, "300 products, 300 of them from before" in out) == (0, True)


@pytest.fixture
def push(shop):
    """Pushes a version with scores from which on answers need no person, numbered as it answers."""

    def call(root: Path, levels, number=1):
        folder = root / "serving" / "catalog" / str(number) / "assets.extra"
        folder.mkdir(parents=True)
        automatic = {"wanted": 0.98, "levels": levels, "attributes": {}} if levels else {}
        record = {"origin": {"automatic": automatic}}
        (folder / "seamline_version.json").write_text(json.dumps(record))

    return call


def test_of_a_catalog_whose_version_has_scores_only_what_needs_no_person_is_filled(
    predict, shop, push, words
):
    push(shop / "workspace" / "catalog", {"category": 0.7501}, words.version)
    fill = ("--config", "shop.yaml", "--out", "out.csv", "--fill", "full.csv")
    status, out, _ = predict(*fill)
    assert status == 0
    assert (
        "who labels the products: nobody 0.0%, nobody the category, somebody the rest 0.0%" in out
    )
    assert "full.csv: 0 empty cells filled" in out
    assert "left empty, 149: not sure enough to need no person" in out
    assert "kind" not in (shop / "full.report.csv").read_text()
    status, out, _ = predict(*fill, "--fill-known")
    assert "149 empty cells filled (kind 149)" in out
    assert "answers that somebody should look at are filled in as well" in out


def test_a_score_that_the_answers_reach_fills_them(predict, shop, push, words):
    push(shop / "elsewhere", {"category": 0.75}, words.version)
    status, out, _ = predict(
        *WALK, "--fill", "full.csv", "--category", "kind", "--workspace", "elsewhere"
    )
    assert status == 0
    assert "full.csv: 149 empty cells filled (kind 149)" in out
    row = (shop / "out.csv").read_text().splitlines()[1]
    assert ",category," in row


def test_without_scores_the_models_own_thresholds_count_and_it_says_so(predict, shop, push, words):
    push(shop / "workspace" / "catalog", {}, words.version)
    status, out, _ = predict("--config", "shop.yaml", "--out", "out.csv", "--fill", "full.csv")
    assert (status, "149 empty cells filled" in out) == (0, True)
    assert "by the model's own thresholds, for which answers need no person is not known" in out


def test_a_workspace_without_the_version_that_answers_is_named(predict, shop, push, words):
    push(shop / "elsewhere", {"category": 0.75}, words.version + 1)
    status, _, err = predict(*WALK, "--workspace", "elsewhere")
    assert status == 1
    assert f"The server answers with version {words.version}, and " in err
    assert "Name the workspace that it serves with --workspace" in err
    assert predict("red.jpg", "--workspace", "elsewhere")[0] == 1


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_whole_rows_and_says_how_to_go_on(predict, shop, words, sign):
    go_on = threading.Event()
    # Slowly, and not to the end however long it takes until the signal is sent.
    words.mood = lambda request: time.sleep(0.3) if len(words.requests) < 7 else go_on.wait(60)
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "predict", *WALK]
    process = subprocess.Popen(
        [*command, "--concurrency", "1", "--server", words.endpoint],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have switched Ctrl-C off.
        preexec_fn=lambda: signal.signal(sign, signal.SIG_DFL),
    )
    for _ in range(300):
        time.sleep(0.1)
        if (shop / "out.csv").exists() and len(words.requests) > 3:
            break
    process.send_signal(sign)
    _, err = process.communicate(timeout=30)
    go_on.set()
    assert process.returncode == 130
    assert "Traceback" not in err
    told = " ".join(err.split())
    assert "of 300 rows are in out.csv. To go on from there: seamline predict --csv" in told
    lines = (shop / "out.csv").read_text().splitlines()
    assert 1 < len(lines) < 300 and (shop / "out.csv").read_text().endswith("\n")
    words.mood = lambda request: None
    assert predict(*WALK)[0] == 0
    assert (shop / "out.csv").read_text().splitlines()[: len(lines)] == lines
    assert len((shop / "out.csv").read_text().splitlines()) == 301


def test_a_server_that_goes_away_is_named_with_how_to_go_on(predict, shop, words):
    def mood(request):
        if len(words.requests) > 3:
            raise RuntimeError("gone")

    words.mood = mood
    status, _, err = predict(*WALK, "--concurrency", 1, "--timeout", 1)
    assert status == 1
    assert "of 300 rows are in out.csv. To go on from there: seamline predict --csv" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name pictures to ask about"),
        (["red.jpg", "--out", "x.csv"], "--out goes with --csv or --config"),
        (["red.jpg", "--everything"], "goes with --json"),
        (["red.jpg", *WALK], "Both the picture red.jpg and a catalog"),
        (["--csv", "shop/labels.csv", "--images", "shop/images"], "Name a file with --out"),
        (["--csv", "shop/labels.csv", "--out", "x.csv"], "Name their folder with --images"),
        ([*WALK, "--json"], "--json, --everything and --threshold are for pictures"),
        ([*WALK, "--id", "sku"], "has no column `sku`"),
        ([*WALK, "--images", "none"], "The folder of pictures none is not there"),
        (["red.jpg", "--version", "1", "--label", "x"], "Name one of them"),
        (["red.jpg", "--api-key-file", "none"], "The API key cannot be read from none"),
        (["red.jpg", "--ca", "red.jpg"], "holds no certificate"),
        (["--config", "none.yaml", "--out", "x.csv"], "none.yaml"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(predict, shop, words, arguments, said):
    status, out, err = predict(*arguments)
    assert (status, out) == (1, "")
    assert said in err and "error: " in err
    assert words.requests == []
