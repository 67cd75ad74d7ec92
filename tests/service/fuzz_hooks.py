"""What schemathesis has to be told: how a body of JSON Lines is made."""

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st

MEDIA_TYPES = ("application/x-ndjson", "application/jsonl")
LINES = st.lists(
    st.sampled_from(
        [
            {"input": {"prompt": "2+2="}, "metric_name": "demonstration", "value": "4"},
            {"input": {"prompt": "2+2="}, "grader": {"type": "numeric", "reference": 4}},
            {"input": {}, "metric_name": "thumbs", "value": True},
            {
                "id": "0190b0c3-7f2a-7c4e-9d5a-1f3b5c7d9e01",
                "input": {"prompt": "a"},
                "metric_name": "comment",
                "value": "b",
            },
        ]
    ).map(json.dumps)
    | st.text(max_size=30)
)
for media_type in MEDIA_TYPES:
    schemathesis.openapi.media_type(media_type, LINES.map("\n".join).map(str.encode))


@schemathesis.hook
def before_load_schema(_: Any, raw_schema: dict[str, Any]) -> None:
    """An example that is a text cannot stand beside a strategy for bytes: those of JSON Lines are sent by the tests."""
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                if media_type in MEDIA_TYPES:
                    content.pop("example", None)
