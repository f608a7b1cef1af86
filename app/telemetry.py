"""What can be seen of a running Helix: every metric, declared once, and the way of log lines and crashes to the outside.

One rule: neither a key nor a word of a prompt or an answer leaves by this door. Labels are closed sets (models only from
the catalogue, never an account), log lines carry ids, and of an exception only its kind and place are told: its message
may quote what it choked on.
"""

from __future__ import annotations

import logging
import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Literal, cast

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram, values
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from app.lines import Libraries, Lines
from app.settings import Settings

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

TRACES_SHARE = 0.1
"""The guide's share of requests whose timing goes to Sentry."""

FRAMES_MAX = 40
"""Innermost frames told of an exception; recursion would fill a disk."""

_PROCESS = os.getpid()
if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    # It asks the system for the process's number at each count, in case the process has forked. Ours never do.
    values.ValueClass = values.MultiProcessValue(lambda: _PROCESS)  # type: ignore[no-untyped-call]  # the library's

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""From an answer out of memory to the longest completion."""

# The guide's names.
HTTP_REQUESTS = Counter("http_requests_total", "HTTP requests answered", ("method", "endpoint", "status"))
HTTP_DURATION = Histogram(
    "http_request_duration_seconds", "First header in to last byte out", ("endpoint",), buckets=_SECONDS
)
API_CALLS = Counter("api_calls_total", "Completions ended with an answer", ("model", "provider", "tier"))
# `active_users_total{tier}` is counted from the database at each scrape: `app.http.metrics`.

READER_LAG = Gauge(
    "helix_reader_lag",
    "Entries of the log that a reader has not yet read",
    ("reader", "partition"),
    multiprocess_mode="livemostrecent",
)
STRAYED_ROWS = Gauge(
    "helix_default_partition_rows",
    "Rows in the default partition for want of their month's, counted to 1000",
    ("table",),
    multiprocess_mode="livemostrecent",
)
LOG_MEMORY = Gauge(
    "helix_log_memory_share",
    "Used memory of the log server as a share of its limit",
    multiprocess_mode="livemostrecent",
)
ALARMS = Counter("helix_alarms_total", "Facts that a person has to look into (docs/runbook.md)", ("kind",))
IN_FLIGHT = Gauge("helix_requests_in_flight", "Requests being answered", multiprocess_mode="livesum")
CALLS_IN_FLIGHT = Gauge("helix_calls_in_flight", "Provider calls being made", multiprocess_mode="livesum")
TIME_TO_FIRST_TOKEN = Histogram(
    "helix_time_to_first_token_seconds", "Provider asked to first delta heard", ("provider",), buckets=_SECONDS
)
FLUSH_FRAMES = Histogram(
    "helix_flush_frames",
    "Frames written to the live streams in one flush",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000),
)
TERMINAL_EVENTS = Counter("helix_terminal_events_total", "Requests ended", ("outcome",))
FENCED = Counter("helix_fenced_total", "Ends refused because the command had got another owner")
RECLAIMED = Counter("helix_reclaimed_total", "Commands taken over from a silent owner")
UNREADABLE = Counter("helix_unreadable_total", "Log entries parked because nobody can read them")
WORKERS_STOPPED = Gauge(
    "helix_workers_stopped",
    "Workers that take nothing more, because far too much of what they took had to be put away",
    multiprocess_mode="livesum",
)
PROVIDER_CALLS = Counter("helix_provider_calls_total", "Calls to providers ended", ("provider", "outcome"))
FALLBACKS = Counter(
    "helix_fallbacks_total", "Completions answered by another than was asked first", ("first", "answered")
)
CIRCUITS = Gauge(
    "helix_circuit_cooling",
    "1 while a provider's model, a key, or a key for a model rests or is probed",
    ("circuit",),
    multiprocess_mode="livemostrecent",
)
TOKENS = Counter("helix_tokens_total", "Tokens billed", ("kind",))
ANSWER_LOOKUPS = Counter(
    "helix_answer_lookups_total",
    "Look-ups of kept answers: hit, waited (for one who asked the same), miss, worthless, away",
    ("outcome",),
)
VECTORS = Counter("helix_vectors_total", "Vectors for the semantic cache, at the operator's expense", ("outcome",))
VECTOR_TOKENS = Counter("helix_vector_tokens_total", "Tokens of these vectors")
COST = Counter("helix_cost_nanousd_total", "Cost of completions in 10^-9 US dollars")

Process = Literal["web", "worker", "projector", "up", "cli"]


def configure(settings: Settings, process: Process) -> None:
    """Log lines and crash reports of this process, from now on. Called once, first thing."""
    level = logging.getLevelNamesMapping()[settings.helix_log_level.upper()]
    _configure_logs(level, process)
    if settings.sentry_dsn is not None:
        _configure_sentry(settings.sentry_dsn.get_secret_value(), process)


def _configure_logs(level: int, process: str) -> None:
    def name_process(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        name_process,
        tell_exception,
    ]
    lines = Lines(sys.stderr.buffer)
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lines,
        cache_logger_on_first_use=True,
    )
    libraries = Libraries(lines)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, first_line, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=lambda event, **_: _json(event).decode()),
            ],
        )
    )
    logging.basicConfig(handlers=[libraries], level=max(level, logging.INFO), force=True)
    for chatty in ("LiteLLM", "httpx", "aiohttp.access", "uvicorn.access"):
        # At lower levels these tell addresses and bodies of calls.
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _json(event: object, **_: object) -> bytes:
    return orjson.dumps(event, default=repr)


def first_line(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """asyncio puts the repr of a failed task, its exception's message included, behind the first line of what it says;
    others do so with bodies."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


