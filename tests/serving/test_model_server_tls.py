from __future__ import annotations

import asyncio
import datetime
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving.async_client import AsyncClient
from serving.client import Client, ClientTls, PredictError
from serving.model_server import ModelServer
from serving.model_server.configs import read_tls
from serving.model_server.tls import ServerTls

Pair = tuple[bytes, bytes]  # Key and certificate, PEM each.


def pem(key: Any, certificate: x509.Certificate) -> Pair:
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


@pytest.fixture(scope="module")
def authority() -> tuple[bytes, Callable[[str], Pair]]:
    """The certificate of an authority, and what makes pairs under it."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.datetime(2020, 1, 1)

    def build(subject: str, key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=100 * 365))
        )

    constraint = x509.BasicConstraints(ca=True, path_length=None)
    ca = build("authority", ca_key).add_extension(constraint, True).sign(ca_key, hashes.SHA256())

    def make(host: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        signed = build(host, key).add_extension(names, False).sign(ca_key, hashes.SHA256())
        return pem(key, signed)

    return pem(ca_key, ca)[1], make


@pytest.fixture
def base(toys: list[Path], tmp_path: Path) -> Path:
    shutil.copytree(toys[0], tmp_path / "toys" / "7")
    return tmp_path / "toys"


def ssl_config(folder: Path, key: bytes, certificate: bytes, more: str = "") -> Path:
    """As for tensorflow_model_server; newlines of the PEM as in any text proto."""

    def text(value: bytes) -> str:
        return value.decode().replace("\n", "\\n")

    file = folder / "ssl.config"
    file.write_text(f'server_key: "{text(key)}"\nserver_cert: "{text(certificate)}"\n{more}')
    return file


def test_tls(base: Path, tmp_path: Path, authority: Any) -> None:
    ca, make = authority
    tls = read_tls(ssl_config(tmp_path, *make("models.test")))
    trusting = ClientTls(ca=ca, server_name="models.test")
    with ModelServer(base, "toy", tls=tls) as server:
        with Client(server.address, tls=trusting) as client:
            assert client.predict("toy", [{"age": 0}])["click"].tolist() == [0.5]

        async def ask() -> float:
            async with AsyncClient(server.address, tls=trusting) as client:
                return float((await client.predict("toy", [{"age": 0}]))["click"][0])

        assert asyncio.run(ask()) == 0.5
        for wrong in (None, ClientTls(), ClientTls(ca=ca, server_name="other.test")):
            with Client(server.address, tls=wrong, retries=0) as client:
                with pytest.raises(PredictError) as caught:
                    client.predict("toy", [{"age": 0}])
                assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_mutual_tls(base: Path, tmp_path: Path, authority: Any) -> None:
    ca, make = authority
    pem_text = ca.decode().replace("\n", "\\n")
    more = f'custom_ca: "{pem_text}"\nclient_verify: true\n'
    tls = read_tls(ssl_config(tmp_path, *make("models.test"), more))
    key, certificate = make("client.test")
    with ModelServer(base, "toy", tls=tls) as server:
        known = ClientTls(ca, key, certificate, server_name="models.test")
        with Client(server.address, tls=known) as client:
            assert client.predict("toy", [{"age": 0}])["click"].tolist() == [0.5]
        unknown = ClientTls(ca, server_name="models.test")
        with Client(server.address, tls=unknown, retries=0) as client:
            with pytest.raises(PredictError) as caught:
                client.predict("toy", [{"age": 0}])
            assert caught.value.code is grpc.StatusCode.UNAVAILABLE


def test_clients_are_verified_by_an_authority() -> None:
    with pytest.raises(ValueError, match="client_verify: found no custom_ca beside it"):
        ServerTls(b"-----BEGIN", b"-----BEGIN", verify_client=True)


@pytest.mark.parametrize("spoil", ["another's", "no key", "passphrase", "no certificate", "ca"])
def test_credentials_that_are_none(tmp_path: Path, authority: Any, spoil: str) -> None:
    _, make = authority
    (key, certificate), (other, _) = make("models.test"), make("other.test")
    private = serialization.load_pem_private_key(key, None)
    locked = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    body = key.split(b"-----")[2]
    garbled = certificate.replace(certificate.split(b"-----")[2][20:60], b"A" * 40)
    key, certificate, more, message = {
        "another's": (other, certificate, "", "server_key: found the key of another certificate"),
        "no key": (key.replace(body, body[9:]), certificate, "", "server_key: found PEM that is"),
        "passphrase": (locked, certificate, "", "server_key: found PEM that is no private key wi"),
        "no certificate": (key, garbled, "", "server_cert: found PEM that is no certificate"),
        "ca": (key, certificate, 'custom_ca: "ca.pem"', "custom_ca: found no PEM of a certificate"),
    }[spoil]
    file = ssl_config(tmp_path, key, certificate, more)
    with pytest.raises(ValueError, match=rf"ssl\.config: {message}") as caught:
        read_tls(file)
    told = "".join(traceback.format_exception(caught.value))
    for line in key.decode().splitlines()[1:-1]:
        assert line not in told


@pytest.mark.parametrize("spoil", ["quote", "bytes"])
def test_no_message_holds_the_private_key(tmp_path: Path, authority: Any, spoil: str) -> None:
    _, make = authority
    key, certificate = make("models.test")
    file = ssl_config(tmp_path, key, certificate)
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"\n', b"\n", 1) if spoil == "quote" else text + b"\xff")
    with pytest.raises(ValueError, match="expected a SSLConfig in text format") as caught:
        read_tls(file)
    told = "".join(traceback.format_exception(caught.value)) + repr(ServerTls(key, certificate))
    told += repr(ClientTls(key=key))
    for line in key.decode().splitlines()[1:-1]:
        assert line not in told
    assert spoil == "bytes" or "in line 1, column" in told
