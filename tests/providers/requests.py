"""Requests in each provider's own format: as they are given, as they are sent, and what the double counts."""

from tests.providers.double import FRAME, PER_TOOL
from tokenward.engine.types import JsonObject

TOOL: JsonObject = {"name": "find", "description": "Find it.", "parameters": {"type": "object", "properties": {}}}
OWN: dict[str, tuple[JsonObject, JsonObject, int]] = {
    "anthropic": (
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "one two"}]}],
            "system": "be good",
            "tools": [{"name": "find", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto"},
        },
        {
            "model": "claude-haiku-4-5",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "one two"}]}],
            "system": "be good",
            "tools": [{"name": "find", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "auto"},
        },
        FRAME + 4 + PER_TOOL,
    ),
    "gemini": (
        {
            "messages": [{"role": "user", "parts": [{"text": "one two"}]}],
            "system": "be good",
            "tools": [{"functionDeclarations": [TOOL]}],
            "tool_choice": "auto",
        },
        {
            "generateContentRequest": {
                "model": "models/gemini-2.5-pro",
                "contents": [{"role": "user", "parts": [{"text": "one two"}]}],
                "systemInstruction": {"parts": [{"text": "be good"}]},
                "tools": [{"functionDeclarations": [TOOL]}],
                "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
            }
        },
        FRAME + 4 + PER_TOOL,
    ),
    "openai": (
        {
            "messages": [{"role": "user", "content": [{"type": "input_text", "text": "one two"}]}],
            "system": "be good",
            "tools": [{"type": "function", **TOOL}],
            "tool_choice": "required",
        },
        {
            "model": "gpt-4o",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "one two"}]}],
            "instructions": "be good",
            "tools": [{"type": "function", **TOOL}],
            "tool_choice": "required",
        },
        FRAME + 4 + PER_TOOL,
    ),
}
