"""An HTTP proxy that loses replies, refuses, or makes listings page, when a test says so."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_LISTING = re.compile(r"/b/[^/]+/o\?")


@dataclass(kw_only=True)
class Loss:
    """The next `times` requests of `method` whose target and body hold `holding` lose their reply.

    `afterwards` runs when the request was carried out and its reply is about to be lost; with
    `status` the request is not carried out but refused with that status.
    """

    method: str
    holding: str
    times: int = 1
    afterwards: Callable[[], None] = lambda: None
    status: int | None = None


@dataclass
class LossyProxy:
    """What a running proxy loses and has lost; `endpoint` is its URL."""

    upstream: str
    endpoint: str = ""
    losses: list[Loss] = field(default_factory=list)
    lost: int = 0
    #: Objects a page that a listing gives at most; fake-gcs-server gives all of them.
    page_size: int | None = None
    pages: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def lose_reply(
        self, method: str, holding: str, *, afterwards: Callable[[], None] = lambda: None
    ) -> None:
        self.losses.append(Loss(method=method, holding=holding, afterwards=afterwards))

    def refuse(self, method: str, holding: str, status: int) -> None:
        """Refuse all such requests from now on."""
        self.losses.append(Loss(method=method, holding=holding, times=1 << 30, status=status))

    def take(self, method: str, text: bytes) -> Loss | None:
        with self._lock:
            for loss in self.losses:
                if loss.times and loss.method == method and loss.holding.encode() in text:
                    loss.times -= 1
                    self.lost += 1
                    return loss
            return None


@contextmanager
def lossy_proxy(upstream: str) -> Iterator[LossyProxy]:
    """Run a proxy in front of `upstream`."""
    proxy = LossyProxy(upstream)
    target = urlsplit(upstream)
    assert target.hostname is not None

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            loss = proxy.take(self.command, self.path.encode() + b"\n" + body)
            if loss is not None and loss.status is not None:
                self.answer(loss.status, {}, b'{"error": {"message": "refused by the test"}}')
                return
            path = self.path
            if proxy.page_size and self.command == "GET" and _LISTING.search(path):
                path += f"&maxResults={proxy.page_size}"
                proxy.pages += 1
            connection = http.client.HTTPConnection(target.hostname or "", target.port)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "accept-encoding"}
            connection.request(self.command, path, body, headers)
            reply = connection.getresponse()
            content = reply.read()
            connection.close()
            if loss is not None:
                loss.afterwards()
                self.close_connection = True  # carried out, and nobody hears of it
                return
            self.answer(reply.status, dict(reply.getheaders()), content)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = forward

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
