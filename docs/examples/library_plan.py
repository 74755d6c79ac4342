"""Plan what goes into a model's context window, and have old talk summarized."""

from collections.abc import Sequence

from tokenward import ContextFile, TokenCounter, compress_messages, plan_context, usd
from tokenward.engine.types import JsonObject

history: list[JsonObject] = [
    {"role": "user", "content": "Fix the build."},
    {"role": "assistant", "content": "I read the log and found nothing of use in it, so I looked further. " * 60},
    {"role": "user", "content": "And now?"},
]
files = [ContextFile("build.log", "error: missing header\n" * 400, -1), ContextFile("main.c", "int main;\n" * 200, 1)]
counter = TokenCounter()
plan = plan_context(
    "gpt-4o", counter=counter, output_tokens=500, system="Be brief.", files=files, history=history, context_window=2_000
)
for part in plan.parts:
    print(part.name, part.status, part.tokens, "of", part.wanted_tokens, "gives way:", part.gives_way)
print(plan.fits, plan.input_tokens, "+", plan.output_tokens, "of", plan.context_window, "free:", plan.remaining_tokens)
print(*(usd(nano or 0) for nano in (plan.cost.uncached_nano, plan.cost.following_call_nano)))


def summarize(texts: Sequence[str], target_tokens: int) -> str:
    # ... ask a model here.
    return "Nothing was found in the log."


shorter = compress_messages(history, "gpt-4o", counter=counter, target_reduction=0.9, summarizer=summarize)
print([(saving.index, saving.tokens_before, saving.tokens_after, saving.how) for saving in shorter.savings])
