"""What is asked: a text or a whole request in the form that a provider's counting API takes.

A request in the provider's own format goes as it is. Another one is converted only where that is one to one: texts
and, for OpenAI, function calls and their outputs. Everything else is refused with a reason.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from tokenward.engine.counting.tool_definitions import ToolDefinition, read_tools
from tokenward.engine.messages import read_messages
from tokenward.engine.messages.view import Conversation, Format, Message, Part
from tokenward.engine.types import JsonObject, JsonValue
from tokenward.providers.endpoints import Endpoint, NotCounted
from tokenward.providers.urls import ProviderName


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request, as it was given and counted in process."""

    messages: Sequence[JsonObject]
    format: Format
    tools: Sequence[JsonObject] = ()
    tool_choice: JsonValue = None
    system: JsonValue = None


@dataclass(frozen=True, slots=True)
class Question:
    """A body to send; ``own`` says whether it is the very request and not a conversion."""

    body: JsonObject
    own: bool


def text_body(provider: ProviderName, model: str, text: str) -> JsonObject:
    """A text as the only message of a user."""
    match provider:
        case "anthropic":
            return {"model": model, "messages": [{"role": "user", "content": text}]}
        case "gemini":
            return {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        case "openai":
            return {"model": model, "input": text}


def request_body(endpoint: Endpoint, model: str, request: Request) -> Question:
    """A whole request. Raises NotCounted."""
    same_format = request.format == endpoint.format
    if same_format:
        messages, system = list[JsonValue](request.messages), _own_system(endpoint, request.system)
    else:
        conversation = read_messages(request.messages, request.format, request.system)
        messages, system = _CONVERSIONS[endpoint.name](conversation)
    tools, own_tools = _tools(endpoint, request.tools)
    choice = _tool_choice(endpoint, request.tool_choice)
    body = _BODIES[endpoint.name](model, messages, system, tools, choice)
    return Question(body, same_format and own_tools)


# Bodies -------------------------------------------------------------------------------------------------------------


def _anthropic_body(
    model: str, messages: list[JsonValue], system: JsonValue, tools: list[JsonValue], choice: JsonValue
) -> JsonObject:
    body: JsonObject = {"model": model, "messages": messages}
    return body | _given(system=system, tools=tools, tool_choice=choice)


def _gemini_body(
    model: str, contents: list[JsonValue], system: JsonValue, tools: list[JsonValue], choice: JsonValue
) -> JsonObject:
    if not (system or tools or choice):
        return {"contents": contents}
    body: JsonObject = {"model": f"models/{model}", "contents": contents}
    return {"generateContentRequest": body | _given(systemInstruction=system, tools=tools, toolConfig=choice)}


def _openai_body(
    model: str, items: list[JsonValue], system: JsonValue, tools: list[JsonValue], choice: JsonValue
) -> JsonObject:
    body: JsonObject = {"model": model, "input": items}
    return body | _given(instructions=system, tools=tools, tool_choice=choice)


def _given(**fields: JsonValue) -> JsonObject:
    return {name: value for name, value in fields.items() if value}


_BODIES: Final[
    dict[ProviderName, Callable[[str, list[JsonValue], JsonValue, list[JsonValue], JsonValue], JsonObject]]
] = {"anthropic": _anthropic_body, "gemini": _gemini_body, "openai": _openai_body}


def _own_system(endpoint: Endpoint, system: JsonValue) -> JsonValue:
    """System text beside messages of the provider's own format."""
    match endpoint.name, system:
        case "gemini", str():
            return {"parts": [{"text": system}]} if system else None
        case (_, None) | ("anthropic" | "openai", str()) | ("anthropic", list()) | ("gemini", dict()):
            return system
        case _:
            raise NotCounted(f"the system text is not in a form of {endpoint.label}'s API")


# Tools --------------------------------------------------------------------------------------------------------------


def _tools(endpoint: Endpoint, tools: Sequence[JsonObject]) -> tuple[list[JsonValue], bool]:
    """The definitions in the provider's spelling, and whether they were in it already."""
    if all(_is_own_tool(endpoint.name, tool) for tool in tools):
        return list[JsonValue](tools), True
    definitions = read_tools(tools)
    if not all(one.name for one in definitions):
        raise NotCounted(f"a tool is not in a form of {endpoint.label}'s API")
    if endpoint.name == "gemini":
        return [{"functionDeclarations": [_tool(endpoint.name, one) for one in definitions]}], False
    return [_tool(endpoint.name, one) for one in definitions], False


def _is_own_tool(provider: ProviderName, tool: JsonObject) -> bool:
    match provider:
        case "anthropic":
            return "input_schema" in tool or ("function" not in tool and tool.get("type", "function") != "function")
        case "gemini":
            return not {"name", "function", "type"} & tool.keys()
        case "openai":
            return "type" in tool and not {"function", "input_schema"} & tool.keys()


def _tool(provider: ProviderName, tool: ToolDefinition) -> JsonObject:
    spelled: JsonObject = {"name": tool.name}
    if tool.description:
        spelled["description"] = tool.description
    schema: JsonObject = tool.parameters or {"type": "object", "properties": {}}
    match provider:
        case "anthropic":
            spelled["input_schema"] = schema
        case "gemini":
            # It takes no object without properties; without parameters there is nothing to give.
            if tool.parameters:
                spelled["parameters"] = schema
        case "openai":
            # Left out, strict is true there and false in a chat request.
            spelled |= {"type": "function", "parameters": schema, "strict": tool.raw.get("strict") is True}
    return spelled


_CHOICES: Final[dict[ProviderName, dict[str, JsonValue]]] = {
    "anthropic": {
        "auto": {"type": "auto"},
        "none": {"type": "none"},
        "required": {"type": "any"},
        "any": {"type": "any"},
    },
    "gemini": {
        "auto": {"functionCallingConfig": {"mode": "AUTO"}},
        "none": {"functionCallingConfig": {"mode": "NONE"}},
        "required": {"functionCallingConfig": {"mode": "ANY"}},
        "any": {"functionCallingConfig": {"mode": "ANY"}},
    },
    "openai": {"auto": "auto", "none": "none", "required": "required", "any": "required"},
}


def _tool_choice(endpoint: Endpoint, choice: JsonValue) -> JsonValue:
    """The choice in the provider's form. Raises NotCounted."""
    if choice is None:
        return None
    if isinstance(choice, str) and choice in _CHOICES[endpoint.name]:
        return _CHOICES[endpoint.name][choice]
    if isinstance(choice, dict):
        function = choice.get("function")
        if endpoint.name == "gemini" and {"functionCallingConfig", "function_calling_config"} & choice.keys():
            return choice
        if endpoint.name == "openai" and isinstance(function, dict) and choice.get("type") == "function":
            return {"type": "function", "name": function.get("name")}
        if endpoint.name != "gemini" and "type" in choice and function is None:
            return choice
    raise NotCounted(f"this tool_choice has no form in {endpoint.label}'s API")


# Conversions --------------------------------------------------------------------------------------------------------


def _to_anthropic(conversation: Conversation) -> tuple[list[JsonValue], JsonValue]:
    system, turns = _plain(conversation, "Anthropic")
    blocks: list[JsonValue] = [{"type": "text", "text": text} for text in system]
    messages: list[JsonValue] = [
        {"role": message.role, "content": [{"type": "text", "text": part.text} for part in message.parts]}
        for message in turns
    ]
    return messages, blocks


def _to_gemini(conversation: Conversation) -> tuple[list[JsonValue], JsonValue]:
    system, turns = _plain(conversation, "Gemini")
    parts: list[JsonValue] = [{"text": text} for text in system]
    contents: list[JsonValue] = [
        {
            "role": "model" if message.role == "assistant" else "user",
            "parts": [{"text": part.text} for part in message.parts],
        }
        for message in turns
    ]
    return contents, {"parts": parts} if parts else None


def _plain(conversation: Conversation, label: str) -> tuple[list[str], list[Message]]:
    """System texts, which stand first, and turns of text alone. Raises NotCounted."""
    system = [part.text for part in conversation.system]
    turns: list[Message] = []
    for message in conversation.messages:
        if message.name or message.role == "tool" or any(part.kind != "text" for part in message.parts):
            raise NotCounted(f"for {label} only plain texts are converted from {conversation.format} messages")
        if message.role != "system":
            turns.append(message)
        elif turns:
            raise NotCounted(f"{label} takes no system text between messages")
        else:
            system += (part.text for part in message.parts)
    if not turns:
        raise NotCounted(f"{label} counts no request without a message of a user")
    return system, turns


def _to_openai(conversation: Conversation) -> tuple[list[JsonValue], JsonValue]:
    items = [item for message in conversation.messages for item in _items(message)]
    return items, "\n\n".join(part.text for part in conversation.system)


def _items(message: Message) -> Iterator[JsonValue]:
    """A message as Responses items, in their order. Raises NotCounted."""
    if message.name and message.role != "tool":
        raise NotCounted("OpenAI's counting API takes no names of participants")
    for is_text, group in groupby(message.parts, key=lambda part: part.kind == "text"):
        if is_text:
            yield {"role": _openai_role(message), "content": _texts(message.role, list(group))}
        else:
            yield from map(_call_item, group)


def _openai_role(message: Message) -> str:
    return "developer" if message.raw_role == "developer" else message.role


def _texts(role: str, parts: Sequence[Part]) -> JsonValue:
    if len(parts) == 1:
        return parts[0].text
    kind = "output_text" if role == "assistant" else "input_text"
    return [{"type": kind, "text": part.text} for part in parts]


def _call_item(part: Part) -> JsonObject:
    custom = isinstance(part.raw, dict) and part.raw.get("type") == "custom"
    if part.kind == "tool_call" and part.name and not custom:
        return {"type": "function_call", "call_id": part.call_id, "name": part.name, "arguments": part.text}
    if part.kind == "tool_result":
        return {"type": "function_call_output", "call_id": part.call_id, "output": part.text}
    raise NotCounted("for OpenAI only texts, function calls and their outputs are converted")


_CONVERSIONS: Final[dict[ProviderName, Callable[[Conversation], tuple[list[JsonValue], JsonValue]]]] = {
    "anthropic": _to_anthropic,
    "gemini": _to_gemini,
    "openai": _to_openai,
}
