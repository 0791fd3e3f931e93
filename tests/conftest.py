"""How the whole suite runs: in which order, in which browser, how often garbage is looked for."""

import fcntl
import gc
import os
import re
import secrets
import shutil

import pytest

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""As the command line has it. With Python's own 700, collecting is a fifth of importing TensorFlow
and TFX, and a twentieth of what comes then."""

gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Gives a folder by its name, which the first process that asks for it fills for all.

    What is in it must be the same whoever makes it, and is only read.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name, fill):
        folder, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket_url(s3_server, monkeypatch):
    """URL of an empty bucket on it, which all that runs in this test reaches."""
    import boto3

    settings = {
        "AWS_ENDPOINT_URL_S3": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    name = f"seamline-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def cloud_storage(tmp_path_factory):
    """Cloud Storage on this machine; what uses `gs_url` reaches it."""
    from benchmarks._go import NotHere
    from tests.cloud_storage import CloudStorage

    # Google's library looks for it when it is imported, and waits for a machine that is not there.
    os.environ.setdefault("NO_GCE_CHECK", "true")
    try:
        started = CloudStorage(tmp_path_factory.mktemp("cloud-storage"))
    except NotHere as reason:
        pytest.skip(str(reason))
    yield started
    started.stop()


@pytest.fixture
def gs_url(cloud_storage, monkeypatch):
    """URL of an empty bucket in it, which all that runs in this test reaches."""
    for name, value in cloud_storage.environment.items():
        monkeypatch.setenv(name, value)
    return cloud_storage.create_bucket(f"seamline-{secrets.token_hex(4)}")


@pytest.fixture(params=["bucket_url", "gs_url"], ids=["s3", "gs"])
def bucket(request):
    """URL of an empty bucket, in turn in each kind of store."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def browser():
    """Chromium, for tests that are marked with `needs_chromium` (`tests.in_browser`)."""
    from playwright.sync_api import sync_playwright

    from tests.in_browser import CHROMIUM

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def pytest_collection_modifyitems(items):
    """Files with a slow test come first, then those that train, with many tests of ten seconds.

    Else one process would be left with them at the end. Names must be the same in every process.
    """
    if unlike := [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]{6,}", item.nodeid)]:
        raise pytest.UsageError(
            f"{unlike[0]} has an address in its name, which is another in every process; give its "
            "parameters ids."
        )
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, "trainer" not in item.path.parts))


def pytest_collection_finish():
    """What was imported stays, and is not looked through again and again."""
    gc.collect()
    gc.freeze()
