"""The OpenAPI document of the server, made from its routes and messages."""

from typing import Any, get_type_hints

import msgspec

from ultragcn import __version__
from ultragcn.serving import messages
from ultragcn.serving.routes import JSON, ROUTES, TEXT, Route

_SAYS = {
    400: "The request cannot be read; the sentence says why.",
    401: "The key is missing, or it is another one.",
    404: "The model does not know this id.",
    405: "The path has no such method.",
    408: "The request did not arrive in time.",
    413: "The request is too long.",
    421: "The server does not answer under this host name.",
    422: "The question cannot be meant; the sentence says why.",
    431: "The request line and the headers are too long.",
    503: "The server has too much to do, or is ending; ask again after Retry-After seconds.",
}
_EVERYWHERE = (400, 405, 421, 431)
"""Statuses that any request may get: its query cannot be read, its method is another one, or its Host header is not allowed."""


_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}}}


def document(needs_key: bool) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document; with a key, every operation demands it."""
    forms = {form for route in ROUTES for form in (route.answer, *((route.form,) if route.in_body else ()))} | {
        messages.Problem,
        messages.State,
    }
    _, schemas = msgspec.json.schema_components(sorted(forms, key=str), ref_template="#/components/schemas/{name}")
    for form in forms:
        _add_other_names(schemas.get(form.__name__, {}))
    _add_other_names(schemas["ListQuestion"])
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, needs_key)
    paths["/metrics"] = {
        "get": _plain("metrics", "Metrics in the text format of Prometheus", TEXT.partition(";")[0], {"type": "string"}, needs_key)
    }
    paths["/openapi.json"] = {"get": _plain("openapi", "This document", JSON, {"type": "object"}, needs_key)}
    state = _reference(messages.State)
    for name, path, summary in (
        ("live", "/health/live", "Say whether the process works"),
        ("ready", "/health/ready", "Say whether every question is answered"),
    ):
        paths[path] = {"get": _plain(name, summary, JSON, state, False)}
    paths["/health/ready"]["get"]["responses"]["503"] = {
        "description": "The server is starting, or it is ending; ask again after Retry-After seconds.",
        "content": {JSON: {"schema": state}}, "headers": _RETRY_AFTER,
    }  # fmt: skip
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "ultragcn", "version": __version__,
            "description": "Recommendations of one model. What a request says is not stored. Rules are those of the library.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }  # fmt: skip
    if needs_key:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return made


def _operation(route: Route, needs_key: bool) -> dict[str, Any]:
    made: dict[str, Any] = {"operationId": route.name, "summary": route.summary, "parameters": []}
    if route.parameter:
        schema = {"type": "string", "minLength": 1, "maxLength": messages.MOST_CHARACTERS}
        made["parameters"].append({"name": route.parameter, "in": "path", "required": True, "schema": schema})
    if route.in_body:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": _reference(route.form)}}}
    else:
        made["parameters"] += _query(route.form)
    made["responses"] = {"200": {"description": "The answer.", "content": {JSON: {"schema": _reference(route.answer)}}}}
    return made | _closing(made, route.statuses, needs_key)


def _plain(name: str, summary: str, kind: str, schema: dict[str, Any], needs_key: bool) -> dict[str, Any]:
    made = {
        "operationId": name, "summary": summary, "parameters": [],
        "responses": {"200": {"description": summary, "content": {kind: {"schema": schema}}}},
    }  # fmt: skip
    return made | _closing(made, (), needs_key)


def _closing(made: dict[str, Any], statuses: tuple[int, ...], needs_key: bool) -> dict[str, Any]:
    """Return the answers that say why there is none, and the demand for a key."""
    responses = dict(made["responses"])
    for status in sorted({*_EVERYWHERE, *statuses, *((401,) if needs_key else ())}):
        responses[str(status)] = {"description": _SAYS[status], "content": {JSON: {"schema": _reference(messages.Problem)}}}
        if status == 503:
            responses["503"]["headers"] = _RETRY_AFTER
    return {"responses": responses} | ({"security": [{"key": []}]} if needs_key else {})


def _reference(form: type[Any]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{form.__name__}"}


def _query(form: type[Any]) -> list[dict[str, Any]]:
    """Return the parameters that `messages.from_query` reads."""
    found = []
    hints = get_type_hints(form, include_extras=True)
    required = {one.name for one in msgspec.structs.fields(form) if one.required}
    for name, hint in hints.items():
        [schema], _ = msgspec.json.schema_components([hint])
        described = {"description": schema.pop("description")} if "description" in schema else {}
        if name == "values":
            pair = {"type": "string", "pattern": r"^\w+=", "maxLength": messages.MOST_CHARACTERS}
            name, schema = "value", {"type": "array", "items": pair}
            described = {"description": "NAME=VALUE: what a placeholder of a named rule stands for. A name given twice has a list."}
        elif name == "max_per":
            schema = {"type": "array", "items": {"type": "string", "pattern": r"^[^=]+=[1-9][0-9]{0,2}$"}, "maxItems": 8}
            described = {"description": "COLUMN=N: at most N items with the same value of a column of the items table."}
        schema = _without_null(schema)
        exploded = {"style": "form", "explode": True} if schema.get("type") == "array" else {}
        found.append({"name": name, "in": "query", "required": name in required, "schema": schema} | described | exploded)
        for other, ours in messages.OTHER_NAMES.items():
            if ours == name:
                plain = {key: value for key, value in schema.items() if key != "default"}
                found.append({"name": other, "in": "query", "required": False, "schema": plain, "description": _other(ours)})
    return found


def _other(ours: str) -> str:
    return f"Another name for {ours}; give one of the two."


def _add_other_names(schema: dict[str, Any]) -> None:
    """Add the other names of fields to the schema of what is asked in a body."""
    if schema.get("additionalProperties") is not False:  # an answer
        return
    known, required = schema["properties"], schema.get("required", [])
    for other, ours in messages.OTHER_NAMES.items():
        if ours not in known or other in known:
            continue
        known[other] = {key: value for key, value in known[ours].items() if key != "default"} | {"description": _other(ours)}
        if ours in required:
            required.remove(ours)
            schema.setdefault("allOf", []).append({"oneOf": [{"required": [ours]}, {"required": [other]}]})
        else:
            schema.setdefault("allOf", []).append({"not": {"required": [ours, other]}})


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without null, which a URL cannot say."""
    if "anyOf" in schema:
        kept = [one for one in schema["anyOf"] if one.get("type") != "null"]
        schema = {name: value for name, value in schema.items() if name not in ("anyOf", "default")} | (
            kept[0] if len(kept) == 1 else {"anyOf": kept}
        )
    if isinstance(schema.get("enum"), list):
        schema = schema | {"enum": [value for value in schema["enum"] if value is not None]}
    return {name: value for name, value in schema.items() if not (name == "default" and value is None)}
