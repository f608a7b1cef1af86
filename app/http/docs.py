"""`/docs`: the description for people, one page of plain HTML written from the table of operations.

One rule: it loads nothing, from nowhere: no script, no font, no picture; its style is within it and its policy says so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from app.http.openapi import VERSION, Json, schemas
from app.http.operation import Operation
from app.http.operations import OPERATIONS

_STYLE: Final = (Path(__file__).parent / "static" / "docs.css").read_text()

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

BASE_URL: Final = "http://127.0.0.1:8000"
"""What `up` listens on where nobody said otherwise. The page does not trust the Host header to know better."""


def routes() -> list[Route]:
    return [Route("/docs", show, methods=["GET"])]


async def show(request: Request) -> Response:
    return HTMLResponse(page(), headers=_HEADERS)


@cache
def page() -> str:
    """The whole page."""
    groups = dict.fromkeys(each.group for each in OPERATIONS)
    contents = "".join(_contents(group) for group in groups)
    sections = "".join(_section(group) for group in groups)
    shapes = "".join(_shape(name, cast(Json, schema)) for name, schema in schemas().items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Helix API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>"
        f'<nav aria-label="Contents"><p class="brand">Helix <small>{VERSION}</small></p>{contents}'
        '<h2>Shapes</h2><ul><li><a href="#shapes">All shapes</a></li></ul></nav><main>'
        f'<h1>Helix API</h1>{_INTRODUCTION}{sections}<h2 id="shapes">Shapes</h2>{shapes}</main></body></html>'
    )


_INTRODUCTION: Final = (
    '<p class="lead">One API in front of every LLM, on a log that loses nothing and bills once.</p>'
    "<p>Send your key as <code>Authorization: Bearer hx_user_…</code> or <code>x-api-key: hx_user_…</code>. Every "
    "answer carries <code>x-request-id</code>; errors have OpenAI&rsquo;s shape. Any OpenAI SDK works with its base URL "
    "changed:</p>"
    "<pre><code>from openai import OpenAI\n\n"
    f'client = OpenAI(base_url="{BASE_URL}/v1", api_key="hx_user_…")\n'
    'client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello!"}])</code></pre>'
    "<p>With <code>x-helix-account: ID</code> a person acts for a team that he belongs to, in his role there.</p>"
    '<p>For programs: <a href="/openapi.json">OpenAPI 3.1</a>.</p>'
)


def _of(group: str) -> list[Operation]:
    return [each for each in OPERATIONS if each.group == group]


def _anchor(each: Operation) -> str:
    return each.method.lower() + re.sub(r"[^a-z]+", "-", each.path).rstrip("-")


def _contents(group: str) -> str:
    rows = "".join(f'<li><a href="#{_anchor(each)}">{escape(each.title)}</a></li>' for each in _of(group))
    return f"<h2>{escape(group)}</h2><ul>{rows}</ul>"


def _section(group: str) -> str:
    return f"<h2>{escape(group)}</h2>" + "".join(_operation(each) for each in _of(group))


def _operation(each: Operation) -> str:
    needs = f"<code>{each.action}</code>" if each.action else "no key"
    key = f'<span class="open">{needs}</span>'
    said = [
        f'<article id="{_anchor(each)}"><h3>{escape(each.title)}</h3>',
        f'<p class="route"><b class="{each.method.lower()}">{each.method}</b> <code>{escape(each.path)}</code>{key}</p>',
        f"<p>{_prose(each.about)}</p>",
    ]
    if each.parameters:
        rows = [
            (f"<code>{escape(one.name)}</code>", one.where, _prose(one.meaning) + _choices(one.choices))
            for one in each.parameters
        ]
        said.append(_table(("Parameter", "In", "Meaning"), rows))
    if each.body:
        said.append(f"<p>Body: {_link(each.body.__name__)}</p>")
    said.append(
        _table(
            ("Status", "Meaning", "Body"),
            [
                (str(status), _prose(answer.meaning), _link(answer.shape.__name__) if answer.shape else answer.media)
                for status, answer in each.answers.items()
            ],
        )
    )
    said.append(f"<pre><code>{escape(_curl(each))}</code></pre></article>")
    return "".join(said)


def _curl(each: Operation) -> str:
    lines = [f"curl {BASE_URL}{each.path.replace('{id}', 'ID')}{'' if each.body else each.example}"]
    if "?" in lines[0]:
        lines = [lines[0].replace("curl ", "curl '", 1) + "'"]
    if each.needs_key:
        lines.append('-H "Authorization: Bearer $HELIX_API_KEY"')
    if each.body:
        lines += ["-H 'Content-Type: application/json'", f"-d '{each.example}'"]
    elif each.method == "POST":
        lines.append("-X POST")
    return " \\\n  ".join(lines)


def _shape(name: str, schema: Json) -> str:
    needed = cast(list[str], schema.get("required", []))
    rows = [
        (
            f"<code>{escape(field)}</code>" + (" <i>required</i>" if field in needed else ""),
            _type(cast(Json, of)),
            _prose(str(cast(Json, of).get("description", ""))),
        )
        for field, of in cast(dict[str, object], schema.get("properties", {})).items()
    ]
    about = _prose(str(schema.get("description", "")))
    return f'<article id="{name}"><h3>{name}</h3><p>{about}</p>{_table(("Field", "Type", "Meaning"), rows)}</article>'


def _type(of: Json) -> str:
    """A JSON Schema in a few words, with links to the shapes it names."""
    if "$ref" in of:
        return _link(str(of["$ref"]).rpartition("/")[2])
    if "anyOf" in of:
        return " or ".join(_type(kind) for kind in cast(list[Json], of["anyOf"]))
    if "const" in of or "enum" in of:
        return " · ".join(f"<code>{escape(json.dumps(value))}</code>" for value in _values(of))
    kind = str(of.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(cast(Json, of.get('items', {})))}"
    bounds = [f"{word} {of[key]}" for key, word in _BOUNDS.items() if key in of]
    return escape(kind) + (f" <small>{escape(', '.join(bounds))}</small>" if bounds else "")


_BOUNDS: Final = {
    "minimum": "from",
    "maximum": "to",
    "minLength": "at least",
    "maxLength": "at most",
    "pattern": "like",
}


def _values(of: Json) -> list[object]:
    return cast(list[object], of["enum"]) if "enum" in of else [of["const"]]


def _link(shape: str) -> str:
    return f'<a href="#{escape(shape)}">{escape(shape)}</a>'


def _choices(choices: tuple[str, ...]) -> str:
    return " One of " + ", ".join(f"<code>{escape(one)}</code>" for one in choices) + "." if choices else ""


def _prose(said: str) -> str:
    """Text, with what stands in backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(said))


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """`rows` are HTML already."""
    if not rows:
        return ""
    head = "".join(f"<th>{one}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
