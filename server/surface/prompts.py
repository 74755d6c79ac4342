"""The prompt that teaches a task within a budget, in the words of the tools that are served."""

from collections.abc import Collection, Mapping

from mcp_types import GetPromptResult, Prompt, PromptArgument, PromptMessage, TextContent

from tokenward.engine.catalog import MAX_NAME_CHARACTERS
from tokenward.engine.errors import InvalidInput, nearest, shown

PLAN = "plan_within_budget"
NEEDED_TOOLS = frozenset({"check_quota", "record_usage"})
"""Without these there is nothing to keep to a budget by."""

MAX_TASK_CHARACTERS = 20_000

_PLAN = (
    "Split the task into steps and write down what each needs to read and to produce. "
    "Choose a name for this work and give it as session to check_quota and record_usage."
)
_RESERVE = (
    "Before each step: check_quota with reserve=true, the model, input_tokens and max_output_tokens. "
    "If it is not allowed, wait retry_after_seconds, ask for less, or stop."
)
_RECORD = (
    "After each step: record_usage with the reservation_id and the provider's response or the real numbers; "
    "add its cost to what is spent."
)
_RELEASE = " If the step did not happen: release_quota."
_STOP = "Before the next step: stop when what is spent and the next step's cost together"
_SHORTEN = "When the history grows, shorten it with truncate_history: every later request pays for it again."
_REPORT = "At the end say what was done, what was left out for the budget, and what it cost"

PROMPT = Prompt(
    name=PLAN,
    title="Plan within a budget",
    description="Carry out a task without spending more than a budget: estimate, reserve, record, stop in time.",
    arguments=[
        PromptArgument(name="task", description="What is to be done.", required=True),
        PromptArgument(name="budget_usd", description="The most it may cost, in USD, such as 2.50.", required=True),
        PromptArgument(name="model", description="The model that does the work, if it is settled.", required=False),
    ],
)


def plan_within_budget(arguments: Mapping[str, str], tools: Collection[str]) -> GetPromptResult:
    """The prompt for a task.

    Args:
        arguments: ``task``, ``budget_usd`` and maybe ``model``, as given.
        tools: The names of the tools that are served; no other is mentioned.

    Raises:
        InvalidInput: An argument is missing, unknown or none that can be used.
    """
    known = [argument.name for argument in PROMPT.arguments or ()]
    for name in arguments:
        if name not in known:
            raise InvalidInput(name, f"is no argument.{nearest(name, known)} Accepted: {', '.join(known)}.")
    task, budget = arguments.get("task", "").strip(), arguments.get("budget_usd", "").strip().removeprefix("$")
    if not task or len(task) > MAX_TASK_CHARACTERS:
        raise InvalidInput("task", f"say what is to be done, in 1 to {MAX_TASK_CHARACTERS} characters.")
    text = _text(task, _checked_budget(budget), _checked_model(arguments.get("model", "").strip()), tools)
    message = PromptMessage(role="user", content=TextContent(type="text", text=text))
    return GetPromptResult(description=PROMPT.description, messages=[message])


def _checked_budget(written: str) -> str:
    from tokenward.engine.money import nano, usd  # noqa: PLC0415 - not needed before the first prompt

    try:
        amount = nano(written)
    except InvalidInput:
        amount = 0
    if not amount:
        raise InvalidInput("budget_usd", f"{shown(written)} is no budget; give USD as a decimal number, such as 2.50.")
    return usd(amount)


def _checked_model(name: str) -> str:
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise InvalidInput("model", f"give a name of at most {MAX_NAME_CHARACTERS} printable characters.")
    return name


def _text(task: str, budget: str, model: str, tools: Collection[str]) -> str:
    on = f" on {model}" if model else ""
    steps = [
        _PLAN,
        _sizing(tools),
        _pricing(model, tools),
        _RESERVE,
        _RECORD + (_RELEASE if "release_quota" in tools else ""),
        f"{_STOP} exceed {budget} USD. Keep a tenth back for the answer.",
        _SHORTEN if "truncate_history" in tools else "",
        _REPORT + (' (usage_report with group_by="session").' if "usage_report" in tools else "."),
    ]
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(filter(None, steps), 1))
    return f"Do this task{on} and spend at most {budget} USD on it.\n\nTask:\n{task}\n\nHow:\n{numbered}"


def _sizing(tools: Collection[str]) -> str:
    ways: list[str] = []
    if "count_tokens" in tools:
        ways.append("count_tokens (paths for files: do not paste them)")
    if "count_messages" in tools:
        ways.append("count_messages for whole requests")
    return f"Learn how large the material is: {' and '.join(ways)}." if ways else ""


def _pricing(model: str, tools: Collection[str]) -> str:
    if "estimate_cost" not in tools:
        return ""
    settled = "." if model else "; with compare, choose the cheapest model that can do the step."
    return (
        f"Price each step with estimate_cost{settled} Drop or shrink steps until the plan costs less than the budget."
    )
