"""Which version answers, while versions come and go, and so does the model server."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from schema import features
from serving.app import models as app_models
from serving.app.errors import Refused
from serving.app.models import Model, Models, Version, indexed_versions
from serving.model_server import ModelServer
from serving.model_server.options import ServerOptions, single_model
from serving.search import DamagedIndex
from tests.serving.app import search_model
from tests.serving.app.running import running

PICTURE = search_model.picture((200, 40, 60), (20, 90, 10))
INDEX = features.INDEX_FOLDER


@contextmanager
def serving(root, port=0, name="catalog"):
    """As TensorFlow Serving: the newest version alone."""
    options = ServerOptions(
        models=single_model(root / name, name),
        port=port,
        file_system_poll_wait_seconds=0.1,
        enable_model_warmup=False,
    )
    with ModelServer.from_options(options) as server:
        yield server


def until(condition, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def pushed(version_folder, root, number, products=None, name="catalog", mark=None):
    """A version, put there by one rename."""
    hidden = root / f".{number}"
    shutil.copytree(version_folder, hidden)
    if products is not None:
        shutil.rmtree(hidden / INDEX)
        search_model.write_index(search_model.SearchModel(), hidden, products, mark=mark)
    (root / name).mkdir(parents=True, exist_ok=True)
    hidden.rename(root / name / str(number))
    return root / name / str(number)


def test_a_push_changes_over_without_a_wrong_or_a_lost_answer(tmp_path, version_folder, products):
    old, new = {p.id for p in products[:30]}, {p.id for p in products[30:]}
    first = pushed(version_folder, tmp_path, 1, products[:30])
    found, problems = [], []
    stop = threading.Event()

    def ask(app):
        import httpx

        with httpx.Client(base_url=app.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/api/search?k=1000", files={"picture": PICTURE})
                if answer.status_code != 200:
                    problems.append(answer.text)
                else:
                    told = answer.json()
                    found.append((told["version"], {hit["id"] for hit in told["results"]}))

    with serving(tmp_path) as server, running(tmp_path, server.endpoint) as app:
        until(lambda: app.http.get("/readyz").status_code == 200)
        threads = [threading.Thread(target=ask, args=[app]) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(found) > 10)
        pushed(version_folder, tmp_path, 2, products[30:])
        until(lambda: any(version == 2 for version, _ in found))
        count = len(found)
        until(lambda: len(found) > count + 10)
        stop.set()
        for thread in threads:
            thread.join()

        assert problems == []
        assert {version for version, _ in found} == {1, 2}
        for version, ids in found:
            assert ids <= (old if version == 1 else new)
        # The old one is not loaded any more: its products are found, pictures are not.
        assert app.search(id=products[0].id, version=1)["version"] == 1
        assert "version 1" in app.search(PICTURE, version=1, status=503)["detail"]
        shutil.rmtree(first)
        app.do(app.models.look())
        assert "2" in app.search(id=products[0].id, version=1, status=404)["detail"]
        assert app.search(PICTURE)["version"] == 2


def test_a_server_that_goes_and_comes_back(tmp_path, version_folder):
    pushed(version_folder, tmp_path, 1)
    with serving(tmp_path) as server:
        port = int(server.endpoint.rpartition(":")[2])
        with running(tmp_path, server.endpoint) as app:
            assert app.search(PICTURE)["results"]
            server.stop(0.5)
            app.do(app.models.look())

            began = time.monotonic()
            for path, query in (("search", {}), ("predict", {}), ("explain", {"result": "p20"})):
                told = app.post(path, PICTURE, status=503, **query)["detail"]
                assert told.startswith("The model server does not answer")
                assert "127.0.0.1" not in told
            assert time.monotonic() - began < 20
            assert app.search(id="p20")["results"]
            away = app.http.get("/readyz")
            assert (away.status_code, away.headers["retry-after"]) == (503, "1")
            assert app.http.get("/healthz").status_code == 200
            [model] = app.get("/api/models")["models"]
            assert model["problem"].endswith("ids.") and not model["ready"]
            assert [version["live"] for version in model["versions"]] == [False]

            with serving(tmp_path, port):
                until(lambda: app.http.get("/readyz").status_code == 200)
                assert app.search(PICTURE)["results"]


@pytest.fixture
def changed(root, tmp_path):
    """A copy of the root, to be spoiled."""
    shutil.copytree(root, tmp_path / "root")
    return tmp_path / "root"


def vectors_file(version):
    manifest = json.loads((version / INDEX / "index" / "manifest.json").read_text())
    return version / INDEX / "index" / manifest["files"]["vectors"]["name"]


def cut(version):
    os.truncate(vectors_file(version), 1000)


def flip(version):
    content = bytearray(vectors_file(version).read_bytes())
    content[-5] ^= 1
    vectors_file(version).write_bytes(content)


def no_manifest(version):
    (version / INDEX / "index" / "manifest.json").unlink()


def no_recipe(version):
    (version / INDEX / "recipe.json").write_text("{")


def no_pictures(version):
    (version / INDEX / "pictures.bin").unlink()


def one_picture(version):
    content = bytearray((version / INDEX / "pictures.bin").read_bytes())
    content[-9] ^= 1
    (version / INDEX / "pictures.bin").write_bytes(content)


def another_model(version):
    with (version / "saved_model.pb").open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(cut, "size or checksum"), (flip, "size or checksum"), (no_manifest, "no manifest"),
     (no_recipe, "cannot be read"), (no_pictures, "cannot be read"),
     (another_model, "another model's answers")],
)  # fmt: skip
def test_an_index_that_is_of_no_use_is_said_and_the_others_go_on(
    changed, model_server, spoil, said
):
    spoil(changed / "catalog" / "5")

    with running(changed, model_server.endpoint) as app:
        assert said in app.search(PICTURE, version=5, status=503)["detail"]
        assert said in app.search(id="p20", version=5, status=503)["detail"]
        assert str(changed) not in app.search(PICTURE, version=5, status=503)["detail"]
        assert app.search(PICTURE)["version"] == 3
        assert app.search(PICTURE, model="plain")["version"] == 1
        catalog = app.get("/api/models")["models"][0]
        assert (catalog["version"], catalog["ready"]) == (3, True)
        assert said in catalog["problem"]


def test_a_damaged_picture_is_said_and_the_rest_goes_on(changed, model_server, products):
    one_picture(changed / "catalog" / "5")

    with running(changed, model_server.endpoint) as app:
        told = app.get(f"/api/images/{products[-1].id}", 503)["detail"]
        assert told.startswith(f'The picture of the product "{products[-1].id}" is damaged; bring')
        assert app.http.get("/api/images/p20").status_code == 200
        assert app.search(id=products[-1].id)["results"]


def test_an_index_that_is_mended_is_taken_up(changed, model_server):
    good = (changed / "catalog" / "5" / INDEX / "recipe.json").read_bytes()
    no_recipe(changed / "catalog" / "5")
    with running(changed, model_server.endpoint, only="catalog") as app:
        app.search(PICTURE, version=5, status=503)
        (changed / "catalog" / "5" / INDEX / "recipe.json").write_bytes(good)
        manifest = changed / "catalog" / "5" / INDEX / "index" / "manifest.json"
        os.utime(manifest, ns=(1, 1))

        until(lambda: app.get("/api/models")["models"][0]["version"] == 5)
        assert app.search(PICTURE)["version"] == 5


async def counted(finder):
    return await finder.looked_up(finder.catalog.index.count)


def test_an_index_of_no_use_is_read_again_after_a_while_and_not_at_every_question(
    tmp_path, version_folder, monkeypatch
):
    version = pushed(version_folder, tmp_path, 5)
    good = (version / INDEX / "recipe.json").read_bytes()
    no_recipe(version)
    reads = []
    read = app_models.IndexedCatalog.of_version
    monkeypatch.setattr(
        app_models.IndexedCatalog, "of_version", lambda folder: reads.append(folder) or read(folder)
    )

    async def run():
        models = Models(tmp_path, None)
        for _ in range(3):
            await models.look()
            with pytest.raises(DamagedIndex, match="cannot be read"):
                await models.ask("catalog", 5, counted)
        assert len(reads) == 1
        (version / INDEX / "recipe.json").write_bytes(good)
        monkeypatch.setattr(app_models, "_OPEN_AGAIN_S", 0)
        found = [await models.ask("catalog", 5, counted) for _ in range(3)]
        await models.look()
        assert models.all[0].current.number == 5 and models.all[0].current.problem == ""
        await models.close()
        return found

    assert asyncio.run(run()) == [60] * 3
    assert len(reads) == 2


def test_an_index_that_goes_is_closed_when_its_last_question_is_answered(
    tmp_path, version_folder, monkeypatch
):
    (tmp_path / "catalog").mkdir()
    version = tmp_path / "catalog" / "1"
    version.symlink_to(version_folder)
    closed = []
    close = app_models.IndexedCatalog.close
    monkeypatch.setattr(
        app_models.IndexedCatalog, "close", lambda self: closed.append(self) or close(self)
    )

    async def run():
        models = Models(tmp_path, None)
        await models.look()

        async def slowly(finder):
            version.unlink()
            await models.look()
            assert models.all == closed == []
            return await finder.done(finder.catalog.picture, "p20")

        picture = await models.ask("catalog", 1, slowly)
        assert len(closed) == 1
        await models.close()
        return picture

    assert asyncio.run(run()).startswith(b"\x89PNG")
    assert len(closed) == 1


def test_who_asks_for_a_look_gets_one_that_began_later_and_shares_it(tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(app_models, "indexed_versions", lambda *asked: looks.append(asked) or {})

    async def run():
        models = Models(tmp_path, None)
        # The first may have been about to end when the others asked.
        await asyncio.gather(*(models.look() for _ in range(5)))
        assert len(looks) == 2
        await models.look()
        await models.close()

    asyncio.run(run())
    assert len(looks) == 3


def test_the_usual_model_answers_where_none_is_named(tmp_path, version_folder):
    for name in ("autumn", "catalog", "winter"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").symlink_to(version_folder)

    async def run():
        models = Models(tmp_path, None)
        with pytest.raises(Refused, match="nothing was pushed yet") as refused:
            models.find(None)
        assert refused.value.status == 503
        with pytest.raises(Refused, match='no model "autumn"; there are: none.') as refused:
            models.find("autumn")
        assert refused.value.status == 404
        await models.look()
        names = [models.find(name).name for name in (None, "winter")]
        shutil.rmtree(tmp_path / "catalog")
        await models.look()
        names.append(models.find(None).name)
        await models.close()
        return names

    assert asyncio.run(run()) == ["catalog", "winter", "autumn"]


def test_where_another_model_answers_than_was_indexed_nothing_is_found(changed, model_server):
    recipe = changed / "catalog" / "5" / INDEX / "recipe.json"
    recipe.write_text(recipe.read_text().replace("Women", "Girls"))

    with running(changed, model_server.endpoint) as app:
        assert "other labels of gender" in app.search(PICTURE, status=503)["detail"]


def test_while_its_first_index_is_opened_a_model_is_not_ready(tmp_path):
    model = Model("catalog", {5: Version(5, tmp_path, (), 60)}, answering=frozenset({5}))

    assert not model.is_ready
    assert "index of version 5 of catalog is being opened" in model.problem


PROBLEMS = [
    # Versions with what is wrong, those that the server answers with, which is asked, Qdrant's.
    ({}, None, None, "", "No version of catalog has an index"),
    ({5: "It is damaged."}, {5}, None, "", "It is damaged."),
    ({5: ""}, {5}, 5, "", ""),
    ({5: "It is damaged.", 3: ""}, {5, 3}, 3, "", "It is damaged."),
    ({5: "", 3: ""}, {3}, 3, "", ""),
    ({5: ""}, {5}, 5, "Qdrant is away.", "Qdrant is away."),
    ({5: ""}, None, 5, "", "The model server does not answer, so"),
    ({5: ""}, set(), 5, "", "The model server does not answer with version 5 of catalog"),
    ({5: ""}, {4}, 5, "", "The model server does not answer with version 5 of catalog"),
]


@pytest.mark.parametrize(("versions", "answering", "current", "away", "said"), PROBLEMS)
def test_what_keeps_pictures_from_being_searched_for_is_said(
    tmp_path, versions, answering, current, away, said
):
    there = {
        number: Version(number, tmp_path, (), 60, problem=problem)
        for number, problem in versions.items()
    }
    known = None if answering is None else frozenset(answering)
    model = Model("catalog", there, known, there.get(current), away=away)

    assert model.problem.startswith(said) and bool(model.problem) == bool(said)
    # An earlier version answers where the newest is damaged.
    assert model.is_ready is (current in (answering or ()) and not away)


def test_no_model_and_no_index_are_said(tmp_path, version_folder, model_server):
    with running(tmp_path, model_server.endpoint) as app:
        assert app.get("/api/models") == {"models": [], "default": None}
        assert "pushed" in app.search(PICTURE, status=503)["detail"]
        assert "pushed" in app.get("/readyz", 503)["detail"]

        shutil.copytree(version_folder, tmp_path / "catalog" / "5")
        shutil.rmtree(tmp_path / "catalog" / "5" / INDEX)
        app.do(app.models.look())
        [model] = app.get("/api/models")["models"]
        assert (model["version"], model["versions"], model["ready"]) == (None, [], False)
        assert "search.enabled=true" in model["problem"]
        assert "search.enabled=true" in app.search(id="p20", status=503)["detail"]

        # One that can be searched by comes before the one of the usual name.
        shutil.copytree(version_folder, tmp_path / "plain" / "1")
        app.do(app.models.look())
        assert app.get("/api/models")["default"] == "plain"
        assert app.search(id="p20")["model"] == "plain"


def test_a_version_that_the_server_has_not_loaded_waits(tmp_path, version_folder, model_server):
    # The session's server knows 3 and 5 of the catalog, whatever lies in this folder.
    pushed(version_folder, tmp_path, 3)
    pushed(version_folder, tmp_path, 9)

    with running(tmp_path, model_server.endpoint) as app:
        assert app.search(PICTURE)["version"] == 3
        assert "version 9" in app.search(PICTURE, version=9, status=503)["detail"]
        assert app.search(id="p20", version=9)["version"] == 9
        lives = {v["version"]: v["live"] for v in app.get("/api/models")["models"][0]["versions"]}
        assert lives == {9: False, 3: True}


def test_a_key_that_the_server_does_not_take_is_said_without_it(tmp_path, version_folder):
    pushed(version_folder, tmp_path, 1)
    keys = tmp_path / "keys"
    keys.write_text("a-key-that-is-long-enough\n")
    options = ServerOptions(
        models=single_model(tmp_path / "catalog", "catalog"),
        api_key_file=keys,
        enable_model_warmup=False,
    )
    with ModelServer.from_options(options) as server, running(tmp_path, server.endpoint) as app:
        assert "API key" in app.search(PICTURE, status=503)["detail"]


def test_versions_with_an_index_are_listed(root):
    found = indexed_versions(root)

    assert {name: sorted(versions) for name, versions in found.items()} == {
        "catalog": [3, 5],
        "plain": [1],
    }
    assert found["catalog"][3][2] == 30
    assert indexed_versions(root, "nothing") == {"nothing": {}}


def closed_to(folder, stat):
    """As if another user's folder could not be looked into, which root always may."""

    def asked(path, **options):
        if path.is_relative_to(folder) and path != folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    return asked


