"""LiteLLM's router under the same contest, run by the Python of an environment that has LiteLLM and nothing of ours.

Arguments: a JSON object with ``tasks``, ``limit``, ``rounds``, ``call_seconds``, ``input_tokens``, ``output_tokens``.
The last line printed is a JSON object: LiteLLM's ``version``, and ``[calls, seconds]`` of each of the ``rounds``. Calls
are LiteLLM's own mock, so there is no network. Its budgets are in dollars, so a token costs one; each round has a model
of its own, whose deployment has the budget.
"""

import asyncio
import json
import sys
import time
from importlib import import_module
from importlib.metadata import version

options: dict[str, float] = json.loads(sys.argv[1])


def model(number: int) -> dict[str, object]:
    return {
        "model_name": f"model-{number}",
        "litellm_params": {
            "model": f"openai/model-{number}",
            "api_key": "none",
            "input_cost_per_token": 1.0,
            "output_cost_per_token": 1.0,
            "max_budget": options["limit"],
            "budget_duration": "1d",
        },
        "model_info": {"id": f"deployment-{number}"},
    }


async def main() -> None:
    rounds = int(options["rounds"])
    router = import_module("litellm").Router(model_list=[model(number) for number in range(rounds + 1)], num_retries=0)
    answer = {
        "id": "mock",
        "object": "chat.completion",
        "created": 1,
        "model": "mock",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {
            "prompt_tokens": options["input_tokens"],
            "completion_tokens": options["output_tokens"],
            "total_tokens": options["input_tokens"] + options["output_tokens"],
        },
    }

    async def call(name: str) -> bool:
        try:
            await router.acompletion(
                model=name,
                messages=[{"role": "user", "content": "yes?"}],
                mock_response=answer,
                mock_delay=options["call_seconds"],
            )
        except ValueError as error:
            if "crossed budget" in str(error):
                return False
            raise
        return True

    async def compete(name: str) -> tuple[int, float]:
        calls = 0

        async def work() -> None:
            nonlocal calls
            while await call(name):
                calls += 1

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(int(options["tasks"]))))
        return calls, time.perf_counter() - start

    found = [await compete(f"model-{number}") for number in range(rounds + 1)]
    # The first round pays for what LiteLLM loads on first use.
    print("\n" + json.dumps({"version": version("litellm"), "rounds": found[1:]}))


asyncio.run(main())
