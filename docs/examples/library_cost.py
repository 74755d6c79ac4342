"""Price usage exactly, and read it from a provider's response."""

from tokenward import CostCalculator, TokenCounter, TokenUsage, UnknownPrice, extract_usage, usd
from tokenward.engine.types import JsonObject

calculator = CostCalculator()
cost = calculator.calculate_cost(TokenUsage(12_000, 800, cached_input_tokens=10_000), "gpt-4o")
print(usd(cost.total_nano), "=", usd(cost.input_nano), "+", usd(cost.output_nano), "+", usd(cost.cache_nano))

response: JsonObject = {
    "model": "claude-sonnet-4-5",
    "usage": {"input_tokens": 50, "cache_read_input_tokens": 900, "output_tokens": 200, "service_tier": "batch"},
}
found = extract_usage(response, None, TokenCounter().catalog)
print(found.model, found.usage.input_tokens, found.usage.cached_input_tokens, found.usage.output_tokens, found.tier)

try:
    calculator.calculate_cost(found.usage, "my-own-model")
except UnknownPrice as error:
    print(error)
