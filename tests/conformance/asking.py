"""Tools that ask the client: in a request of their own, as sessions could, or by an answer that wants more input."""

import json
from collections.abc import Mapping
from typing import TypeAlias

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

from tests.conformance.content import Ctx
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.strict import StrictServer

Answer: TypeAlias = str | InputRequiredResult

_DEFAULTS: JsonObject = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}


def _titled(**titles: str) -> list[JsonValue]:
    return [{"const": value, "title": title} for value, title in titles.items()]


_CHOICES: JsonObject = {
    "untitledSingle": {"type": "string", "enum": ["red", "green", "blue"]},
    "titledSingle": {"type": "string", "oneOf": _titled(low="Low", high="High")},
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["red", "green", "blue"]}},
    "titledMulti": {"type": "array", "items": {"anyOf": _titled(low="Low", high="High")}},
    "legacyEnum": {"type": "string", "enum": ["s", "m"], "enumNames": ["Small", "Medium"]},
}


def add_asking_tools(server: StrictServer) -> None:
    """Add the tools, and the prompt that asks, to a server."""
    for function in (sampling, elicitation, elicitation_sep1034_defaults, elicitation_sep1330_enums):
        server.add_tool(function, name=f"test_{function.__name__}")
    server.add_tool(ask_name, name="test_input_required_result_elicitation")
    server.add_tool(ask_name, name="test_streaming_elicitation")
    for asking in (ask_model, ask_roots, ask_with_state, ask_all, ask_twice, keep_state, ask_what_is_possible):
        server.add_tool(asking, name=f"test_input_required_result_{_NAMES[asking.__name__]}")
    server.prompt(name="test_input_required_result_prompt")(ask_context)


_NAMES: Mapping[str, str] = {
    "ask_model": "sampling",
    "ask_roots": "list_roots",
    "ask_with_state": "request_state",
    "ask_all": "multiple_inputs",
    "ask_twice": "multi_round",
    "keep_state": "tampered_state",
    "ask_what_is_possible": "capabilities",
}


def _schema(**properties: JsonValue) -> JsonObject:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _said(prompt: str) -> list[SamplingMessage]:
    return [SamplingMessage(role="user", content=TextContent(type="text", text=prompt))]


# In a request of their own, to clients that hold a session.


async def sampling(prompt: str, context: Ctx) -> str:
    """Has the client's model say something."""
    answer = await context.session.create_message(  # pyright: ignore[reportDeprecated] # what is examined
        _said(prompt), max_tokens=100, related_request_id=context.request_id
    )
    return f"LLM response: {_text_of(answer)}"


async def elicitation(message: str, context: Ctx) -> str:
    """Asks the user for a name and an address."""
    text: JsonObject = {"type": "string"}
    return await _elicit(context, message, _schema(username=text, email=text))


async def elicitation_sep1034_defaults(context: Ctx) -> str:
    """Asks the user for what has defaults."""
    return await _elicit(context, "Please check", {"type": "object", "properties": _DEFAULTS})


async def elicitation_sep1330_enums(context: Ctx) -> str:
    """Asks the user to choose."""
    return await _elicit(context, "Please choose", _schema(**_CHOICES))


async def _elicit(context: Ctx, message: str, schema: JsonObject) -> str:
    result = await context.session.elicit_form(message, schema, context.request_id)
    return f"User response: action={result.action}, content={json.dumps(result.content or {})}"


# By an answer that wants more input, to any client.


def _ask_for(message: str, **properties: JsonValue) -> ElicitRequest:
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=_schema(**properties)))


def _ask_a_name(message: str = "What is your name?") -> ElicitRequest:
    return _ask_for(message, name={"type": "string"})


def _ask_a_model(prompt: str, max_tokens: int) -> CreateMessageRequest:
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=_said(prompt), max_tokens=max_tokens))


def _wanted(requests: Mapping[str, InputRequest], state: str | None = None) -> InputRequiredResult:
    return InputRequiredResult(input_requests=dict(requests), request_state=state)


def _field(context: Ctx, key: str, name: str) -> str | None:
    """What the user wrote into a form's field; ``None`` before, and when nothing was."""
    form = (context.input_responses or {}).get(key)
    value = form.content.get(name) if isinstance(form, ElicitResult) and form.content else None
    return value if isinstance(value, str) else None


def _text_of(answer: CreateMessageResult) -> str:
    if answer.content.type != "text":
        raise ToolError(f"expected a text, not {answer.content.type}")
    return answer.content.text


async def ask_name(context: Ctx) -> Answer:
    """Asks for a name and greets."""
    name = _field(context, "user_name", "name")
    return _wanted({"user_name": _ask_a_name()}) if name is None else f"Hello, {name}!"


async def ask_model(context: Ctx) -> Answer:
    """Asks the client's model."""
    answer = (context.input_responses or {}).get("capital_question")
    if isinstance(answer, CreateMessageResult):
        return _text_of(answer)
    return _wanted({"capital_question": _ask_a_model("What is the capital of France?", 100)})


async def ask_roots(context: Ctx) -> Answer:
    """Asks which folders the client shows."""
    answer = (context.input_responses or {}).get("client_roots")
    if isinstance(answer, ListRootsResult):
        return "roots: " + ", ".join(str(root.uri) for root in answer.roots)
    return _wanted({"client_roots": ListRootsRequest()})


async def ask_with_state(context: Ctx) -> Answer:
    """Asks, and knows its own question again by the state."""
    if context.request_state == "asked" and "confirm" in (context.input_responses or {}):
        return "state-ok"
    return _wanted({"confirm": _ask_for("Please confirm", ok={"type": "boolean"})}, "asked")


async def ask_all(context: Ctx) -> Answer:
    """Asks everything at once."""
    requests: Mapping[str, InputRequest] = {
        "user_name": _ask_a_name(),
        "greeting": _ask_a_model("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    return "all answered" if requests.keys() <= (context.input_responses or {}).keys() else _wanted(requests, "all")


async def ask_twice(context: Ctx) -> Answer:
    """Asks for a name, then for a colour; the state carries the name."""
    name, colour = _field(context, "step1", "name"), _field(context, "step2", "color")
    if colour is not None and context.request_state is not None:
        return f"{context.request_state.removeprefix('name:')} likes {colour}"
    if name is not None:
        question = _ask_for("Step 2: What is your favorite color?", color={"type": "string"})
        return _wanted({"step2": question}, f"name:{name}")
    return _wanted({"step1": _ask_a_name("Step 1: What is your name?")}, "first")


async def keep_state(context: Ctx) -> Answer:
    """Trusts its state, because the server refuses one that was tampered with."""
    if context.request_state is not None:
        return f"state-ok: {context.request_state}"
    return _wanted({"confirm": _ask_for("Please confirm", ok={"type": "boolean"})}, "sealed")


async def ask_what_is_possible(context: Ctx) -> Answer:
    """Asks only what the client said that it can answer."""
    able = context.client_capabilities
    requests: dict[str, InputRequest] = {}
    if able is not None and able.sampling is not None:
        requests["greeting"] = _ask_a_model("Say hello", 50)
    if able is not None and able.elicitation is not None:
        requests["user_name"] = _ask_a_name()
    return _wanted(requests, "asked")


async def ask_context(context: Ctx) -> list[UserMessage] | InputRequiredResult:
    """Asks for the context of a prompt."""
    given = _field(context, "user_context", "context")
    if given is None:
        question = _ask_for("What context should the prompt use?", context={"type": "string"})
        return _wanted({"user_context": question})
    return [UserMessage(f"Use this context: {given}")]
