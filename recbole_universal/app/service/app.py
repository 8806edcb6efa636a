"""The FastAPI application of a service."""

from __future__ import annotations

import asyncio
import logging
import mimetypes
import os
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

import recbole_universal
from recbole_universal.app.service import answers
from recbole_universal.app.service.answers import Refused, encoded
from recbole_universal.app.service.appended import AppendedInteractions, DatabaseError, Row
from recbole_universal.app.service.batches import MOST_SECONDS, Batches, Busy
from recbole_universal.app.service.bodies import ExplainBody, InteractionsBody, RecommendBody, SimilarBody
from recbole_universal.app.service.counters import Counters
from recbole_universal.app.service.guard import Guard
from recbole_universal.app.service.interactions import new_rows
from recbole_universal.app.service.models import Model, model_names
from recbole_universal.app.service.settings import ServiceSettings, token

PAGE = Path(__file__).with_name("page")
# Lists of one request that are ranked together with those of others; a longer request is ranked apart.
_FEW_LISTS = 32
# Long requests that may wait.
_MOST_LONG = 16
_log = logging.getLogger("recbole_universal.service")


class Service:
    """The models, and the threads that work for them.

    Args:
        settings: what to serve.

    Raises:
        ValueError, OSError: if a folder or a file cannot be read.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.fast = settings.fast
        self.counters = Counters(settings.counters)
        folders = [Path(folder).expanduser() for folder in settings.folders]
        names = model_names(settings.folders)
        self.appended = AppendedInteractions(folders[0])
        self.models = {
            name: Model(name, folder, settings.items, self.appended, settings.fast)
            for name, folder in zip(names, folders, strict=True)
        }
        self.default = names[0]
        self._lists = Batches(self._recommended)
        self._long = Batches(self._recommended, _MOST_LONG)
        self._calls, self._searches = Batches(_called), Batches(_called)
        self._stored = Batches(self._append)
        self._reloading: set[asyncio.Future] = set()

    def model(self, name: str | None) -> Model:
        """A model by name; ``None``: the first.

        Raises:
            Refused: if there is none.
        """
        model = self.models.get(self.default if name is None else name)
        if model is None:
            raise Refused(404, f"model: there is no model [{name}]; there are {', '.join(self.models)}.")
        if model.watch():
            task = asyncio.get_running_loop().run_in_executor(None, model.reload)
            self._reloading.add(task)
            task.add_done_callback(self._reloading.discard)
        return model

    async def recommend(self, body: RecommendBody) -> bytes:
        """The answer to a request for lists."""
        loaded = self.model(body.model).current
        settings = answers.list_settings(loaded, body, self.fast)
        key = (loaded, settings, id(body) if answers.is_filtered(body) else None)
        n_lists = len(body.users or body.histories or ())
        return await (self._lists if n_lists <= _FEW_LISTS else self._long).result(key, body)

    async def call(self, function: Any, *arguments: Any) -> bytes:
        """The answer that a function computes in a thread."""
        return await self._calls.result(function, arguments)

    async def search(self, function: Any, *arguments: Any) -> bytes:
        """The answer of a search, in a thread that no ranking holds up."""
        return await self._searches.result(function, arguments)

    async def append(self, body: InteractionsBody) -> int:
        """Store interactions; returns the number of new ones."""
        loaded = self.model(None).current
        rows = new_rows(loaded, body.interactions)
        try:
            n_new = await self._stored.result("append", rows)
        except OSError as error:
            _log.error("Interactions cannot be stored: %s", error)
            raise Refused(503, "The interactions cannot be stored now, and none of them is; try again.") from error
        self.counters.appended(n_new)
        return n_new

    def _recommended(self, key: Any, bodies: list[RecommendBody]) -> list[bytes | Exception]:
        loaded, settings, _ = key
        return answers.recommended(loaded, settings, bodies)

    def _append(self, _: Any, requests: list[list[Row]]) -> list[Any]:
        """Store the rows of some requests in one transaction."""
        return self.appended.append(*requests)


def _called(function: Any, calls: list[tuple]) -> list[Any]:
    """The result of each call, or its error."""
    results: list[Any] = []
    for arguments in calls:
        try:
            results.append(function(*arguments))
        except Exception as error:
            results.append(error)
    return results


def create_app(settings: ServiceSettings) -> Any:
    """The ASGI application of a service.

    Args:
        settings: what to serve.

    Raises:
        ValueError, OSError: if a folder or a file cannot be read.
    """
    service = Service(settings)
    app = FastAPI(
        title="RecBole-Universal",
        version=recbole_universal.__version__,
        description="Recommendations, reasons and new interactions.",
        docs_url=None,  # the pages of FastAPI load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    _add_routes(app, service)
    _add_errors(app)
    mimetypes.add_type("text/javascript", ".js")  # a system may say otherwise
    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    return Guard(app, token(), service.counters)


def from_environment() -> Any:
    """The application of the settings in the environment, for worker processes, which share the processor's cores."""
    settings = ServiceSettings.from_environment()
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // settings.workers)))
    return create_app(settings)


