"""The HTTP interface: a page to drop files on, and the same for programs."""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from data.manifest import MEDIA_SUFFIXES
from data.text import printable
from pipeline.report.html import PALETTE
from pipeline.server.jobs import Job, Jobs, State
from pipeline.server.uploads import FIELD, Refused, is_id, receive
from pipeline.server.worker import REPORT, Worker

ASSETS = Path(__file__).parent / "assets"
FORMS = ("json", "html", "csv", "vtt", "labels.txt", "edl", "otio")
"""Endings of what is written about an analysis that is done."""

_COOKIE = "rt_deeploc_token"
_SWEEP_EVERY_S = 600.0
_SPARE = 1_000_000_000  # bytes that stay free on the disk
_ARRIVING = "arriving"  # name of a file while it is uploaded
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
_AT_ONCE = 64
"""Uploads that are received at a time; further ones are turned away."""

_LOG = logging.getLogger(__name__)
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime"}


@dataclass(frozen=True)
class Limits:
    """What clients may use: bytes of a file, analyses that wait, days that anything is kept, hours of an analysis."""

    most_bytes: int = 2_000_000_000
    most_waiting: int = 100
    keep_days: float = 7.0
    most_hours: float = 24.0


class Accepted(BaseModel):
    """What an upload is answered with."""

    id: str = Field(description="Name of the analysis.")
    state: State = Field(description="queued, running, done or failed.")


class Analysis(Accepted):
    """An analysis: how far it is, and what came out."""

    name: str = Field(description="Name of the file, as the client gave it.")
    size: int = Field(description="Bytes of the file.")
    created: float = Field(description="When it was uploaded, in seconds since 1970.")
    started: float | None = Field(description="When its analysis began.")
    ended: float | None = Field(description="When it was done or failed.")
    step: str = Field(description="What is being done.")
    completed: int | None = Field(description="Units of the step that are done.")
    total: int | None = Field(description="Units of the step in all, where known.")
    verdict: str = Field(description="forged, undecided, not_found or not_assessable; empty before the end.")
    outcome: str = Field(description="The report in a sentence.")
    error: str = Field(description="What went wrong.")
    fix: str = Field(description="What to do then.")
    files: dict[str, str] = Field(description="Address of each form of the report, by its ending.")

    @classmethod
    def of(cls, job: Job) -> Analysis:
        """The analysis as clients see it."""
        done = job.state == "done"
        files = {form: f"/analyses/{job.id}/files/{REPORT}.{form}" for form in FORMS} if done else {}
        shown = {name: getattr(job, name) for name in cls.model_fields if name != "files"}
        # A name that means harm is part of what is said about its file, too.
        safe = {name: printable(value) if isinstance(value, str) else value for name, value in shown.items()}
        return cls(files=files, **safe)


class Analyses(BaseModel):
    """A page of the list of analyses."""

    analyses: list[Analysis] = Field(description="Newest first.")
    count: int = Field(description="How many there are in all.")


class Problem(BaseModel):
    """What went wrong, and what to do."""

    detail: str
    fix: str = ""


