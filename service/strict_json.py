"""JSON as strictly as an API should read it: what is ambiguous or cannot be stored is refused, and the field named."""

import json
import math
from typing import Any

from edge_es.errors import InputError
from service.errors import field_name


class _Pairs(dict[str, Any]):
    """An object that remembers a key that came twice."""

    twice: str | None = None


def _pairs(pairs: list[tuple[str, Any]]) -> _Pairs:
    found = _Pairs(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        found.twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return found


def _check(value: Any, path: tuple[int | str, ...]) -> Any:
    """The value as plain dicts. Raises InputError on what JSON forbids, or UTF-8 cannot carry."""
    match value:
        case _Pairs():
            if value.twice is not None:
                name = field_name((*path, value.twice))
                raise InputError(f"{name}: the key comes twice", name)
            return {_check(key, path): _check(item, (*path, key)) for key, item in value.items()}
        case list():
            return [_check(item, (*path, i)) for i, item in enumerate(value)]
        case float() if not math.isfinite(value):
            raise InputError(f"{field_name(path) or 'body'}: numbers must be finite", field_name(path) or None)
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                where = field_name(tuple(p for p in path if isinstance(p, int) or p.isprintable()))
                raise InputError(f"{where or 'body'}: half a surrogate pair is no text", where or None) from None
    return value


def parse(data: bytes) -> Any:
    """The value. Raises InputError: broken JSON, NaN or infinity, a key twice, half a character, deep nesting."""
    try:
        return _check(json.loads(data.decode("utf-8"), object_pairs_hook=_pairs), ())
    except UnicodeDecodeError as error:
        raise InputError(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise InputError(f"the body is no JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise InputError("the body is nested too deeply") from None
    except ValueError:  # an integer of thousands of digits
        raise InputError("the body holds a number that is too long") from None


def parse_object(data: bytes) -> dict[str, Any]:
    """`parse`, where an object is expected. Raises InputError as it does, and for another value."""
    value = parse(data)
    if not isinstance(value, dict):
        raise InputError("the body must be a JSON object")
    return value