def tell_exception(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """`exc_info` → `error` (its kind), `error_at` (the innermost frames) and `error_after` (what it came from)."""
    told = event.pop("exc_info", None)
    if not told:
        return event
    error = _exception(told)
    if error is not None:
        event["error"] = kind_of(error)
        event["error_at"] = frames_of(error.__traceback__)
        earlier = error.__cause__ or error.__context__
        if earlier is not None:
            event["error_after"] = {"error": kind_of(earlier), "error_at": frames_of(earlier.__traceback__)}
    return event


def _exception(told: ExcInfo | BaseException | bool) -> BaseException | None:
    if isinstance(told, BaseException):
        return told
    return told[1] if isinstance(told, tuple) else sys.exception()


def kind_of(error: BaseException) -> str:
    """The class, and for a fault of the system its number: `ConnectionRefusedError(111)`. Never the message."""
    number = f"({error.errno})" if isinstance(error, OSError) and error.errno else ""
    return f"{type(error).__qualname__}{number}"


def frames_of(trace: TracebackType | None) -> list[str]:
    """`file:line function`, innermost last; no lines of source, no values."""
    frames: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return frames[-FRAMES_MAX:]


_reporting = False


def report(error: BaseException) -> None:
    """A crash, to Sentry where it is set up; the log line is the caller's."""
    if _reporting:
        import sentry_sdk

        sentry_sdk.capture_exception(error)


def _configure_sentry(dsn: str, process: str) -> None:
    import sentry_sdk  # takes a third of a second, for those who use it
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration

    sentry_sdk.init(
        dsn=dsn,
        environment="production",
        traces_sample_rate=TRACES_SHARE,
        # Only what we name: the others read requests, log messages and arguments on their own.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[
            AtexitIntegration(callback=lambda pending, timeout: None),
            DedupeIntegration(),
            ExcepthookIntegration(),
        ],
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=scrub,
        before_send_transaction=scrub,
    )
    sentry_sdk.set_tag("process", process)
    global _reporting
    _reporting = True


def scrub(event: Event, hint: Hint) -> Event:
    """Takes out of a crash report what may hold content: messages of exceptions, the request, variables of frames."""
    for gone in ("request", "breadcrumbs", "extra", "user", "message", "logentry"):
        cast(dict[str, object], event).pop(gone, None)
    for error in cast(dict[str, list[dict[str, object]]], event.get("exception") or {}).get("values", []):
        error.pop("value", None)
        trace = cast(dict[str, list[dict[str, object]]], error.get("stacktrace") or {})
        for frame in trace.get("frames", []):
            frame.pop("vars", None)
    return event
