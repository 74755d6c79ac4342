"""Make a history fit without breaking its provider's rules."""

from tokenward import TokenCounter, TokenOptimizer, validate_messages
from tokenward.engine.types import JsonObject

call: JsonObject = {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": '{"path": "log"}'}}
history: list[JsonObject] = [
    {"role": "system", "content": "You are a careful engineer."},
    {"role": "user", "content": "Why does the build fail?"},
    {"role": "assistant", "content": None, "tool_calls": [call]},
    {"role": "tool", "tool_call_id": "call_1", "content": "error: missing header\n" * 200},
    {"role": "assistant", "content": "A header is missing."},
    {"role": "user", "content": "Which one?"},
]
validate_messages(history)
optimizer = TokenOptimizer(TokenCounter())
result = optimizer.truncate_history(history, 200, "gpt-4o")
print(result.tokens_before, "->", result.tokens_after, result.fits, result.dropped, result.cleared)
print(result.messages[3]["content"])

text = "The   build  failed!!!   It failed because a header was missing. The log says so. It is in the cache."
wordy: list[JsonObject] = [{"role": "assistant", "content": text}, {"role": "user", "content": "Go on."}]
shorter = optimizer.compress_messages(wordy, "gpt-4o", target_reduction=0.3)
print(shorter.tokens_before, "->", shorter.tokens_after, shorter.messages[0]["content"])
