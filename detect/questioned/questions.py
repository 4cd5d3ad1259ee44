"""The questions put to a server, all fixed before the first is asked: request i is a prompt, settings and a seed.

Nothing here depends on a key, and nothing here is secret: it all stands in the response log's first line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import rfc8785

from watermark.errors import InputError

Endpoint = Literal["chat", "completions"]
Prompt = str | tuple[int, ...]  # as it is sent: words, or token ids
KIND = "taggant-responses/1"


@dataclass(frozen=True)
class ApiSampling:
    """The settings sent with every request. A server may have others of its own that no client sees.

    Attributes:
        max_new_tokens: longest answer, the server's tokens.
        logprobs: how many of the likeliest tokens to name at each position; None: no log-probabilities.
    """

    max_new_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    logprobs: int | None = None


@dataclass(frozen=True)
class Questions:
    """Request i, for i = 0, 1, 2 …: prompt i mod P, under a seed made from `seed` and i.

    Attributes:
        server: base address, as `server_address` returns it; its path may hold a key: shown is `shown_server`.
        model: the name the server knows the questioned model by.
        prompts: the P distinct prompts, in the order they are asked.
        seed: of all requests' seeds.
        plan: digest of the plan that is carried out: answers that were there before it are no answers to it.
    """

    server: str = field(repr=False)
    model: str
    endpoint: Endpoint
    prompts: tuple[Prompt, ...]
    sampling: ApiSampling = ApiSampling()
    seed: int = 0
    plan: str | None = None

    @classmethod
    def distinct(
        cls,
        server: str,
        model: str,
        endpoint: Endpoint,
        prompts: Sequence[Prompt],
        sampling: ApiSampling = ApiSampling(),
        seed: int = 0,
        plan: str | None = None,
    ) -> Questions:
        """As the constructor, every distinct prompt once.

        Raises:
            InputError: there is none.
        """
        once = tuple(dict.fromkeys(prompt for prompt in prompts if len(prompt)))
        if not once:
            raise InputError("there is no prompt to ask: give rows with `prompt` or `prompt_ids`")
        return cls(server, model, endpoint, once, sampling, seed, plan)

    @cached_property
    def shown_server(self) -> str:
        """The server's address as it may be shown and written, see `shown_address`."""
        return shown_address(self.server)

    def prompt_of(self, request: int) -> int:
        """Which prompt request `request` asks."""
        return prompt_of(request, len(self.prompts))

    def seed_of(self, request: int) -> int:
        """31 bits, which every server takes. A hash, so that runs with neighbouring seeds share no request."""
        return int.from_bytes(hashlib.sha256(f"taggant api {self.seed} {request}".encode()).digest()[:4], "little") >> 1

    def body(self, request: int) -> dict[str, Any]:
        """What is sent, but for the maximum of tokens and for what only some servers know."""
        prompt = self.prompts[self.prompt_of(request)]
        asked: dict[str, Any] = {"prompt": prompt if isinstance(prompt, str) else list(prompt)}
        if self.endpoint == "chat":
            asked = {"messages": [{"role": "user", "content": prompt}]}
        return {
            "model": self.model,
            **asked,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "seed": self.seed_of(request),
            **self._logprobs(),
        }

    def _logprobs(self) -> dict[str, Any]:
        wanted = self.sampling.logprobs
        if wanted is None:
            return {}
        return {"logprobs": True, "top_logprobs": wanted} if self.endpoint == "chat" else {"logprobs": wanted}

    @cached_property
    def prompts_sha256(self) -> str:
        """Of the canonical JSON (RFC 8785) of the list of prompts."""
        return hashlib.sha256(rfc8785.dumps([p if isinstance(p, str) else list(p) for p in self.prompts])).hexdigest()

    def identity(self) -> dict[str, Any]:
        """What the response log says in its first line: equal exactly where the questions are."""
        return {
            "kind": KIND,
            "server": self.shown_server,
            "model": self.model,
            "endpoint": self.endpoint,
            "sampling": asdict(self.sampling),
            "seed": self.seed,
            "prompts": len(self.prompts),
            "prompts_sha256": self.prompts_sha256,
            **({} if self.plan is None else {"plan": self.plan}),
        }

    @cached_property
    def sha256(self) -> str:
        """Of the canonical JSON of `identity()`; names the log."""
        return hashlib.sha256(rfc8785.dumps(self.identity())).hexdigest()


def prompt_of(request: int, prompts: int) -> int:
    """Which of so many prompts request `request` asks: one after the other, round after round."""
    return request % prompts


def is_this_machine(server: str) -> bool:
    """Whether an address, as `server_address` returns it, never leaves this machine."""
    host = urlsplit(server).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def shown_address(server: str) -> str:
    """An address, as `server_address` returns it, in which path segments that may be keys are digests.

    Some gateways take a key as part of the path: 20 characters or more, digits and letters among them.
    """
    parts = urlsplit(server)
    return urlunsplit(parts._replace(path="/".join(_shown_segment(one) for one in parts.path.split("/"))))


def _shown_segment(segment: str) -> str:
    if len(segment) < 20 or not (any(map(str.isdigit, segment)) and any(map(str.isalpha, segment))):
        return segment
    return f"sha256-{hashlib.sha256(segment.encode()).hexdigest()[:16]}"


def server_address(given: str) -> str:
    """The base address of an OpenAI-compatible server, without a final slash; without a path it becomes /v1.

    Raises:
        InputError: not such an address. One that holds a password is not quoted.
    """
    try:
        parts = urlsplit(given.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InputError("the server's address cannot be read; give one like http://localhost:8000/v1") from None
    if parts.username is not None or parts.password is not None:
        raise InputError("the server's address holds a user or a password; leave it out and set TAGGANT_API_KEY")
    if parts.query or parts.fragment:
        raise InputError("the server's address ends in a query or a fragment, which may be secret; leave it out")
    if parts.scheme not in ("http", "https") or not host:
        raise InputError("the server's address must begin with http:// or https://, as in http://localhost:8000/v1")
    if not (given.isascii() and given.strip().isprintable()) or " " in given.strip():
        raise InputError("the server's address holds characters that no address has; write them percent-encoded")
    path = parts.path.rstrip("/") or "/v1"
    for route in ("/chat/completions", "/completions"):
        if path.endswith(route):
            raise InputError(f"the server's address ends in {route}; give what comes before it, and --endpoint")
    return urlunsplit((parts.scheme, parts.netloc.lower(), path, "", ""))