def _json(content: bytes, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.post("/recommend")
    async def recommend(body: RecommendBody) -> Response:
        """The best items of users, or of histories of people without a row."""
        return _json(await service.recommend(body))

    @app.post("/similar")
    async def similar(body: SimilarBody) -> Response:
        """The items that are related most to each item."""
        return _json(await service.call(answers.similar, service.model(body.model).current, body))

    @app.post("/explain")
    async def explain(body: ExplainBody) -> Response:
        """Why an item has its place in a list."""
        return _json(await service.call(answers.explained_answer, service.model(body.model).current, body))

    @app.post("/interactions", status_code=201)
    async def interactions(body: InteractionsBody) -> Response:
        """Store new interactions. They are on the disk before the answer, and count in the next list."""
        return _json(encoded({"appended": await service.append(body)}), 201)

    @app.get("/items")
    async def items(query: Text = "", limit: Limit = 20, model: Text | None = None) -> Response:
        """Items whose id or title contains a text."""
        return _json(await service.search(answers.found_items, service.model(model).current, query, limit))

    @app.get("/users")
    async def users(query: Text = "", limit: Limit = 20, model: Text | None = None) -> Response:
        """Users whose id contains a text."""
        return _json(await service.search(answers.found_users, service.model(model).current, query, limit))

    @app.get("/models")
    async def models() -> Response:
        """The models, and whether requests need a token."""
        described = [service.model(name).described() for name in service.models]
        return _json(encoded({"models": described, "token": bool(token())}))

    @app.get("/health")
    async def health() -> Response:
        """Whether the service works."""
        return _json(encoded({"status": "ok", "version": recbole_universal.__version__, "models": len(service.models)}))

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters in the text format of Prometheus."""
        return Response(service.counters.text(), media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response((PAGE / "index.html").read_bytes(), media_type="text/html")


Text = Annotated[str, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=1000)]


def _add_errors(app: FastAPI) -> None:
    def answer(status: int, detail: str, headers: Any = None) -> Response:
        return Response(encoded({"detail": detail}), status, headers, media_type="application/json")

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return answer(error.status, error.detail)

    @app.exception_handler(DatabaseError)
    async def unreadable(_: Request, error: DatabaseError) -> Response:
        _log.error("Appended interactions cannot be read: %s", error)
        return answer(503, "The appended interactions cannot be read now; try again.", {"retry-after": "1"})

    @app.exception_handler(Busy)
    async def busy(_: Request, __: Busy) -> Response:
        return answer(
            503, f"Too many requests wait, or this one waited {MOST_SECONDS:g} s; try again.", {"retry-after": "1"}
        )

    @app.exception_handler(HTTPException)
    async def of_http(_: Request, error: HTTPException) -> Response:
        return answer(error.status_code, _SENTENCES.get(error.detail, str(error.detail)), error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:  # the guard logs the error
        return answer(500, "The service failed; its log says why.")

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        sentences = [_sentence(problem) for problem in error.errors()[:3]]
        is_no_json = any(problem["type"] == "json_invalid" for problem in error.errors())
        return answer(400 if is_no_json else 422, " ".join(dict.fromkeys(sentences)))


_SENTENCES = {
    "Not Found": "There is no such path; /openapi.json lists the paths.",
    "Method Not Allowed": "This path has another method; /openapi.json lists the paths.",
    "There was an error parsing the body": "The body is no JSON that can be read.",
}


def _sentence(problem: dict[str, Any]) -> str:
    """A sentence on what a body or an argument lacks."""
    if problem["type"] == "json_invalid":
        return "The body is no JSON."
    if problem["type"] == "model_attributes_type" and len(problem["loc"]) == 1:
        return "The body must be a JSON object, with the header content-type: application/json."
    place = ".".join(str(part) for part in problem["loc"] if part not in ("body", "query"))[:200]
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}." if place else f"{message}."
