"""Certificates, keys, and what is said of those that are of no use."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from schema.errors import UserError
from serving.model_server import access, server_config_pb2
from serving.model_server.access import ApiKeys, Tls
from serving.model_server.errors import RequestError
from tests.serving.model_server.certificates import Authority, Pair

FIRST, SECOND = "a" * 40, "0123456789abcdef"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def _config(pair: Pair, ca: bytes = b"", verify: bool = False) -> server_config_pb2.SSLConfig:
    return server_config_pb2.SSLConfig(
        server_cert=pair.certificate.decode(),
        server_key=pair.key.decode(),
        custom_ca=ca.decode(),
        client_verify=verify,
    )


def test_a_certificate_with_its_key_is_taken_for_both_ports(authority):
    tls = Tls.of(_config(authority.pair(), authority.certificate, verify=True))

    assert isinstance(tls.grpc_credentials(), grpc.ServerCredentials)
    assert tls.http_context().verify_mode.name == "CERT_REQUIRED"


def test_the_parts_may_come_from_files(authority, tmp_path):
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    files = authority.pair().write(tmp_path, "server")

    assert not Tls.of(access.ssl_config(*files)).client_verify
    assert Tls.of(access.ssl_config(*files, tmp_path / "ca.crt")).client_verify


def test_mutual_tls_that_any_public_authority_would_open_is_refused(authority):
    with pytest.raises(UserError, match="client_verify without custom_ca"):
        Tls.of(_config(authority.pair(), verify=True))


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ({"ends_days": -1, "begins_days": -9}, r"certificate of CN=server ran out on \d{4}-"),
        ({"begins_days": 2}, r"CN=server is valid from \d{4}-.*this machine's clock"),
        ({"password": b"secret"}, "has a password.*openssl pkey"),
    ],
)
def test_a_certificate_that_is_of_no_use_is_one_sentence(authority, pair, said):
    with pytest.raises(UserError, match=said):
        Tls.of(_config(authority.pair(**pair)))


def test_a_key_of_another_certificate_is_one_sentence(authority):
    mixed = Pair(authority.pair().certificate, authority.pair().key)

    with pytest.raises(UserError, match="key does not fit the certificate of CN=server"):
        Tls.of(_config(mixed))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"server_cert": ""}, "no server_cert"),
        ({"server_key": ""}, "no server_key"),
        ({"server_cert": "/etc/tls/server.crt"}, "server_cert .* is no PEM text.*not its path"),
        ({"server_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n"}, "server_key.* is no PEM text"),
        ({"custom_ca": "nonsense", "client_verify": True}, "custom_ca .* is no PEM text"),
    ],
)
def test_a_part_that_is_missing_or_no_pem_is_named(authority, broken, said):
    config = _config(authority.pair())
    for name, value in broken.items():
        setattr(config, name, value)

    with pytest.raises(UserError, match=said):
        Tls.of(config)


def test_an_authority_that_has_run_out_is_one_sentence(authority):
    old = authority.pair("old authority", begins_days=-9, ends_days=-1).certificate

    with pytest.raises(UserError, match="authority's certificate of CN=old authority ran out"):
        Tls.of(_config(authority.pair(), old, verify=True))


def test_a_certificate_that_will_soon_run_out_is_warned_of(authority, caplog):
    Tls.of(_config(authority.pair(ends_days=5)))

    assert "CN=server runs out on" in caplog.text


def test_a_file_that_cannot_be_read_is_named(authority, tmp_path):
    certificate, key = authority.pair().write(tmp_path, "server")

    with pytest.raises(UserError, match=r"private key .*none\.key cannot be read: No such file"):
        access.ssl_config(certificate, tmp_path / "none.key")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights_is_named(authority, tmp_path):
    certificate, key = authority.pair().write(tmp_path, "server")
    key.chmod(0)

    with pytest.raises(UserError, match=r"server\.key cannot be read: Permission denied"):
        access.ssl_config(certificate, key)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# who may ask\nshop {FIRST}  # the shop\n\n{SECOND}\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {FIRST}"},
        {"authorization": f"bearer  {FIRST} "},
        {"x-api-key": FIRST},
        {"x-api-key": FIRST, "authorization": "Basic abc"},
    ],
)
def test_a_key_is_known_by_its_name_however_it_is_shown(key_file, headers):
    assert ApiKeys(key_file).name_of(headers) == "shop"


def test_a_key_without_a_name_is_known_by_its_line(key_file):
    assert ApiKeys(key_file).name_of({"x-api-key": SECOND}) == "line 4"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": FIRST},
        {"authorization": f"Basic {FIRST}"},
        {"authorization": "Bearer "},
        {"x-api-key": ""},
        {"x-api-key": FIRST[:-1]},
        {"x-api-key": FIRST + "a"},
        {"x-api-key": "shop"},
        {"x-api-key": f"shop {FIRST}"},
        {"x-api-key": "\udcff\x00é"},
    ],
)
def test_whoever_shows_no_good_key_is_unauthenticated(key_file, headers):
    with pytest.raises(RequestError) as refused:
        ApiKeys(key_file).name_of(headers)

    assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert FIRST not in refused.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key.*openssl rand"),
        ("# none yet\n\n", "holds no key"),
        ("shop short\n", "line 1 .* 5 characters"),
        (f"{FIRST}\na shop {SECOND}\n", "Line 2 .* is not `KEY` or `NAME KEY`"),
        (f"shop {FIRST}é\n", "Line 1"),
        (f"shop {FIRST}\nother {FIRST}\n", "Line 2 .* earlier line"),
    ],
)
def test_a_key_file_with_a_mistake_is_refused_without_telling_the_key(tmp_path, text, said):
    path = tmp_path / "keys"
    path.write_text(text)

    with pytest.raises(UserError, match=said) as refused:
        ApiKeys(path)
    assert FIRST not in str(refused.value) and SECOND not in str(refused.value)


def test_a_key_file_that_is_missing_or_no_text_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="none cannot be read: No such file"):
        ApiKeys(tmp_path / "none")
    (tmp_path / "keys").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no text in UTF-8"):
        ApiKeys(tmp_path / "keys")


def test_keys_that_everybody_can_read_are_warned_of(key_file, caplog):
    key_file.chmod(0o604)
    ApiKeys(key_file)
    assert "every user of this machine can read the API keys" in caplog.text

    caplog.clear()
    key_file.chmod(0o640)
    ApiKeys(key_file)
    assert caplog.text == ""


@pytest.fixture
def impatient(monkeypatch):
    """Looks at the file at every request."""
    monkeypatch.setattr(access, "_BETWEEN_LOOKS_S", 0.0)


def test_a_key_that_is_added_or_taken_away_counts_without_a_restart(key_file, impatient):
    keys = ApiKeys(key_file)
    key_file.write_text("new " + "n" * 20)

    assert keys.name_of({"x-api-key": "n" * 20}) == "new"
    with pytest.raises(RequestError):
        keys.name_of({"x-api-key": FIRST})


@pytest.mark.parametrize("mistake", ["empty", "missing"])
def test_a_mistake_in_a_new_file_leaves_the_old_keys_good(key_file, impatient, mistake, caplog):
    keys = ApiKeys(key_file)
    if mistake == "empty":
        key_file.write_text("")
    else:
        key_file.unlink()

    for _ in range(3):
        assert keys.name_of({"x-api-key": FIRST}) == "shop"
    assert "stay good" in caplog.text
    key_file.write_text("new " + "n" * 20)
    assert keys.name_of({"x-api-key": "n" * 20}) == "new"


def test_the_file_is_not_looked_at_at_every_request(key_file, monkeypatch, caplog):
    monkeypatch.setattr(access, "_BETWEEN_LOOKS_S", 3600.0)
    keys = ApiKeys(key_file)
    key_file.unlink()

    assert keys.name_of({"x-api-key": FIRST}) == "shop"
    assert caplog.text == ""


def test_the_file_is_looked_at_again_when_that_is_due(key_file, monkeypatch):
    now = 100.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    monkeypatch.setattr(access, "_BETWEEN_LOOKS_S", 5.0)
    keys = ApiKeys(key_file)
    for name, due in (("second", 105.0), ("third", 110.0)):
        before = keys.name_of({"x-api-key": FIRST})
        key_file.write_text(f"{name} {FIRST}")
        now = due - 0.01
        assert keys.name_of({"x-api-key": FIRST}) == before
        now = due
        assert keys.name_of({"x-api-key": FIRST}) == name


def test_a_key_of_16_characters_is_the_shortest(tmp_path):
    (tmp_path / "keys").write_text("shop " + "k" * 16)
    assert ApiKeys(tmp_path / "keys").name_of({"x-api-key": "k" * 16}) == "shop"
    (tmp_path / "keys").write_text("shop " + "k" * 15)
    with pytest.raises(UserError, match="has 15 characters, and less than 16 can be guessed"):
        ApiKeys(tmp_path / "keys")
