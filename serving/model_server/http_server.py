"""HTTP/1.1 by Tornado: reads requests, hands them to threads, writes the answers.

A request whose length may be read in two ways is refused and its connection closed, as RFC 9112
says: what stands behind a proxy must not see another request than the proxy saw.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses

from tornado import netutil
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

_LONGEST_BODY = 1 << 30
_IDLE_SECONDS = 60.0
_BODY_SECONDS = 600.0


@dataclass(frozen=True)
class Request:
    """A request that has come in whole.

    Args:
      method: Such as GET.
      target: Path and query, as they were sent.
      encoding: The Content-Encoding of the body, or "".
      body: Its bytes.
    """

    method: str
    target: str
    encoding: str
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What is answered.

    Args:
      status: The HTTP status.
      content_type: Of the content.
      content: The body.
    """

    status: int
    content_type: str
    content: bytes


class HttpServer(HTTPServerConnectionDelegate):
    """Listens while it runs: one thread reads and writes, others answer.

    Args:
      answer: Answers a request; it may take its time, and does not raise.
      refuse: Turns a status and a text into a reply, where a request cannot be read.
      host: Address to listen on.
      port: Port; 0 picks a free one.
      threads: Requests that are answered at once.

    Attributes:
      port: The port it listens on, or did until it ended.

    Raises:
      OSError: if the port is taken.
    """

    def __init__(
        self,
        answer: Callable[[Request], Reply],
        refuse: Callable[[int, str], Reply],
        host: str,
        port: int,
        threads: int,
    ):
        self.refuse = refuse
        self._answer = answer
        self._sockets = netutil.bind_sockets(port, host)
        self.port = int(self._sockets[0].getsockname()[1])
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest-answer")
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._under_way: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Future[float] = self._loop.create_future()

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Answers the requests under way, for at most so many seconds, and ends."""
        if self._thread.ident is None:
            for listening in self._sockets:
                listening.close()
            self._loop.close()
        else:
            self._loop.call_soon_threadsafe(self._stopping.set_result, grace)
            self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> _Reader:
        """Called by Tornado for each request."""
        return _Reader(self, request_conn)

    def answer(self, request: Request, writer: _Reader) -> None:
        """Answers a request that has come in whole, in a thread."""
        if self._stopping.done():
            stopping = HTTPStatus.SERVICE_UNAVAILABLE
            writer.reply(self.refuse(stopping, "The server is stopping"), close=True)
            return
        task = self._loop.create_task(self._answer_in_a_thread(request, writer))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _answer_in_a_thread(self, request: Request, writer: _Reader) -> None:
        writer.reply(await self._loop.run_in_executor(self._pool, self._answer, request))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = HTTPServer(
            self,
            idle_connection_timeout=_IDLE_SECONDS,
            body_timeout=_BODY_SECONDS,
            max_body_size=_LONGEST_BODY,
        )
        server.add_sockets(self._sockets)
        grace = await self._stopping
        server.stop()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace)
        await server.close_all_connections()


class _Reader(HTTPMessageDelegate):
    """Reads a request and writes its reply."""

    def __init__(self, server: HttpServer, connection: HTTPConnection):
        self._server = server
        self._connection = connection
        self._line = RequestStartLine("", "", "")
        self._headers = HTTPHeaders()
        self._pieces: list[bytes] = []
        self._gone = False

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, RequestStartLine)
        self._line, self._headers = start_line, headers
        fault = _fault(start_line, headers)
        if fault is not None:
            self.reply(self._server.refuse(*fault), close=True)

    def data_received(self, chunk: bytes) -> None:
        self._pieces.append(chunk)

    def finish(self) -> None:
        encoding = self._headers.get("Content-Encoding", "")
        body, self._pieces = b"".join(self._pieces), []
        self._server.answer(Request(self._line.method, self._line.path, encoding, body), self)

    def on_connection_close(self) -> None:
        self._gone = True

    def reply(self, reply: Reply, *, close: bool = False) -> None:
        """Writes the reply, unless nobody waits for it any more."""
        if self._gone:
            return
        headers = HTTPHeaders(
            {"Content-Type": reply.content_type, "Content-Length": str(len(reply.content))}
        )
        if close:
            headers["Connection"] = "close"
        # Tornado closes the connection of a request that is answered before it was read.
        content = None if self._line.method == "HEAD" else reply.content
        status = ResponseStartLine("HTTP/1.1", reply.status, responses.get(reply.status, ""))
        self._connection.write_headers(status, headers, content)
        self._connection.finish()


def _fault(line: RequestStartLine, headers: HTTPHeaders) -> tuple[int, str] | None:
    """Why a request cannot be read, as a status and a text; None if it can."""
    lengths, codings = headers.get_list("Content-Length"), headers.get_list("Transfer-Encoding")
    hosts = headers.get_list("Host")
    bad = HTTPStatus.BAD_REQUEST
    if line.version == "HTTP/1.1" and len(hosts) != 1:
        return bad, f"Host: found {len(hosts)} of them; expected one"
    if codings and lengths:
        return bad, "Content-Length: found Transfer-Encoding beside it; expected one of them"
    if len(lengths) > 1:
        return bad, f"Content-Length: found {len(lengths)} of them; expected one"
    if codings and line.version != "HTTP/1.1":
        return bad, f"Transfer-Encoding: found it with {line.version}; expected HTTP/1.1"
    if codings and [coding.lower() for coding in codings] != ["chunked"]:
        return HTTPStatus.NOT_IMPLEMENTED, f"Transfer-Encoding: found {codings}; expected chunked"
    length = lengths[0] if lengths else "0"
    if not (length.isascii() and length.isdecimal()):
        return bad, f"Content-Length: found {length[:20]!r}; expected a number of bytes"
    if len(length) > 18 or int(length) > _LONGEST_BODY:
        return (
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"Content-Length: found {length[:20]}; expected at most {_LONGEST_BODY}",
        )
    if line.method in ("GET", "HEAD") and (codings or int(length)):
        return bad, f"{line.method}: found a body; expected none"
    return None
