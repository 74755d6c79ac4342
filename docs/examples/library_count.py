"""Count texts and whole requests."""

from tokenward import TokenCounter, count_messages

counter = TokenCounter()
for model in ("gpt-4o", "gemini-2.5-pro"):
    count = counter.count_tokens("The quick brown fox jumps over the lazy dog.", model)
    print(model, count.token_count, (count.lower, count.upper), count.exact, count.method)

request = count_messages(
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a token?"}],
    "gpt-4o",
    counter=counter,
)
print(request.tokens, request.exact, request.breakdown)
