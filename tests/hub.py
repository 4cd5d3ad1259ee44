"""A stand-in for the Hugging Face hub: the few endpoints a download needs, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"the stand-in's only commit", usedforsecurity=False).hexdigest()


@dataclass
class Hub:
    """Where it listens, and the paths it was asked for."""

    url: str = ""
    requests: list[str] = field(default_factory=list)


@contextmanager
def serve(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """Serve directories as model repositories while the block runs."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._serve(body=False)

        def do_GET(self) -> None:
            self._serve(body=True)

        def _serve(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(path)
            for name, directory in repositories.items():
                if path.startswith(f"/api/models/{name}"):
                    return self._answer(_api(name, directory, path), {"Content-Type": "application/json"}, body)
                if path.startswith(f"/{name}/resolve/"):
                    file = directory / path.split("/", 5)[5]
                    if file.is_file():
                        data = file.read_bytes()
                        etag = hashlib.sha256(data).hexdigest()
                        return self._answer(data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body)
                    return self._answer(b"", {"X-Error-Code": "EntryNotFound"}, body, status=404)
            return self._answer(b"", {"X-Error-Code": "RepoNotFound"}, body, status=404)

        def _answer(self, data: bytes, headers: Mapping[str, str], body: bool, status: int = 200) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _api(name: str, directory: Path, path: str) -> bytes:
    names = sorted(file.name for file in directory.iterdir())
    if "/tree/" in path:
        return json.dumps(
            [{"type": "file", "path": n, "size": (directory / n).stat().st_size, "oid": COMMIT} for n in names]
        ).encode()
    siblings = [{"rfilename": n} for n in names]
    return json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "private": False}).encode()
