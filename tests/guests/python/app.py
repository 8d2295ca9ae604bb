"""An agent in Python, built by componentize-py: it proves that another
language's usual tool makes components that sleep and move.

| method  | payload | answer |
|---------|---------|--------|
| `add`   | number  | the new total |
| `total` |         | the total |
| `words` | text    | how many different words it was given so far, kept in a dict |
| `print` | text    | how often it has printed; the text goes to stdout and the agent's log |
| `send`  | `to method` | sends the total on |
| `fail`  | text    | the failure `asked-to-fail` |
"""

import json
from typing import Any

import wit_world
from componentize_py_types import Err
from wit_world.exports import Handler as HandlerProtocol
from wit_world.imports import log, messaging
from wit_world.imports.types import (
    Body,
    Body_Message,
    ContentType,
    Delivery,
    Failure,
    Level,
    Outcome,
    Outcome_Failed,
    Outcome_Ok,
    Payload,
)

total = 0
printed = 0
words: dict[str, int] = {}


def payload(value: Any = None) -> Payload:
    if value is None:
        return Payload(ContentType.NONE, b"")
    return Payload(ContentType.JSON, json.dumps(value).encode())


def failed(code: str, message: str) -> Outcome:
    return Outcome_Failed(Failure(code, message, payload()))


class Handler(HandlerProtocol):
    def init(self, config: Payload) -> None:
        if config.bytes == b'"fail"':
            raise Err("as it was told to")

    def handle(self, input: Body) -> Outcome:
        global total, printed
        if not isinstance(input, Body_Message):
            return Outcome_Ok(payload())
        message = input.value
        given = json.loads(message.payload.bytes) if message.payload.bytes else None
        match message.method:
            case "add":
                total += given
                return Outcome_Ok(payload(total))
            case "total":
                return Outcome_Ok(payload(total))
            case "words":
                for word in given.split():
                    words[word] = words.get(word, 0) + 1
                return Outcome_Ok(payload(len(words)))
            case "print":
                printed += 1
                print(f"{printed}: {given}", flush=True)
                log.write(Level.INFO, given)
                return Outcome_Ok(payload(printed))
            case "send":
                to, method = given.split()
                messaging.send(to, method, payload(total), Delivery.EXACTLY_ONCE)
                return Outcome_Ok(payload())
            case "fail":
                return failed("asked-to-fail", given)
            case other:
                return failed("no-such-method", other)
