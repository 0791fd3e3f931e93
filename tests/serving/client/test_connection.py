"""How a client makes sure of a server, and a server of it."""

from __future__ import annotations

import grpc
import pytest

from schema.errors import UserError
from serving.client import CatalogClient, RequestFailed, Tls
from serving.client.connection import Connection, checked_header, new_request_id
from tests.serving.client.word_server import WordServer
from tests.serving.model_server.certificates import Authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secure(authority: Authority):
    """Starts servers that show a certificate, and may ask for one."""
    started: list[WordServer] = []

    def start(wants_certificate: bool = False, **validity: int) -> WordServer:
        pair = authority.pair(**validity)
        credentials = grpc.ssl_server_credentials(
            [(pair.key, pair.certificate)],
            root_certificates=authority.certificate if wants_certificate else None,
            require_client_auth=wants_certificate,
        )
        started.append(WordServer(credentials))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def test_a_server_is_trusted_by_the_certificate_that_vouches_for_it(secure, authority, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.certificate)
    server = secure()
    for given in (ca, str(ca), authority.certificate):
        with CatalogClient(server.endpoint, tls=Tls(ca=given)) as client:
            assert client.predict([b"red"])[0].category == "red"


def test_mutual_tls_shows_the_clients_certificate(secure, authority, tmp_path):
    certificate, key = authority.pair("client").write(tmp_path, "client")
    server = secure(wants_certificate=True)
    tls = Tls(ca=authority.certificate, certificate=certificate, key=key)
    with CatalogClient(server.endpoint, tls=tls) as client:
        assert client.predict([b"red"])[0].category == "red"
    with (
        CatalogClient(server.endpoint, timeout_s=1, tls=Tls(ca=authority.certificate)) as client,
        pytest.raises(RequestFailed),
    ):
        client.predict([b"red"])
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["another authority", "run out", "another name"])
def test_a_server_that_cannot_be_trusted_is_not_asked(secure, authority, fault):
    server = secure(ends_days=-1) if fault == "run out" else secure()
    trusted = Authority("another") if fault == "another authority" else authority
    name = "models.example.com" if fault == "another name" else None
    tls = Tls(ca=trusted.certificate, server_name=name)
    with (
        CatalogClient(server.endpoint, timeout_s=1, tls=tls) as client,
        pytest.raises(RequestFailed, match="cannot agree on a secure connection"),
    ):
        client.predict([b"red"])
    assert server.requests == []


def test_files_that_are_no_certificates_are_named(authority, tmp_path):
    certificate, key = authority.pair().write(tmp_path, "client")
    with pytest.raises(UserError, match=r"none\.pem cannot be read: No such file"):
        CatalogClient("localhost:1", tls=Tls(ca=tmp_path / "none.pem"))
    with pytest.raises(UserError, match=r"client\.key holds no certificate in PEM form"):
        CatalogClient("localhost:1", tls=Tls(ca=key))
    with pytest.raises(UserError, match=r"client\.crt holds no private key"):
        CatalogClient("localhost:1", tls=Tls(certificate=certificate, key=certificate))
    with pytest.raises(UserError, match="only one was given"):
        CatalogClient("localhost:1", tls=Tls(certificate=certificate))


def connection(**changes: object) -> Connection:
    options = {"tls": None, "api_key": None, "max_message_bytes": 12345}
    return Connection("localhost:1", **{**options, **changes})


def test_every_call_carries_its_id_and_the_key_if_there_is_one():
    assert connection().metadata("order-17") == (("x-request-id", "order-17"),)
    assert connection(api_key="secret").metadata("order-17") == (
        ("x-request-id", "order-17"),
        ("authorization", "Bearer secret"),
    )


def test_grpc_is_told_what_a_client_in_ones_own_network_needs():
    options = dict(connection().options)
    assert options == {
        "grpc.max_send_message_length": 12345,
        "grpc.max_receive_message_length": 12345,
        # Replicas take turns, and one that is being restarted is found again within a second.
        "grpc.lb_policy_name": "round_robin",
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1000,
        # No proxy is asked, and nothing is asked again behind our back.
        "grpc.enable_http_proxy": 0,
        "grpc.enable_retries": 0,
    }
    assert dict(connection(tls=Tls()).options) == options
    named = dict(connection(tls=Tls(server_name="models.example.com")).options)
    assert named.pop("grpc.ssl_target_name_override") == "models.example.com"
    assert named == options


@pytest.mark.parametrize("value", ["secret", "a b", "~!@", "0"])
def test_one_line_of_ascii_can_be_sent_beside_a_message(value):
    assert checked_header(value, "API key") == value


@pytest.mark.parametrize("value", ["", " secret", "secret\n", "sec\nret", "sec\0t", "sécret", " "])
def test_what_cannot_is_refused_without_being_shown(value):
    with pytest.raises(UserError) as refused:
        checked_header(value, "API key")
    said = "The API key must be one line of printable ASCII without blanks around it."
    assert str(refused.value) == said


def test_no_two_requests_have_the_same_id():
    ids = {new_request_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(checked_header(one, "id") == one for one in ids)
