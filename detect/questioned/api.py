"""Ask a questioned model behind an OpenAI-compatible server, through the `openai` client; patiently, and only once.

1. The schedule names the next request; at most `concurrency` are under way.
2. A request that fails for a reason that may pass (no connection, time-out, 408, 429, 5xx, half an answer) is sent
   again after a pause that doubles, or the pause the server asks for. Other errors end the run, and so does too long a
   time without any answer, requests under way or not.
3. An answer is recorded in the log, on disk, and only then counts.
4. The run ends when the answers of requests 0, 1, 2 … hold the planned number of tokens, when a sequential test that
   is shown them in this order stops, or when a budget ends it.

The API key is held by `ApiKey` alone, goes into the one header of requests to the one address that was named (redirects
are not followed), and is cut out of whatever the server sends back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from detect.questioned.api_key import VARIABLES, ApiKey
from detect.questioned.dialect import Dialect
from detect.questioned.patience import OutOfPatience, Patience, Transient, Waiting, retry_after
from detect.questioned.questions import Questions
from detect.questioned.repeats import Repeats, advice
from detect.questioned.responses import Response, ResponseLog, UnusableAnswer
from detect.questioned.schedule import EMPTY_RUN, NO_LIMIT, Budget, Schedule
from detect.visible import one_line
from watermark.errors import InputError
from watermark.files import strict_json

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

LARGEST_ANSWER = 64 * 2**20  # bytes

_log = logging.getLogger(__name__)


def ask(
    questions: Questions,
    log: ResponseLog,
    n_tokens: int | None,
    *,
    length: Callable[[Response], int],
    stop: Callable[[Response], bool] | None = None,
    budget: Budget = NO_LIMIT,
    patience: Patience | None = None,
    api_key: ApiKey | None = None,
    on_tokens: Callable[[int], None] | None = None,
) -> list[Response]:
    """Ask until the answers hold `n_tokens` tokens; what `log` holds already is not asked again.

    Args:
        n_tokens: fixed beforehand; without `stop` nothing is looked at on the way, so a fixed-n tail is valid. None:
            until `stop` says so.
        length: tokens of an answer, as they will be counted.
        stop: is shown the answers to requests 0, 1, 2 …, empty ones included, each when all before it are there; True
            ends the run with that answer. The number of answers then depends on what it goes by.
        patience: default: that of `Patience`.
        api_key: default: none.
        on_tokens: called with the number of new tokens after each answer, those of the log first.

    Returns:
        The answers that count, in the order asked: the smallest run of requests 0, 1, 2 … that reaches `n_tokens`, or
        with which `stop` ended it; where the budget ended it, what it allowed, and where `stop` was shown something but
        only empty answers came any more, all of them. The same whatever the order of arrival and the number of runs.

    Raises:
        InputError: the server refuses, doesn't answer, or gives nothing but empty answers.
    """
    in_order = None if stop is None else lambda request: stop(log.answered[request])
    schedule = Schedule(n_tokens, questions.sampling.max_new_tokens, budget, stop=in_order)
    asking = _Asking(questions, log, schedule, length, patience or Patience(), api_key or ApiKey(None, None), on_tokens)
    for request in sorted(log.answered):
        asking.take(log.answered[request])
    if not schedule.complete:
        asyncio.run(asking.run())
    if schedule.fruitless and (stop is None or not schedule.tokens):
        raise InputError(f"the model gave {EMPTY_RUN} empty answers in a row: nothing to count; see {log.path}")
    return [log.answered[request] for request in range(schedule.counted)]


class _Asking:
    """One run."""

    def __init__(
        self,
        questions: Questions,
        log: ResponseLog,
        schedule: Schedule,
        length: Callable[[Response], int],
        patience: Patience,
        api_key: ApiKey,
        on_tokens: Callable[[int], None] | None,
    ) -> None:
        self._questions, self._log, self._schedule, self._length = questions, log, schedule, length
        self._patience, self._api_key, self._on_tokens = patience, api_key, on_tokens
        self._dialect = Dialect()
        self._waiting = Waiting(patience)
        self._repeats: Repeats | None = Repeats()  # None: they were spoken of

    def take(self, response: Response) -> None:
        """Count a recorded answer towards the target."""
        new = self._length(response)
        self._schedule.answered(response.request, new, response.completion_tokens)
        if self._on_tokens is not None:
            self._on_tokens(new)
        self._say_if_repeating(response)

    def _say_if_repeating(self, response: Response) -> None:
        """Once: it goes on, as who asks may know why, and what is asked was settled."""
        if self._repeats is None:
            return
        self._repeats.add(response)
        if said := self._repeats.words(self._questions):
            kept = f"Ctrl-C keeps the answers in {self._log.path}"
            _log.warning("%s. It goes on; %s; %s.", said[0].upper() + said[1:], advice(self._questions), kept)
            self._repeats = None

    async def run(self) -> None:
        self._waiting.begin()
        under_way: set[asyncio.Task[None]] = set()
        async with self._client() as client:
            try:
                while self._start(client, under_way):
                    left = self._waiting.seconds_left()
                    done, under_way = await asyncio.wait(under_way, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                    if not done and self._waiting.seconds_left() == 0:
                        raise self._given_up(self._waiting.give_up())
                    failures = [failure for task in done if (failure := task.exception()) is not None]
                    if failures:
                        raise failures[0]
            finally:
                for task in under_way:
                    task.cancel()
                await asyncio.gather(*under_way, return_exceptions=True)

    def _start(self, client: AsyncOpenAI, under_way: set[asyncio.Task[None]]) -> bool:
        """Send what may be sent; whether anything is under way. The first answer alone shows the server's dialect."""
        width = self._patience.concurrency if self._dialect.settled else 1
        while len(under_way) < width and (request := self._schedule.next()) is not None:
            under_way.add(asyncio.create_task(self._answer(client, request)))
        return bool(under_way)

    async def _answer(self, client: AsyncOpenAI, request: int) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(self._waiting.seconds_closed())
            try:
                response = await self._attempt(client, request)
            except Transient as failure:
                await asyncio.sleep(self._pause(failure, attempt))
                attempt += 1
                continue
            self._log.record(response)
            self._waiting.begin()
            self._dialect.settled = True
            self.take(response)
            return

    def _pause(self, failure: Transient, attempt: int) -> float:
        try:
            return self._waiting.pause(failure, attempt)
        except OutOfPatience as error:
            raise self._given_up(error) from None

    def _given_up(self, error: OutOfPatience) -> InputError:
        kept = f". Answers so far are in {self._log.path}: the same command goes on from there"
        return InputError(f"{self._questions.shown_server}: {error}{kept if self._log.answered else ''}")

    async def _attempt(self, client: AsyncOpenAI, request: int) -> Response:
        """Send one request.

        Raises:
            Transient: worth another attempt.
            InputError: it isn't.
        """
        import httpx2
        from openai import APIConnectionError, APIStatusError

        try:
            async with asyncio.timeout(self._patience.timeout):
                body = await self._post(client, request)
        except APIStatusError as error:
            return await self._refused(client, request, error)
        except (APIConnectionError, httpx2.HTTPError) as error:
            raise Transient(_cause(error)) from None
        except TimeoutError:
            raise Transient(f"no answer within {self._patience.timeout:g} s") from None
        try:
            return self._without_key(request, strict_json(body))
        except UnusableAnswer as error:
            raise Transient(str(error)) from None
        except InputError as error:
            raise Transient(f"a broken answer ({error})") from None

    def _without_key(self, request: int, said: Any) -> Response:
        """An answer as it is recorded. One that holds the key is kept without its tokens, which may spell it out."""
        clean = self._api_key.cut_out(said)
        response = Response.read(request, self._questions, clean)
        listed = "".join(str(position["token"]) for position in response.logprobs or ())
        if clean == said and self._api_key.cut_out(listed) == listed:
            return response
        return replace(response, token_ids=None, logprobs=None)

    async def _refused(self, client: AsyncOpenAI, request: int, error: APIStatusError) -> Response:
        status, message = error.status_code, self._message(error)
        if (status in (408, 429) or status >= 500) and error.code != "insufficient_quota":
            raise Transient(
                f"{status} {message}", retry_after(str(error.response.headers.get("retry-after", "")))
            ) from None
        if status in (400, 422) and self._dialect.adapt(message):
            return await self._attempt(client, request)
        raise InputError(f"{self._questions.shown_server}: {self._refusal(status, message, request)}") from None

    def _refusal(self, status: int, message: str, request: int) -> str:
        if status == 401 and self._api_key.variable is None:
            return f"the server wants an API key (401 {message}); set {' or '.join(VARIABLES)}"
        if status in (401, 403):
            held = self._api_key.variable or f"(none is set; see {VARIABLES[0]})"
            return f"the server refuses the API key in {held} ({status} {message})"
        if 300 <= status < 400:
            return f"the server redirects elsewhere ({status}), which is not followed; give that address to --api"
        if status == 404:
            return f"no such model or endpoint there (404 {message}); check --model-name, --endpoint and the address"
        number = self._questions.prompt_of(request)
        prompt = self._questions.prompts[number]
        advice = "leave the prompt out, or change what is asked"
        if not isinstance(prompt, str):
            advice = "if it takes no token ids, give rows with `prompt` alone"
        of = f"prompt {number + 1} of {len(self._questions.prompts)}"
        return f"the server refuses request {request}, {of} ({status} {message}); {advice}"

    def _message(self, error: APIStatusError) -> str:
        """What the server says, in one short line without the key."""
        body = error.body if isinstance(error.body, dict) else {}
        said = body.get("message") or body.get("detail") or body.get("error") or error.response.reason_phrase
        return one_line(self._api_key.cut_out(" ".join(str(said).split())), 200)

    async def _post(self, client: AsyncOpenAI, request: int) -> bytes:
        from openai import Omit

        body = {**self._questions.body(request), self._dialect.limit: self._questions.sampling.max_new_tokens}
        extras: dict[str, Any] = {}
        if self._dialect.extras:
            extras["return_token_ids"] = True
            if self._questions.sampling.logprobs is not None:
                extras["return_tokens_as_token_ids"] = True
        kind = client.chat.completions if self._questions.endpoint == "chat" else client.completions
        content = bytearray()
        headers: Any = None if self._api_key.secret else {"Authorization": Omit()}  # no key: no header at all
        sending = kind.with_streaming_response.create(**body, extra_body=extras or None, extra_headers=headers)
        async with sending as response:
            async for chunk in response.iter_bytes():
                content += chunk
                if len(content) > LARGEST_ANSWER:
                    largest = f"{LARGEST_ANSWER >> 20} MiB"
                    raise InputError(f"{self._questions.shown_server}: an answer larger than {largest}")
        return bytes(content)

    def _client(self) -> AsyncOpenAI:
        """The maintained client, without retries and redirects of its own, and with nothing else of the environment."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        client = AsyncOpenAI(
            api_key=self._api_key.secret or "none",
            base_url=self._questions.server,
            max_retries=0,
            timeout=self._patience.timeout,
            http_client=DefaultAsyncHttpxClient(follow_redirects=False, timeout=self._patience.timeout),
        )
        client.organization = client.project = client.admin_api_key = None
        return client


def _cause(error: BaseException) -> str:
    """The operating system's or the protocol's words, below the client's general ones."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return one_line(" ".join(str(error).split()) or type(error).__name__, 200)
