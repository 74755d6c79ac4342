"""Make a history fit, see what it cost, and take it back."""

from tokenward import CostCalculator, TokenCounter, TokenOptimizer, restore, usd
from tokenward.engine.types import JsonObject

history: list[JsonObject] = [{"role": "user", "content": "Find out why the build fails."}]
for step in range(6):
    function: JsonObject = {"name": "read", "arguments": f'{{"path": "log{step}"}}'}
    call: JsonObject = {"id": f"call_{step}", "type": "function", "function": function}
    history.append({"role": "assistant", "content": None, "tool_calls": [call]})
    history.append({"role": "tool", "tool_call_id": f"call_{step}", "content": f"error {step}: missing header\n" * 40})

optimizer = TokenOptimizer(TokenCounter(), CostCalculator())
result = optimizer.truncate_history(history, 500, "gpt-4o", strategy="fifo")
print(result.tokens_before, "->", result.tokens_after, "dropped", result.dropped)
print(result.messages[result.placeholder or 0]["content"])
prefix = result.prefix
print(prefix.messages, "messages unchanged;", prefix.lost_tokens, "tokens to read again:", usd(prefix.lost_nano or 0))
print(restore(result) == history)