def make_app(
    folder: Path,
    jobs: Jobs,
    worker: Worker,
    limits: Limits,
    hosts: list[str],
    token: str | None = None,
) -> FastAPI:
    """The application; uploads and reports lie below `folder`, one folder for each analysis.

    Requests must name one of `hosts`, so that a page elsewhere cannot reach it by a name of its own (DNS rebinding);
    with a `token` they must carry it, as a bearer token, or as the cookie that ``/?token=`` sets.
    """
    names = {host.lower() for host in hosts}
    arriving_now = dict[str, int]()  # with the bytes that each may need

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        worker.start()
        sweeper = asyncio.create_task(_sweep(folder, jobs, limits))
        yield
        sweeper.cancel()
        await asyncio.to_thread(worker.stop)

    app = FastAPIOffline(
        title="RT-DeepLoc",
        summary="Finds where a video was forged.",
        description=f"`POST /analyses` takes a form whose field `{FIELD}` is a media file.",
        version="1",
        favicon_url="data:,",
        lifespan=life,
    )

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        refusal = _refusal(request, names, token)
        response = refusal if refusal is not None else await answer(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> JSONResponse:
        return _problem(error.status, error.what, error.fix)

    @app.exception_handler(ClientDisconnect)
    async def cut(_: Request, __: ClientDisconnect) -> JSONResponse:
        return _problem(
            400, "the connection was cut", "send it again"
        )  # to nobody; without it there is a traceback

    @app.exception_handler(OSError)
    @app.exception_handler(sqlite3.Error)
    async def unusable(_: Request, error: OSError | sqlite3.Error) -> JSONResponse:
        _LOG.warning("a request failed: %s", error)
        # Without the path, which is no business of the client's.
        reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else error
        if isinstance(error, OSError) and error.errno not in _OF_THE_DISK:
            return _problem(500, f"the server could not answer ({reason})", "try again later")
        return _problem(
            507, f"the server cannot use its disk ({reason})", "free some space on it, and try again"
        )

    def known(job_id: str) -> Job:
        job = jobs.get(job_id) if is_id(job_id) else None
        if job is None:
            raise Refused(404, "there is no such analysis", "see the list at /analyses")
        return job

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        if token is not None and "token" in request.query_params:
            # Out of the address bar, and of the history.
            there = RedirectResponse("/", status_code=303)
            there.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return there
        text = (ASSETS / "app.html").read_text(encoding="utf-8")
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        kinds = {"app.js": "text/javascript", "app.css": "text/css", PALETTE.name: "text/css"}
        if name not in kinds:
            raise HTTPException(404)
        path = PALETTE if name == PALETTE.name else ASSETS / name
        return FileResponse(path, media_type=kinds[name])

    form = {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {"type": "string", "format": "binary"}},
    }

    @app.post(
        "/analyses",
        status_code=202,
        responses={status: {"model": Problem} for status in (400, 413, 415, 429, 507)},
        openapi_extra={
            "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}
        },
    )
    async def upload(request: Request) -> Accepted:
        """Take a file and put its analysis at the end of the queue."""
        declared = request.headers.get("content-length", "")
        length = int(declared) if declared.isdecimal() else None
        needed = min(length, limits.most_bytes) if length is not None else limits.most_bytes
        if jobs.count("queued") + len(arriving_now) >= limits.most_waiting:
            raise Refused(429, f"{limits.most_waiting} analyses are waiting already", "try again later")
        if len(arriving_now) >= _AT_ONCE:
            raise Refused(429, f"{_AT_ONCE} uploads are arriving already", "try again later")
        due = sum(max(0, most - _arrived(folder / other)) for other, most in arriving_now.items())
        if shutil.disk_usage(folder).free < _SPARE + due + needed:
            raise Refused(507, "the disk of the server is almost full", "delete old analyses")
        job_id = Jobs.new_id()
        place = folder / job_id
        arriving_now[job_id] = needed
        try:
            place.mkdir(mode=0o700)
            kind = request.headers.get("content-type", "")
            arriving = place / _ARRIVING
            name, size = await receive(request.stream(), kind, length, arriving, limits.most_bytes)
            ending = Path(name).suffix.lower()
            arriving.rename(place / f"media{ending if ending in MEDIA_SUFFIXES else ''}")
            jobs.add(Job(job_id, name, size, time.time()))
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, place, True)
            raise
        finally:
            del arriving_now[job_id]
        worker.wake()
        return Accepted(id=job_id, state="queued")

    @app.get("/analyses")
    def listed(
        limit: Annotated[int, Query(ge=1, le=500)] = 100, offset: Annotated[int, Query(ge=0, le=10**9)] = 0
    ) -> Analyses:
        """All analyses, newest first."""
        return Analyses(analyses=[Analysis.of(job) for job in jobs.newest(limit, offset)], count=jobs.count())

    missing: dict[int | str, dict[str, Any]] = {404: {"model": Problem}}

    @app.get("/analyses/{job_id}", responses=missing)
    def one(job_id: str) -> Analysis:
        """How far an analysis is, and what came out."""
        return Analysis.of(known(job_id))

    @app.get("/analyses/{job_id}/report", responses=missing | {409: {"model": Problem}})
    def report(job_id: str) -> Response:
        """The report as JSON."""
        return _file(folder, known(job_id), f"{REPORT}.json")

    @app.get("/analyses/{job_id}/files/{name}", responses=missing | {409: {"model": Problem}})
    def file(job_id: str, name: str) -> Response:
        """A form of the report, such as report.html or report.vtt; or the media, for the page's player."""
        return _file(folder, known(job_id), name)

    @app.post("/analyses/{job_id}/cancel", responses=missing)
    def cancel(job_id: str) -> Analysis:
        """End an analysis that waits or runs; one that is over stays as it is."""
        known(job_id)
        worker.cancel(job_id)
        return Analysis.of(known(job_id))

    @app.delete("/analyses/{job_id}", status_code=204, responses=missing)
    def delete(job_id: str) -> None:
        """Delete an analysis with its upload and report."""
        known(job_id)
        worker.cancel(job_id)
        forget(folder, jobs, job_id)

    return app


