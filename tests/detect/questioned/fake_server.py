"""An OpenAI-compatible server that answers from a hash of (prompt, seed), fails as it is told, and keeps its own log.

In process: `with FakeServer(…) as server`. `stop` and `start` bring it down in the middle and up again on its port.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = (
    "the",
    "rain",
    "fell",
    "on",
    "harbour",
    "boats",
    "still",
    "he",
    "counted",
    "coins",
    "twice",
    "then",
    "moon",
    "goes",
)

Question = tuple[str, int | None]  # prompt (as JSON, where it is no text) and seed
Misbehaviour = Callable[["Handler", dict[str, Any]], bool]  # True: it has dealt with the request


def words(question: Question, limit: int) -> tuple[list[str], bool]:
    """The answer's words, and whether they were cut: 5 to 24 of them."""
    digest = hashlib.sha256(repr(question).encode()).digest()
    wanted = [WORDS[byte % len(WORDS)] for byte in digest][: 5 + digest[-1] % 20]
    return wanted[:limit], len(wanted) > limit


class FakeServer:
    """The server and what it saw.

    Args:
        misbehave: looks at each request first.
        key: the API key it wants; None: none.
        delay: seconds an answer takes.
        text: what it answers, in place of the words.
        more: further members of the first choice, from the answer's words.

    Attributes:
        asked: every question that arrived, in order.
        sent: questions whose answer left whole, in order.
        bodies: what arrived.
        headers: of each request.
    """

    def __init__(
        self,
        misbehave: Misbehaviour | None = None,
        *,
        key: str | None = None,
        delay: float = 0.0,
        text: Callable[[Question], str] | None = None,
        more: Callable[[list[str]], dict[str, Any]] = lambda _: {},
        usage: bool = True,
    ) -> None:
        self.misbehave, self.key, self.delay, self.text, self.more, self.usage = (
            misbehave, key, delay, text, more, usage,
        )  # fmt: skip
        self.asked: list[Question] = []
        self.sent: list[Question] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.busiest = 0  # requests at a time
        self.port = 0
        self._lock, self._at_work = threading.Lock(), 0
        self._open: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> FakeServer:
        self._http = _Http(("127.0.0.1", self.port), Handler)
        self._http.fake = self
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """As killed: connections under way break off."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        with self._lock:
            broken = list(self._open)
        for one in broken:
            _break(one)

    def __enter__(self) -> FakeServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, body: dict[str, Any], question: Question) -> dict[str, Any]:
        chosen, cut = words(question, body.get("max_tokens", body.get("max_completion_tokens", 10**6)))
        text = " ".join(chosen) if self.text is None else self.text(question)
        reason = "length" if cut else "stop"
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason, **self.more(text.split(" "))}
        if "messages" in body:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        usage = {"usage": {"prompt_tokens": 7, "completion_tokens": len(chosen)}} if self.usage else {}
        number = len(self.asked)  # differs from run to run, as on real servers
        return {"id": f"r{number}", "created": int(time.time()), "model": body["model"], "choices": [choice], **usage}

    def working(self, connection: socket.socket, change: int) -> None:
        with self._lock:
            self._at_work += change
            self.busiest = max(self.busiest, self._at_work)
            (self._open.add if change > 0 else self._open.discard)(connection)

    def repeated(self) -> dict[Question, int]:
        """Questions whose answer left more than once."""
        return {question: count for question, count in Counter(self.sent).items() if count > 1}


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    fake: FakeServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client has gone: nothing to tell anybody."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    question: Question

    def do_POST(self) -> None:
        fake = self.server.fake
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        self.question = (prompt if isinstance(prompt, str) else json.dumps(prompt), body.get("seed"))
        fake.asked.append(self.question)
        fake.bodies.append(body)
        fake.headers.append({name.lower(): value for name, value in self.headers.items()})
        fake.working(self.connection, 1)
        try:
            if fake.misbehave is not None and fake.misbehave(self, body):
                return
            if fake.key is not None and self.headers.get("Authorization") != f"Bearer {fake.key}":
                self.reply(401, {"error": {"message": f"wrong key: {self.headers.get('Authorization')}"}})
                return
            time.sleep(fake.delay)
            self.reply(200, fake.answer(body, self.question))
            fake.sent.append(self.question)
        finally:
            fake.working(self.connection, -1)

    def reply(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON, or bytes as they are."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, one in (headers or {}).items():
            self.send_header(name, one)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def half(self) -> None:
        """Announce more than is sent, and hang up."""
        data = json.dumps(self.server.fake.answer({"messages": [], "model": "m"}, self.question)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        _break(self.connection)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def _break(connection: socket.socket) -> None:
    with suppress(OSError):  # gone already
        connection.shutdown(socket.SHUT_RDWR)
