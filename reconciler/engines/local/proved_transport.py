"""HTTP to one service of this project, and to nobody else who may listen on its port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import httpcore2
import httpx2

from reconciler.engines.local.processes import listener
from reconciler.mcpkit.failure import NothingSentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from reconciler.engines.local.processes.listener import Listener


class ProvedTransport(httpx2.AsyncBaseTransport):
    """A new connection for each call: what fails on a reused one may or may not have been taken.

    Besides httpx2's own errors it raises NothingSentError, where nobody is proved to be the service.

    Args:
        run_dir: where the run of the service is recorded.
        service: its name.
        port: where it listens on 127.0.0.1.
    """

    def __init__(self, run_dir: Path, service: str, port: int) -> None:
        backend = Backend(run_dir, service, port)
        self._pool = httpcore2.AsyncConnectionPool(max_keepalive_connections=0, network_backend=backend)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request and return the answer's head; its body is read from the stream."""
        url = request.url
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        asked = httpcore2.Request(
            request.method, target, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        try:
            with _as_httpx():
                answer = await self._pool.handle_async_request(asked)
        except listener.NotProvedError as error:
            raise NothingSentError(str(error)) from None
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._pool.aclose()


class Backend(httpcore2.AnyIOBackend):
    """Connects to the service alone, whatever host and port are asked for."""

    def __init__(self, run_dir: Path, service: str, port: int) -> None:
        self._service = run_dir, service, port
        self._proof: Listener | None = None

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002  the same for every request
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ASYNC109  the library's own
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the proved listener. Raises NotProvedError."""
        proof = self._prove()
        stream = await super().connect_tcp("127.0.0.1", proof.port, timeout, local_address, socket_options)
        try:
            proof.check()
        except listener.NotProvedError:
            await stream.aclose()
            raise
        return stream

    def _prove(self) -> Listener:
        """Find who listens now: as a rule the same as before."""
        if self._proof is None or not self._proof.holds():
            self._proof = listener.proved(*self._service)
        return self._proof


async def dial(run_dir: Path, service: str, port: int) -> socket.socket:
    """Return a connection to the proved listener, for what speaks no plain HTTP.

    Raises:
        OSError: nobody is proved to be the service (NotProvedError), or it takes no connection.
    """
    proof = listener.proved(run_dir, service, port)
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        proof.check()
    except BaseException:
        made.close()
        raise
    return made


class _Body(httpx2.AsyncByteStream):
    """What follows the head of an answer."""

    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream: AsyncIterable[bytes] = self._answer.aiter_stream()
        with _as_httpx():
            async for piece in stream:
                yield piece

    async def aclose(self) -> None:
        """Let go of it."""
        await self._answer.aclose()


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    """Raise errors as httpx2 does: it has one of the same name for each."""
    try:
        yield
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        same: type[httpx2.TransportError] = getattr(httpx2, type(error).__name__)
        raise same(str(error)) from error
