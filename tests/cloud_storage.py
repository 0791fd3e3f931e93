"""Cloud Storage on this machine, for every reader there is: TensorFlow's C++, Beam's and our own.

TensorFlow asks hosts of Google's by TLS and cannot be told others. So this is a proxy, as a company
has one before the internet, which all of them honor: it stands for these hosts, with certificates
of an authority of its own, and hands what they are asked to fake-gcs-server, a store
in Go. To all other hosts it leads nowhere.
"""

from __future__ import annotations

import datetime
import http.client
import json
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks._go import installed
from benchmarks._portable import Started, free_port
from tests import cloud_proxy

_MODULE, _VERSION = "github.com/fsouza/fake-gcs-server", "1.56.1"


class CloudStorage:
    """The store and the proxy before it.

    Args:
        folder: For certificates and logs.

    Attributes:
        environment: What processes need in theirs to reach it, and nothing else of Google's.

    Raises:
        NotHere: there is no Go, or it cannot fetch or build the store.
    """

    def __init__(self, folder: Path) -> None:
        store = installed(_MODULE, _VERSION)
        self._folder, self._port = folder, free_port()
        host = cloud_proxy.HOSTS[1]
        command = [str(store), "-scheme=http", "-host=localhost", f"-port={self._port}"]
        command += ["-backend=memory", f"-external-url=https://{host}", f"-public-host={host}"]
        self._store = Started(command, self._port, folder / "store.log")
        authority = _write_certificates(folder)
        credentials = {"type": "authorized_user", "refresh_token": "refresh"}
        credentials |= {"client_id": "client", "client_secret": "secret"}
        (folder / "credentials.json").write_text(json.dumps(credentials))
        port = free_port()
        command = [sys.executable, cloud_proxy.__file__, *map(str, (folder, port, self._port))]
        self._proxy = Started(command, port, folder / "proxy.log")
        self.environment = {
            # In capitals gRPC does not see it, and calls of one process to another go their way.
            "HTTPS_PROXY": f"http://localhost:{port}",
            "CURL_CA_BUNDLE": str(authority),
            "REQUESTS_CA_BUNDLE": str(authority),
            "NO_GCE_CHECK": "true",
            "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "credentials.json"),
        }

    def create_bucket(self, name: str) -> str:
        """Makes an empty bucket; returns its URL."""
        connection = http.client.HTTPConnection("localhost", self._port)
        connection.request("POST", "/storage/v1/b", json.dumps({"name": name}))
        if connection.getresponse().status != 200:
            raise RuntimeError(f"The bucket {name} could not be made.")
        connection.close()
        return f"gs://{name}"

    def asked(self) -> list[str]:
        """Method and path of every request so far."""
        return (self._folder / "asked").read_text().splitlines()

    def refuse(self, status: int | None) -> None:
        """Answers every request with an HTTP status from now on; None has the store answer."""
        if status is None:
            (self._folder / "refusal").unlink(missing_ok=True)
        else:
            (self._folder / "refusal").write_text(str(status))

    def stop(self) -> None:
        """Ends both."""
        self._proxy.kill()
        self._store.kill()


def _write_certificates(folder: Path) -> Path:
    """Writes `host.pem` and `host.key` of both hosts; returns the file of who vouches for them."""
    authority_key, host_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _signed(
        "authority",
        authority_key,
        authority_key,
        x509.BasicConstraints(ca=True, path_length=0),
        x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()),
    )
    host = _signed(
        cloud_proxy.HOSTS[0],
        host_key,
        authority_key,
        x509.SubjectAlternativeName([x509.DNSName(name) for name in cloud_proxy.HOSTS]),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
    )
    pem = serialization.Encoding.PEM
    (folder / "host.pem").write_bytes(host.public_bytes(pem))
    (folder / "host.key").write_bytes(
        host_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file = folder / "authority.pem"
    file.write_bytes(authority.public_bytes(pem))
    return file


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
    )
    for extension in extensions:
        critical = isinstance(extension, x509.BasicConstraints)
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256())
