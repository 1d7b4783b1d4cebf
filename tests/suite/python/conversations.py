"""Prints random post_call_transcription webhooks, one for each line.

usage: conversations.py COUNT SEED

The script builds them from the models of the official SDK: each field has a value of its declared type, and optional
fields are present half of the time. The model validates each conversation before it is printed.
"""

import datetime
import json
import random
import sys
import typing

import pydantic
from elevenlabs.types.get_conversation_response_model import GetConversationResponseModel

COUNT, SEED = int(sys.argv[1]), int(sys.argv[2])
MAX_DEPTH = 7
WORDS = ["", "ok", "Grüße", "新しい", "a.b", "$where", "line\nbreak", "quote\"", "\U0001f600", "0", " "]
random.seed(SEED)


def value(kind, depth):
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return value(args[0], depth)
    if origin is typing.Union:
        # A value of type Any stands for values that the SDK does not know yet.
        choices = [arg for arg in args if arg is not type(None)]
        if type(None) in args and random.random() < 0.3:
            return None
        return value(random.choice(choices), depth)
    if origin is typing.Literal:
        return random.choice(args)
    if origin in (list, typing.List) or kind in (list, typing.List):
        size = 0 if depth > MAX_DEPTH else random.randint(0, 3)
        return [value(args[0] if args else str, depth + 1) for _ in range(size)]
    if origin in (dict, typing.Dict) or kind in (dict, typing.Dict):
        size = 0 if depth > MAX_DEPTH else random.randint(0, 2)
        return {text() + str(n): value(args[1] if args else str, depth + 1) for n in range(size)}
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return model(kind, depth + 1)
    if kind is bool:
        return random.random() < 0.5
    if kind is int:
        return random.choice([0, 1, -1, 59, 1_790_000_000, 2**40])
    if kind is float:
        return random.choice([0.0, 1.5, -2.25, 1e12])
    if kind is datetime.datetime:
        return "2026-09-22T12:00:00Z"
    if kind is str:
        return text()
    return random.choice([None, "new word", 7, 1.25, True, [], {}, {"a": [1, {"b": None}]}])


def text():
    return random.choice(WORDS) or "".join(random.choices("abc_-09", k=random.randint(0, 12)))


def model(kind, depth):
    made = {}
    for name, field in kind.model_fields.items():
        optional = not field.is_required()
        if optional and (depth > MAX_DEPTH or random.random() < 0.5):
            continue
        made[field.alias or name] = value(field.annotation, depth)
    return made


for n in range(COUNT):
    data = model(GetConversationResponseModel, 0)
    data["conversation_id"] = f"conv_{SEED}_{n}"  # The model allows any text. The vendor uses this form.
    data["status"] = random.choice(["done", "failed"])  # Webhooks are sent for finished conversations only.
    if (data["metadata"].get("phone_call") or {}).get("call_sid"):
        data["metadata"]["phone_call"]["call_sid"] = f"CA{SEED}_{n}"  # Each conversation has its own call.
    GetConversationResponseModel.model_validate(data)
    print(json.dumps({"type": "post_call_transcription", "event_timestamp": 1_790_000_000 + n, "data": data}))
