"""What a server proves itself with."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc


@dataclass(frozen=True)
class ServerTls:
    """TLS of the gRPC port, and mutual TLS with `verify_client`; PEM each.

    Args:
      key: The server's private key.
      certificate: Its certificate, followed by those in between up to the authority.
      client_ca: The authority whose certificates clients must show.
      verify_client: Whether they must show one.

    Raises:
      ValueError: if the key or the certificate is missing, or clients are to be verified by
        nothing.
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

    def credentials(self) -> grpc.ServerCredentials:
        """As gRPC takes them."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], self.client_ca, self.verify_client
        )