def test_what_is_no_model_or_no_version_is_passed_over(tmp_path, monkeypatch):
    for name in ("catalog/7", "catalog/12", "catalog/9", "catalog/.8", "catalog/latest",
                 "catalog/" + "1" * 20, ".hidden/1", "notes", "empty/1"):  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "catalog" / "3").write_text("a file")
    # Nobody's folder hides the others: one whose name is no text, a link that leads to itself.
    os.makedirs(os.fsencode(tmp_path) + b"/\xff/1")
    for link in ("loop", "catalog/4"):
        (tmp_path / link).symlink_to(tmp_path / link)
    damaged = ("{", "[]", '{"products": null}', "{}", '{"products": 1e999}', "[" * 100_000, "\0")
    manifests = {7: '{"products": 31}', **dict(enumerate(damaged, 12))}
    for number, content in manifests.items():
        manifest = tmp_path / "catalog" / str(number) / INDEX / "index" / "manifest.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text(content)
    (tmp_path / "catalog" / "9" / INDEX).mkdir(parents=True)

    found = indexed_versions(tmp_path)

    # Those that are damaged are there as well, so that somebody is told.
    assert {number: products for number, (_, _, products) in found["catalog"].items()} == {
        **dict.fromkeys((9, *manifests), 0),
        7: 31,
    }
    assert found["catalog"][9] == (tmp_path / "catalog" / "9", (), 0)
    assert found.keys() == {"catalog", "empty"} and found["empty"] == {}
    assert indexed_versions(tmp_path, "catalog") == {"catalog": found["catalog"]}
    monkeypatch.setattr(Path, "stat", closed_to(tmp_path / "catalog" / "7", Path.stat))
    assert indexed_versions(tmp_path)["catalog"] == {
        **found["catalog"],
        7: (tmp_path / "catalog" / "7", (), 0),
    }
    monkeypatch.undo()
    os.utime(tmp_path / "catalog" / "7" / INDEX / "index" / "manifest.json", ns=(1, 1))
    assert indexed_versions(tmp_path)["catalog"][7] != found["catalog"][7]
