"""Every route that the outside may call, as values: what `/openapi.json` and `/docs` are written from.

One rule: a route is not done before it stands here; a test compares this table with the router.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.http import account_pages, audit, consents, erasure, export, pages, provider_keys
from app.http.analytics import GROUPS
from app.http.analytics_views import CostOptimization, UsageAnalytics
from app.http.answers import (
    AnthropicErrorBody,
    CacheForgotten,
    CacheStats,
    ChatCompletion,
    DeletedResponse,
    EitherErrorBody,
    EmbeddingList,
    HealthView,
    HelixCompletion,
    InputItems,
    ListView,
    MessageView,
    ModelList,
    ModelView,
    RequestView,
    ResponseView,
    TokenCount,
)
from app.http.embeddings import EmbeddingsBody
from app.http.key_shapes import KeyChange, KeyCreate, KeyList, KeyRotate, KeyView, NewKeyView
from app.http.message_shapes import CountBody, MessagesBody
from app.http.operation import Answer, Operation, Parameter, refusals
from app.http.operations_limits import LIMITS
from app.http.operations_people import PEOPLE
from app.http.operations_teams import TEAM_OPERATIONS
from app.http.response_shapes import ResponsesBody
from app.http.routing_views import ProvidersStatusView, RoutingPolicyDeleted, RoutingPolicyView
from app.http.shapes import ChatBody
from handlers.rules.policy import AccountPolicy
from handlers.rules.roles import Action

_IDEMPOTENCY = Parameter(
    "Idempotency-Key",
    "header",
    "The same key and body within 48 hours give the same request; the same key with another body is a 422.",
)
_PREFER = Parameter(
    "Prefer", "header", "`respond-async`: answer 202 at once, fetch the result from `/v1/requests/{id}`."
)
_DISCONNECT = Parameter(
    "x-helix-on-disconnect",
    "header",
    "`continue`: go on although the client goes away.",
    choices=("cancel", "continue"),
)
_OPTIMIZE = Parameter(
    "x-helix-optimize", "header", "What the router should prefer.", choices=("cost", "speed", "quality")
)
_CACHE = Parameter(
    "x-helix-cache",
    "header",
    "`on`: give the answer that an equal question of this account has had, and keep this one. `refresh`: keep it, take none. "
    "`similar`, where the operator offers it: the answer to a question that means the same will do.",
    choices=("on", "off", "refresh", "similar"),
)
_CACHE_TTL = Parameter(
    "x-helix-cache-ttl",
    "header",
    "Seconds, 1 to 604800: neither is an older answer given, nor this one kept for longer. The same as `cache.ttl` in the "
    "body.",
    "integer",
)
_ASKING = (_IDEMPOTENCY, _PREFER, _DISCONNECT, _OPTIMIZE, _CACHE, _CACHE_TTL)
_VERSION = Parameter(
    "anthropic-version", "header", "`2023-06-01` where none is sent; `2026-10-21` takes no sampling fields."
)
_BETA = Parameter("anthropic-beta", "header", "Names of Anthropic's beta features; sent on to Anthropic's own models.")
_RESPONSE = Parameter("id", "path", "The id of the response, `resp_…`.")
_KEY = Parameter("id", "path", "The id of the key, as lists show it.")
_REQUEST = Parameter("id", "path", "The id of the request, from `x-request-id`.")

_ASKED = {202: Answer("Accepted, with `Prefer: respond-async`; the log has it on disk.", RequestView)}
_ASKING_REFUSED = refusals(400, 401, 402, 403, 404, 422, 429, 503)
_MESSAGE_REFUSED = refusals(400, 401, 402, 403, 404, 422, 429, 529, shape=AnthropicErrorBody)

OPERATIONS: Final = (
    Operation(
        "POST",
        "/v1/chat/completions",
        "Completions",
        "Create a chat completion",
        "OpenAI's route: any OpenAI SDK works with its base URL changed. Fields that are not listed go to the provider "
        "as they are.",
        {200: Answer("The completion, or its stream.", ChatCompletion)} | _ASKED | _ASKING_REFUSED,
        _ASKING,
        ChatBody,
        '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}',
        streams=True,
        action="completions.ask",
    ),
    Operation(
        "POST",
        "/v1/chat",
        "Completions",
        "Let Helix choose",
        "The same body; `model` may be left out, `optimize` says what to prefer. The answer adds `routing` and `cost`.",
        {200: Answer("The completion, or its stream.", HelixCompletion)} | _ASKED | _ASKING_REFUSED,
        _ASKING,
        ChatBody,
        '{"optimize": "cost", "messages": [{"role": "user", "content": "Hello!"}]}',
        streams=True,
        action="completions.ask",
    ),
    Operation(
        "POST",
        "/v1/messages",
        "Completions",
        "Create a message",
        "Anthropic's route: any Anthropic SDK and Claude Code work with their base URL changed. Fields that are not listed "
        "go to the provider as they are.",
        {200: Answer("The message, or its stream.", MessageView)} | _ASKED | _MESSAGE_REFUSED,
        (*_ASKING, _VERSION, _BETA),
        MessagesBody,
        '{"model": "auto", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}]}',
        streams=True,
        action="completions.ask",
    ),
    Operation(
        "POST",
        "/v1/messages/count_tokens",
        "Completions",
        "Count a message's tokens",
        "An estimate, counted here; nothing is asked and nothing is charged.",
        {200: Answer("The number.", TokenCount)} | refusals(400, 401, 404, 429, 529, shape=AnthropicErrorBody),
        (_VERSION,),
        CountBody,
        '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}',
        action="completions.ask",
    ),
    Operation(
        "POST",
        "/v1/responses",
        "Responses",
        "Create a response",
        "OpenAI's route, Codex's too, for any model. Unless `store` is false, the response is kept; with `background` it is "
        "answered at once and goes on.",
        {200: Answer("The response, or its stream.", ResponseView)} | _ASKED | _ASKING_REFUSED,
        _ASKING,
        ResponsesBody,
        '{"model": "auto", "input": "Hello!"}',
        streams=True,
        action="completions.ask",
    ),
    Operation(
        "GET",
        "/v1/responses/{id}",
        "Responses",
        "One response",
        "How it stands; or, with `stream=true`, its events, while it runs and after it has ended.",
        {200: Answer("The response, or its stream.", ResponseView)} | refusals(400, 401, 404, 429),
        (
            _RESPONSE,
            Parameter("stream", "query", "Its events instead.", "boolean"),
            Parameter("starting_after", "query", "Only events behind the one of this sequence number.", "integer"),
        ),
        streams=True,
        action="requests.read",
    ),
    Operation(
        "DELETE",
        "/v1/responses/{id}",
        "Responses",
        "Delete a response",
        "Its content is gone for good; the request's metadata and price stay. One that runs is stopped first.",
        {200: Answer("It is deleted.", DeletedResponse)} | refusals(401, 404, 409, 429),
        (_RESPONSE,),
        action="requests.write",
    ),
    Operation(
        "POST",
        "/v1/responses/{id}/cancel",
        "Responses",
        "Cancel a response",
        "Stops the provider call, whether in the background or not. What was used until then is recorded.",
        {200: Answer("The response.", ResponseView)} | refusals(401, 404, 429),
        (_RESPONSE,),
        action="requests.write",
    ),
    Operation(
        "GET",
        "/v1/responses/{id}/input_items",
        "Responses",
        "What a response was asked",
        "The items of its own input; those of earlier responses are theirs.",
        {200: Answer("One page.", InputItems)} | refusals(400, 401, 404, 429),
        (
            _RESPONSE,
            Parameter("limit", "query", "How many, 1 to 100.", "integer"),
            Parameter("order", "query", "Newest first, or as they were sent.", choices=("desc", "asc")),
            Parameter("after", "query", "Those behind this item."),
            Parameter("include", "query", "Taken, and without effect: everything is shown."),
        ),
        example="?limit=10&order=asc",
        action="requests.read",
    ),
    Operation(
        "POST",
        "/v1/embeddings",
        "Embeddings",
        "Create embeddings",
        "OpenAI's route: texts into vectors. The model is one whose `kind` is `embedding`.",
        {200: Answer("The vectors, in the order of the inputs.", EmbeddingList)} | _ASKED | _ASKING_REFUSED,
        _ASKING,
        EmbeddingsBody,
        '{"model": "sandbox/embed", "input": "Hello!"}',
        action="completions.ask",
    ),
    Operation(
        "GET",
        "/v1/models",
        "Models",
        "List models",
        "Every model that can be asked for, with its provider, kind, window and price. With `anthropic-version` those that "
        "answer messages, each under a name that Anthropic's clients show.",
        {200: Answer("All models.", ModelList)} | refusals(400, 401, 429, shape=EitherErrorBody),
        (
            Parameter("limit", "query", "How many, 1 to 1000.", "integer"),
            Parameter("after_id", "query", "Those behind this model."),
            Parameter("before_id", "query", "Those in front of this model."),
            Parameter("anthropic-version", "header", "Anthropic's clients send it."),
        ),
        action="models.read",
    ),
    Operation(
        "GET",
        "/v1/models/{id}",
        "Models",
        "One model",
        "A model by its id, or by `provider/id` as it stands, with its slash.",
        {200: Answer("The model.", ModelView)} | refusals(401, 404, 429, shape=EitherErrorBody),
        (Parameter("id", "path", "The id of the model."),),
        action="models.read",
    ),
    Operation(
        "GET",
        "/v1/requests",
        "Requests",
        "List requests",
        "The account's requests, newest first.",
        {200: Answer("One page.", ListView)} | refusals(400, 401, 429),
        (
            Parameter("limit", "query", "How many, 1 to 100.", "integer"),
            Parameter("after", "query", "Those older than this request."),
            Parameter(
                "status", "query", "Only these.", choices=("queued", "running", "completed", "failed", "cancelled")
            ),
            Parameter("model", "query", "Only those that asked for this model."),
        ),
        example="?limit=10&status=completed",
        action="requests.read",
    ),
    Operation(
        "GET",
        "/v1/requests/{id}",
        "Requests",
        "One request",
        "How it stands; once it has ended, `response` holds the answer and `attempts` what was tried.",
        {200: Answer("The request.", RequestView)} | refusals(400, 401, 404, 429),
        (_REQUEST, Parameter("wait", "query", "Seconds to wait for its end, up to 60.", "integer")),
        example="?wait=30",
        action="requests.read",
    ),
    Operation(
        "GET",
        "/v1/requests/{id}/events",
        "Requests",
        "Follow a request",
        "Server-sent events with an `id` each. A reconnect with `Last-Event-ID` goes on exactly behind it, while the "
        "request runs and for an hour after.",
        {200: Answer("The events.", media="text/event-stream")} | refusals(400, 401, 404, 429),
        (
            _REQUEST,
            Parameter("after", "query", "Only events behind this one."),
            Parameter("Last-Event-ID", "header", "The same, as browsers send it."),
        ),
        action="requests.read",
    ),
    Operation(
        "POST",
        "/v1/requests/{id}/cancel",
        "Requests",
        "Cancel a request",
        "Stops the provider call. What was used until then is recorded.",
        {200: Answer("The request.", RequestView)} | refusals(401, 404, 409, 429),
        (_REQUEST,),
        action="requests.write",
    ),
    Operation(
        "DELETE",
        "/v1/cache",
        "Cache",
        "Forget kept answers",
        "From now on none of the account's kept answers is given any more, in every process.",
        {200: Answer("They are forgotten.", CacheForgotten)} | refusals(401, 429, 503),
        action="requests.write",
    ),
    Operation(
        "GET",
        "/v1/cache/stats",
        "Cache",
        "What the cache has saved",
        "How many requests were answered from the cache, and what these answers had cost.",
        {200: Answer("The numbers.", CacheStats)} | refusals(400, 401, 429, 503),
        (Parameter("days", "query", "Of the last so many days, 1 to 366; 30 where it is left out.", "integer"),),
        example="?days=7",
        action="usage.read",
    ),
    Operation(
        "GET",
        "/v1/analytics/usage",
        "Analytics",
        "What was spent",
        "Requests, tokens and cost of the account in a stretch of time, adjustments included.",
        {200: Answer("The sums.", UsageAnalytics)} | refusals(400, 401, 429, 503),
        (
            Parameter("from", "query", "A day or a time; 30 days before `to` where it is left out."),
            Parameter("to", "query", "Before this day or time; now where it is left out."),
            Parameter("group_by", "query", "What is added up.", choices=GROUPS),
        ),
        example="?group_by=day",
        action="usage.read",
    ),
    Operation(
        "GET",
        "/v1/analytics/cost-optimization",
        "Analytics",
        "What could be saved",
        "What the account spends, what that comes to in a month, and what other models and kept answers would save,"
        " reckoned from its own requests. Only where ENABLE_COST_OPTIMIZATION is set.",
        {200: Answer("The sums, and how far to trust them.", CostOptimization)} | refusals(400, 401, 404, 429, 503),
        (Parameter("days", "query", "Of the last so many days, 1 to 366; 30 where it is left out.", "integer"),),
        example="?days=30",
        action="usage.read",
    ),
    Operation(
        "GET",
        "/v1/providers/status",
        "Routing",
        "How the providers stand",
        "Every provider and model: whether it rests, since when and why, how many calls fail, and how long they take.",
        {200: Answer("The latest minute.", ProvidersStatusView)} | refusals(401, 429, 503),
        action="models.read",
    ),
    Operation(
        "GET",
        "/v1/routing",
        "Routing",
        "The account's routing policy",
        "Aliases, fallback chains, and which providers may be asked.",
        {200: Answer("The policy.", RoutingPolicyView)} | refusals(401, 429, 503),
        action="routing.read",
    ),
    Operation(
        "PUT",
        "/v1/routing",
        "Routing",
        "Write the routing policy",
        "The whole of it; it holds for requests that come from now on.",
        {200: Answer("The policy.", RoutingPolicyView)} | refusals(400, 401, 429, 503),
        body=AccountPolicy,
        example='{"aliases": {"fast": "auto"}, "fallbacks": {}, "never": [], "optimize": "speed"}',
        action="routing.write",
    ),
    Operation(
        "DELETE",
        "/v1/routing",
        "Routing",
        "Delete the routing policy",
        "From now on the account has no wishes of its own.",
        {200: Answer("It is gone.", RoutingPolicyDeleted)} | refusals(401, 429, 503),
        action="routing.write",
    ),
    Operation(
        "POST",
        "/v1/api-keys",
        "API keys",
        "Make a key",
        "A key of the same account, shown this once. The key that asks needs the scope `keys`, and gives no right that it has "
        "not itself.",
        {201: Answer("The key.", NewKeyView)} | refusals(400, 401, 403, 503),
        body=KeyCreate,
        example='{"name": "batch", "scopes": ["chat"], "models": ["sandbox/echo"]}',
        action="keys.write",
    ),
    Operation(
        "GET",
        "/v1/api-keys",
        "API keys",
        "List keys",
        "The account's keys, newest first, with those that are over.",
        {200: Answer("One page.", KeyList)} | refusals(400, 401, 403, 503),
        (
            Parameter("limit", "query", "How many, 1 to 100.", "integer"),
            Parameter("after", "query", "Those older than this key."),
        ),
        example="?limit=10",
        action="keys.read",
    ),
    Operation(
        "GET",
        "/v1/api-keys/{id}",
        "API keys",
        "One key",
        "What it may do and when it was last used; the key itself is not kept.",
        {200: Answer("The key.", KeyView)} | refusals(401, 403, 404, 503),
        (_KEY,),
        action="keys.read",
    ),
    Operation(
        "PATCH",
        "/v1/api-keys/{id}",
        "API keys",
        "Change a key",
        "What is left out stays. It holds everywhere within seconds.",
        {200: Answer("The key.", KeyView)} | refusals(400, 401, 403, 404, 409, 503),
        (_KEY,),
        body=KeyChange,
        example='{"name": "nightly batch"}',
        action="keys.write",
    ),
    Operation(
        "DELETE",
        "/v1/api-keys/{id}",
        "API keys",
        "Revoke a key",
        "It opens nothing any more, everywhere within seconds. It stays in the list.",
        {200: Answer("The key.", KeyView)} | refusals(401, 403, 404, 503),
        (_KEY,),
        action="keys.write",
    ),
    Operation(
        "POST",
        "/v1/api-keys/{id}/rotate",
        "API keys",
        "Rotate a key",
        "A new key with the same rights; the old one goes on for `grace_s` seconds.",
        {201: Answer("The new key.", NewKeyView)} | refusals(400, 401, 403, 404, 409, 503),
        (_KEY,),
        body=KeyRotate,
        example='{"grace_s": 3600}',
        action="keys.write",
    ),
    *TEAM_OPERATIONS,
    *provider_keys.OPERATIONS,
    *audit.OPERATIONS,
    *LIMITS,
    *erasure.OPERATIONS,
    *export.OPERATIONS,
    *consents.OPERATIONS,
    *PEOPLE,
    *account_pages.OPERATIONS,
    *pages.OPERATIONS,
    Operation(
        "GET",
        "/livez",
        "Health",
        "The process runs",
        "Answers as long as the process does.",
        {200: Answer("It runs.", HealthView)},
        action=None,
    ),
    Operation(
        "GET",
        "/readyz",
        "Health",
        "Everything answers",
        "Log, cache and Postgres answer, migrations are at head.",
        {200: Answer("All answer.", HealthView), 503: Answer("`checks` says which does not.", HealthView)},
        action=None,
    ),
    Operation(
        "GET",
        "/health",
        "Health",
        "Everything answers, by its older name",
        "Another name of `/readyz`.",
        {200: Answer("All answer.", HealthView), 503: Answer("`checks` says which does not.", HealthView)},
        action=None,
    ),
    Operation(
        "GET",
        "/metrics",
        "Health",
        "Metrics",
        "The counts of this machine, for Prometheus.",
        {200: Answer("Prometheus' text format.", media="text/plain")},
        action=None,
    ),
    Operation(
        "GET",
        "/openapi.json",
        "Health",
        "This description",
        "OpenAPI 3.1, for programs.",
        {200: Answer("The document.")},
        action=None,
    ),
    Operation(
        "GET",
        "/docs",
        "Health",
        "This description, for people",
        "One page that needs nothing from elsewhere.",
        {200: Answer("The page.", media="text/html")},
        action=None,
    ),
)

NEEDS: Final[Mapping[tuple[str, str], Action]] = {
    (each.method, each.path): each.action for each in OPERATIONS if each.action is not None
}
"""What `identify` asks of whoever comes to (method, path)."""
