"""The json_schema grader: JSON Schema (draft 2020-12 or 7) on a budget of steps; no reference leaves it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import jsonschema
import referencing
import referencing.exceptions
import referencing.jsonschema
import regex

from edge_es.errors import InputError
from edge_es.graders import pattern as patterns

MAX_SCHEMA = 20_000  # characters of JSON
MAX_STEPS = 20_000  # keywords evaluated on one answer; beyond it the answer scores 0
SECONDS = 0.05  # for one pattern on one text

_DEFAULT = "https://json-schema.org/draft/2020-12/schema"
_DRAFT7 = "http://json-schema.org/draft-07/schema"
_DRAFTS: dict[str, tuple[Any, Any]] = {
    _DEFAULT: (jsonschema.Draft202012Validator, referencing.jsonschema.DRAFT202012),
    _DRAFT7: (jsonschema.Draft7Validator, referencing.jsonschema.DRAFT7),
}
# Each of these either leaves the schema, or takes time that the budget of steps does not see.
_REFUSED = ("$dynamicRef", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties", "patternProperties")
_MAPS = ("properties", "$defs", "definitions", "dependentSchemas", "dependencies")  # name -> schema
_DATA = ("const", "enum", "default", "examples")  # no schemas in them

_steps_left: ContextVar[list[int]] = ContextVar("steps_left")


class _Spent(Exception):
    """The budget of steps, or a pattern's time, is used up."""


def _pattern(_validator: Any, wanted: str, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, str):
        try:
            found = regex.search(wanted, instance, timeout=SECONDS, concurrent=True)
        except TimeoutError:
            raise _Spent from None
        if found is None:
            yield jsonschema.ValidationError("the pattern does not match")


def _counted(keyword: str, check: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def counted(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        left = _steps_left.get()
        quadratic = keyword == "uniqueItems" and isinstance(instance, list)
        left[0] -= 1 + (len(instance) ** 2 // 64 if quadratic else 0)
        if left[0] < 0:
            raise _Spent
        yield from check(validator, value, instance, schema) or ()

    return counted


def _on_a_budget(draft: Any) -> Any:
    keywords = {**draft.VALIDATORS, "pattern": _pattern}
    return jsonschema.validators.extend(draft, {name: _counted(name, check) for name, check in keywords.items()})


_VALIDATORS = {name: _on_a_budget(draft) for name, (draft, _) in _DRAFTS.items()}


def _draft(schema: Mapping[str, Any]) -> str:
    name = schema.get("$schema", _DEFAULT)
    name = name.rstrip("#") if isinstance(name, str) else name
    if name not in _DRAFTS:
        raise InputError(f"the schema's $schema must be one of {', '.join(_DRAFTS)}", "grader.schema")
    return str(name)


def _subschemas(node: Any) -> Iterator[dict[str, Any]]:
    """The schema itself and every schema in it. Raises RecursionError on absurd nesting."""
    if isinstance(node, list):
        for inner in node:
            yield from _subschemas(inner)
    elif isinstance(node, dict):
        yield node
        for keyword, value in node.items():
            if keyword in _MAPS and isinstance(value, dict):
                yield from _subschemas(list(value.values()))
            elif keyword not in _DATA:
                yield from _subschemas(value)


def check(grader: Mapping[str, Any]) -> None:
    """Raises InputError naming the field."""
    schema = grader["schema"]
    if not isinstance(schema, dict):
        raise InputError("a json_schema grader's schema must be an object", "grader.schema")
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise InputError("a json_schema grader's schema must be plain JSON without NaN", "grader.schema") from None
    if len(text) > MAX_SCHEMA:
        raise InputError(f"the schema has {len(text)} characters of JSON; at most {MAX_SCHEMA}", "grader.schema")
    draft, specification = _DRAFTS[_draft(schema)]
    try:
        draft.check_schema(schema)
        _check_subschemas(schema, specification)
    except jsonschema.SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "its root"
        raise InputError(f"the JSON schema is wrong at {place}: {error.message[:200]}", "grader.schema") from None
    except RecursionError:
        raise InputError("the JSON schema is nested too deeply", "grader.schema") from None


def _check_subschemas(schema: dict[str, Any], specification: Any) -> None:
    resolver = referencing.Registry().resolver_with_root(specification.create_resource(schema))
    for inner in _subschemas(schema):
        for keyword in _REFUSED:
            if keyword in inner:
                raise InputError(f"the JSON schema uses {keyword}, which is not supported", "grader.schema")
        if "$id" in inner and inner is not schema:
            raise InputError("the JSON schema has a $id below its root; remove it", "grader.schema")
        if isinstance(inner.get("pattern"), str):
            patterns.check({"pattern": inner["pattern"]})
        reference = inner.get("$ref")
        if isinstance(reference, str):
            if not reference.startswith("#"):
                raise InputError(
                    f"the JSON schema refers to {reference[:80]!r}; only #/... within it is followed",
                    "grader.schema",
                )
            try:
                resolver.lookup(reference)
            except (referencing.exceptions.Unresolvable, ValueError, TypeError, LookupError):
                raise InputError(f"the JSON schema has nothing at {reference[:80]!r}", "grader.schema") from None


@lru_cache(maxsize=256)
def _validator(text: str) -> Any:
    schema = json.loads(text)
    # An empty registry retrieves nothing: jsonschema's own default would fetch a remote schema.
    return _VALIDATORS[_draft(schema)](schema, registry=referencing.Registry())


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def score(grader: Mapping[str, Any], answer: str) -> float:
    """1 if the answer is JSON that the schema admits. A schema that is too costly on this answer scores 0."""
    validator = _validator(json.dumps(grader["schema"]))
    token = _steps_left.set([MAX_STEPS])
    try:
        return float(validator.is_valid(json.loads(answer, parse_constant=_no_constant)))
    except (_Spent, RecursionError, ArithmeticError, ValueError):
        return 0.0
    finally:
        _steps_left.reset(token)