def forget(folder: Path, jobs: Jobs, job_id: str) -> None:
    """Delete the files of a job, then its row: what is interrupted can be done again.

    Raises Refused when files remain; the job remains as well then.
    """
    if is_id(job_id):
        shutil.rmtree(folder / job_id, ignore_errors=True)
        if (folder / job_id).exists():
            fix = "see that the server may write to its folder, and delete it again"
            raise Refused(500, "not all files could be deleted", fix)
        jobs.remove(job_id)


def tidy(folder: Path, jobs: Jobs) -> None:
    """Delete folders of uploads that never ended: no job has their name. Call it before anything is received."""
    for place in folder.iterdir():
        if place.is_dir() and is_id(place.name) and jobs.get(place.name) is None:
            shutil.rmtree(place, ignore_errors=True)


async def _sweep(folder: Path, jobs: Jobs, limits: Limits) -> None:
    while True:
        try:
            for job in jobs.older_than(time.time() - 86400 * limits.keep_days):
                with suppress(Refused):
                    await asyncio.to_thread(forget, folder, jobs, job.id)
        except (OSError, sqlite3.Error) as error:  # what is due now is due at the next time, too
            _LOG.warning("old analyses cannot be deleted: %s", error)
        await asyncio.sleep(_SWEEP_EVERY_S)


def _refusal(request: Request, hosts: set[str], token: str | None) -> Response | None:
    """The answer to a request that nobody may make."""
    host = request.headers.get("host", "")
    try:
        called = urlsplit(f"//{host}").hostname
    except ValueError:
        called = None
    if called not in hosts:
        return _problem(400, "this server does not answer to that name", "start it with --name NAME")
    if token is not None:
        given = [
            request.headers.get("authorization", "").removeprefix("Bearer "),
            request.cookies.get(_COOKIE, ""),
            request.query_params.get("token", "") if request.url.path == "/" else "",
        ]
        if not any(secrets.compare_digest(one.encode(), token.encode()) for one in given):
            return _problem(401, "a token is needed", "open the address that `pipeline serve` printed")
    if request.method not in ("GET", "HEAD"):
        # Browsers say which page a request comes from; programs say nothing (CSRF).
        origin = request.headers.get("origin")
        # Without the scheme: behind a proxy with TLS the browser's is not ours.
        elsewhere = origin is not None and origin.partition("://")[2] != host
        site = request.headers.get("sec-fetch-site", "same-origin")
        if elsewhere or site not in ("same-origin", "none"):
            return _problem(403, "the request comes from another page", "use the page of this server")
    return None


def _problem(status: int, detail: str, fix: str) -> JSONResponse:
    return JSONResponse({"detail": detail, "fix": fix}, status)


def _arrived(place: Path) -> int:
    """Bytes of an upload that are on the disk already."""
    try:
        return (place / _ARRIVING).stat().st_size
    except OSError:
        return 0


def _file(folder: Path, job: Job, name: str) -> Response:
    """A file of an analysis that is done, chosen by name among those that are there."""
    if job.state != "done":
        raise Refused(409, f"the analysis is {job.state}", "wait until it is done")
    shown = {f"{REPORT}.{form}" for form in FORMS}
    with suppress(FileNotFoundError):  # it is being deleted
        for path in (folder / job.id).iterdir():
            if path.name == name and (name in shown or path.stem == "media"):
                return _response(path)
    raise Refused(404, "there is no such file", "the analysis lists its files")


def _response(path: Path) -> FileResponse:
    kinds = {".json": "application/json", ".html": "text/html; charset=utf-8", ".otio": "application/json"}
    if path.stem == "media":
        kind = _TYPES.get(path.suffix, "application/octet-stream")
    else:
        kind = kinds.get(path.suffix, "text/plain; charset=utf-8")
    # A page brings its own policy; whatever else is opened by itself may do nothing.
    headers = {} if path.suffix == ".html" else {"Content-Security-Policy": "sandbox; default-src 'none'"}
    return FileResponse(path, media_type=kind, headers=headers)
