"""The client alone: what it imports, what is installed, and that what its documents say is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import serving.client
from serving.model_server import ModelServer
from tests.serving import color_model

FOLDER = Path(serving.client.__file__).parent
UV = FOLDER.parents[1] / ".venv" / ".tools" / "bin" / "uv"


def run(python: str | Path, script: str, *arguments: str, cwd: Path | None = None) -> str:
    # Nothing of the repository must be found by chance.
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    if cwd is None:
        environment["PYTHONPATH"] = str(FOLDER.parents[1])
    process = subprocess.run(
        [str(python), "-c", script, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_importing_brings_in_grpc_protobuf_and_numpy_and_nothing_else_that_is_installed():
    script = """
        import sys
        before = set(sys.modules)
        import serving.client
        tops = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(*sorted(top for top in tops - sys.stdlib_module_names if not top.startswith("_")))
    """
    found = run(sys.executable, textwrap.dedent(script)).split()
    # gRPC imports its own companions where they are there.
    others = {name for name in found if not name.startswith("grpc")}
    assert others - {"google", "numpy", "schema", "serving"} <= {
        "typing_extensions",
        "cython_runtime",
    }


def test_importing_takes_under_half_a_second_of_a_processor():
    script = (
        "import time\nbegan = time.process_time()\nimport serving.client\n"
        "print(time.process_time() - began)"
    )
    assert min(float(run(sys.executable, script)) for _ in range(3)) < 0.5


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The pictures that the examples in documents speak of."""
    (tmp_path / "images").mkdir()
    for name in ("shirt.jpg", "shoe.jpg", "images/1.jpg", "images/2.jpg"):
        (tmp_path / name).write_bytes(color_model.picture(255, 0, 0, suffix="jpeg"))
    (tmp_path / "images" / "3.jpg").write_bytes(b"torn")
    return tmp_path


def test_the_examples_in_the_docstring_run(
    server: ModelServer, pictures: Path, monkeypatch, capsys
):
    monkeypatch.chdir(pictures)
    blocks = re.findall(r"(?:^    .*\n|^\n)+", serving.client.__doc__, re.MULTILINE)
    examples = [textwrap.dedent(block) for block in blocks if "import" in block]
    assert len(examples) == 2
    for example in examples:
        exec(example.replace("models.example.com:8500", server.endpoint), {})
    assert re.sub(r"(\.\d\d)\d+", r"\1", capsys.readouterr().out).splitlines() == [
        *["red bright red {'tone=bright': 0.98}"] * 2,
        *["1.jpg: red, 0.96", "2.jpg: red, 0.96"],
        "3.jpg cannot be decoded: it is no picture",
    ]


def test_the_examples_in_the_readme_run(server: ModelServer, pictures: Path, monkeypatch, capsys):
    monkeypatch.chdir(pictures)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for example in re.findall(r"```python\n(.*?)```", readme, re.DOTALL):
        exec(example.replace("localhost:8500", server.endpoint), {})
    written = (pictures / "out.csv").read_text().splitlines()
    assert len(written) == 4 and written[3].endswith("cannot be decoded: it is no picture")
    assert "{'category': 'red', 'subcategory': 'bright red'}" in capsys.readouterr().out


def test_the_examples_for_other_languages_speak_the_same_messages():
    def messages(file: Path) -> str:
        text = file.read_text(encoding="utf-8")
        return text[text.index("enum DataType") :]

    assert messages(FOLDER / "examples" / "tf_serving.proto") == messages(
        FOLDER / "tf_serving.proto"
    )


@pytest.mark.slow
def test_it_is_installed_alone_and_asks_a_server(server: ModelServer, pictures: Path):
    if not UV.is_file():
        pytest.skip(f"there is no {UV}, which `make` puts there")

    def uv(*arguments: str) -> None:
        process = subprocess.run(
            [UV, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
        )
        if "Failed to fetch" in process.stderr:
            pytest.skip(f"uv needs a package index: {process.stderr[-300:]}")
        assert process.returncode == 0, process.stderr

    uv("build", "--wheel", "--out-dir", pictures / "wheel", FOLDER)
    (wheel,) = (pictures / "wheel").glob("seamline_client-*.whl")
    uv("venv", "--python", sys.executable, pictures / "alone")
    python = pictures / "alone" / "bin" / "python"
    uv("pip", "install", "--python", python, wheel)

    script = """
        import importlib.metadata, importlib.util, sys
        from serving.client import CatalogClient
        print(*sorted(d.metadata["Name"] for d in importlib.metadata.distributions()))
        print(importlib.util.find_spec("schema"))
        with CatalogClient(sys.argv[1]) as client:
            print(client.predict(["shoe.jpg"])[0].category, *client.predict_many([b"torn"]))
    """
    installed, schema, answer = run(
        python, textwrap.dedent(script), server.endpoint, cwd=pictures
    ).splitlines()
    assert set(installed.split()) == {
        *("grpcio", "numpy", "protobuf", "seamline-client", "typing_extensions")
    }
    assert schema == "None"
    assert answer.startswith("red Refused(reason='cannot be decoded: it is no picture'")
