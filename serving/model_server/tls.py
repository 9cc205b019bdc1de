"""What a server proves itself with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

_T = TypeVar("_T")


@dataclass(frozen=True)
class ServerTls:
    """TLS of the gRPC port, and mutual TLS with `verify_client`; PEM each.

    Args:
      key: The server's private key.
      certificate: Its certificate, followed by those in between up to the authority.
      client_ca: The authority whose certificates clients must show.
      verify_client: Whether they must show one.

    Raises:
      ValueError: if the key or the certificate is none, if they do not belong together, or if
        clients are to be verified by nothing.
    """

    key: bytes = field(repr=False)
    certificate: bytes
    client_ca: bytes | None = None
    verify_client: bool = False

    def __post_init__(self) -> None:
        for name, value in (("server_key", self.key), ("server_cert", self.certificate)):
            if b"-----BEGIN" not in value:
                raise ValueError(
                    f"{name}: found no PEM; expected the text of a PEM file, not its path"
                )
        if self.verify_client and not self.client_ca:
            raise ValueError(
                "client_verify: found no custom_ca beside it; expected the authority of the clients"
            )
        # gRPC takes any bytes, and then says of the port that it cannot be bound. No error may be
        # chained: it could quote the key.
        key = _try(lambda: serialization.load_pem_private_key(self.key, None))
        if key is None:
            raise ValueError("server_key: found PEM that is no private key without a passphrase")
        chain = _try(lambda: x509.load_pem_x509_certificates(self.certificate))
        if chain is None:
            raise ValueError("server_cert: found PEM that is no certificate")
        if chain[0].public_key() != key.public_key():
            raise ValueError(
                "server_key: found the key of another certificate; expected that of the first in "
                "server_cert"
            )
        ca = self.client_ca
        if ca and _try(lambda: x509.load_pem_x509_certificates(ca)) is None:
            raise ValueError("custom_ca: found no PEM of a certificate")

    def credentials(self) -> grpc.ServerCredentials:
        """As gRPC takes them."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], self.client_ca, self.verify_client
        )


def _try(read: Callable[[], _T]) -> _T | None:
    """What is read; None if it cannot be."""
    try:
        return read()
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return None
