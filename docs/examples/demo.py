"""An agent's day with tokenward: count, price, ask, record, be refused, shorten, report.

Starts ``tokenward serve`` as an editor or an agent would, on a temporary ledger, and talks to it over MCP. Nothing
leaves the machine and no model is called. Run it with ``make demo`` or ``python docs/examples/demo.py``.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import anyio
from mcp import Client, StdioServerParameters
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[2]
CONVERSATION = Path(__file__).with_name("agent_conversation.json")
MODELS = ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro")
MODEL = MODELS[0]
USER = "demo"
OUTPUT_TOKENS = 800

Answer: TypeAlias = dict[str, Any]
"""A tool's structured result, as JSON."""


class DemoError(Exception):
    """A step did not do what it is meant to show."""


def expect(holds: object, what: str) -> None:
    """Stop the demo with an error unless something holds."""
    if not holds:
        raise DemoError(what)


@dataclass(frozen=True)
class Agent:
    """An agent connected to tokenward. It calls tools; it cannot set limits."""

    client: Client
    environment: dict[str, str]
    console: Console
    recorded: list[Answer] = field(default_factory=list[Answer])

    async def call(self, tool: str, **arguments: object) -> Answer:
        """Call a tool; an error result ends the demo."""
        result = await self.client.call_tool(tool, arguments)
        answer: Answer | None = result.structured_content
        if result.is_error or answer is None:
            raise DemoError(f"{tool}: {result.content}")
        return answer

    def headline(self, title: str, meaning: str) -> None:
        """Announce a step."""
        self.console.print(f"\n[bold cyan]{title}[/]")
        self.console.print(meaning, style="dim")

    def table(self, columns: list[str], rows: list[list[object]]) -> None:
        """Print rows; a column whose name begins with ``>`` is aligned to the right."""
        made = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
        for row in rows:
            made.add_row(*(f"{one:,}" if isinstance(one, int) else str(one) for one in row))
        self.console.print(made)

    def command_line(self, *arguments: str) -> str:
        """What a person does in a terminal."""
        self.console.print(f"$ tokenward {' '.join(arguments)}", style="bold", highlight=False)
        command = [sys.executable, "-m", "tokenward", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, done.stderr)
        return done.stdout.strip()


async def count_the_source(agent: Agent) -> None:
    """Step 1."""
    agent.headline(
        "1. Count files without reading them into the conversation",
        "The server reads the paths itself: the agent pays for a few names, not for the files.",
    )
    paths = ["engine", "storage", "tools", "server", "src/**/*.py"]
    files = await agent.call("count_tokens", paths=paths, model=MODEL, detail="full")
    answer = await agent.call("count_tokens", paths=paths, model=MODEL)
    spent = await agent.call("count_tokens", text=json.dumps(answer), model=MODEL)
    largest = sorted(files["items"], key=lambda item: -int(item["tokens"]))[:5]
    agent.table(["largest files", ">tokens"], [[item["path"], item["tokens"]] for item in largest])
    agent.table(
        ["", ">tokens"],
        [
            [f"all {len(files['items'])} files, {'exact' if files['exact'] else 'estimated'}", files["tokens"]],
            ["the brief answer that the agent got instead", spent["tokens"]],
        ],
    )
    expect(files["exact"] and files["method"] == "tiktoken", "gpt-4o is counted exactly")
    expect(files["tokens"] == sum(item["tokens"] for item in files["items"]), "the files add up")
    expect(files["tokens"] > 20 * spent["tokens"], "the answer is much smaller than the files")


async def count_the_conversation(agent: Agent, request: Answer) -> dict[str, Answer]:
    """Step 2."""
    agent.headline(
        f"2. Count an agent's whole conversation ({len(request['messages'])} messages, {len(request['tools'])} tools)",
        "Roles, tool calls, tool results and definitions are counted, and it says how sure it is.",
    )
    counts = {
        model: await agent.call("count_messages", messages=request["messages"], tools=request["tools"], model=model)
        for model in MODELS
    }
    parts: list[list[object]] = [
        [part.replace("_", " "), *(counts[model]["breakdown"][part] for model in MODELS)]
        for part in counts[MODEL]["breakdown"]
    ]
    agent.table(["part", *(f">{model}" for model in MODELS)], parts)
    agent.table(
        ["model", ">tokens", ">at least", ">at most", "method", ">of its window"],
        [
            [
                model,
                one["tokens"],
                one["lower"],
                one["upper"],
                f"{one['method']}, {one['encoding']}",
                f"{one['context_used_percent']} %",
            ]
            for model, one in counts.items()
        ],
    )
    for one in counts.values():
        expect(sum(one["breakdown"].values()) == one["tokens"], "the breakdown sums to the total")
        expect(one["lower"] <= one["tokens"] <= one["upper"], "the count lies between its bounds")
    return counts


async def price_it(agent: Agent, counts: dict[str, Answer]) -> None:
    """Step 3."""
    agent.headline(
        "3. Price the next turn on three models",
        f"Each model's own tokens at its own price, with {OUTPUT_TOKENS} tokens of output.",
    )
    prices = [
        await agent.call("estimate_cost", model=model, input_tokens=one["tokens"], output_tokens=OUTPUT_TOKENS)
        for model, one in counts.items()
    ]
    agent.table(
        ["model", ">input", ">output", ">input cost", ">output cost", ">total"],
        [
            [
                one["model"],
                one["input_tokens"],
                one["output_tokens"],
                f"${one['input_cost']}",
                f"${one['output_cost']}",
                f"${one['total_cost']}",
            ]
            for one in prices
        ],
    )
    agent.console.print(f"Prices: {prices[0]['price_source']}, as of {prices[0]['price_date']}.", style="dim")
    expect(all(Decimal(one["total_cost"]) > 0 for one in prices), "every model has a price")


async def work_until_refused(agent: Agent, tokens: int, at_most: int) -> None:
    """Step 4 and 5."""
    limit = (at_most + OUTPUT_TOKENS) * 13 // 5
    agent.headline(
        "4. A person sets a limit",
        "Agents have no tool for that; limits come from the command line or the settings.",
    )
    agent.console.print(agent.command_line("quota", "set", f"user:{USER}", "tokens/hour", str(limit)), highlight=False)
    agent.headline(
        "5. Reserve before the work, record after it, until the budget says no",
        "A reservation holds the most that a turn can take; the record replaces it by what it took. The output "
        "tokens are made up: no model is called here.",
    )
    checks = [await take_turn(agent, turn, tokens, at_most) for turn in range(1, 4)]
    rows: list[list[object]] = []
    for turn, check in enumerate(checks, start=1):
        (state,) = (one for one in check["limits"] if one["window"] == "hour")
        verdict = "allowed" if check["allowed"] else "denied"
        rows.append([turn, verdict, check["requested"]["tokens"], state["used"], state["reserved"], state["limit"]])
    agent.table(["turn", "answer", ">asked for", ">used", ">held", ">limit"], rows)
    denial = checks[-1]
    agent.console.print(f"Reason: {denial['reason']}", style="red", highlight=False)
    agent.console.print(f"Try again in {denial['retry_after_seconds']} seconds, or ask for less.", highlight=False)
    expect([one["allowed"] for one in checks] == [True, True, False], "the third turn is denied")
    expect(0 < denial["retry_after_seconds"] <= 3_900, "the denial says when to try again")
    expect(denial["reservation_id"] is None, "a denial holds nothing")


async def take_turn(agent: Agent, turn: int, tokens: int, at_most: int) -> Answer:
    """Ask for a turn and, if it is allowed, record what it used."""
    check = await agent.call(
        "check_quota",
        model=MODEL,
        input_tokens=at_most,
        max_output_tokens=OUTPUT_TOKENS,
        reserve=True,
        idempotency_key=f"turn-{turn}",
    )
    if check["allowed"]:
        used = {"input_tokens": tokens, "output_tokens": OUTPUT_TOKENS - 100 * turn}
        event = {
            "model": MODEL,
            "reservation_id": check["reservation_id"],
            "idempotency_key": f"turn-{turn}-used",
        }
        receipt = await agent.call("record_usage", **used, **event)
        again = await agent.call("record_usage", **used, **event)
        expect(receipt["recorded"] and not receipt["overage"], "the usage is recorded")
        expect(again["duplicate"] and again["event_id"] == receipt["event_id"], "the same key twice is one event")
        agent.recorded.append({**used, "cost": receipt["cost"]})
    return check


async def shorten(agent: Agent, request: Answer, tokens: int) -> None:
    """Step 6."""
    agent.headline(
        "6. Shorten the conversation to half, and the turn fits",
        "Old tool results go first; what stays is untouched, in order, and valid for the provider.",
    )
    half = tokens // 2
    short = await agent.call(
        "truncate_history", messages=request["messages"], tools=request["tools"], max_tokens=half, model=MODEL
    )
    recount = await agent.call("count_messages", messages=short["messages"], tools=request["tools"], model=MODEL)
    agent.table(
        ["", ">before", ">after"],
        [
            ["tokens", short["tokens_before"], short["tokens_after"]],
            ["messages", len(request["messages"]), len(short["messages"])],
            ["tool results cleared", "", len(short["cleared"])],
            ["messages dropped", "", len(short["dropped"])],
        ],
    )
    expect(short["fits"] and short["tokens_after"] <= half, "the shortened conversation is at most half")
    expect(recount["tokens"] == short["tokens_after"], "counting it again gives the same number")
    check = await take_turn(agent, 4, recount["tokens"], recount["upper"])
    agent.console.print(f"The shorter turn asks for {check['requested']['tokens']:,} tokens:", end=" ", highlight=False)
    agent.console.print("allowed." if check["allowed"] else "denied.", style="green")
    expect(check["allowed"], "the shorter turn is allowed")


async def report(agent: Agent) -> None:
    """Step 7."""
    agent.headline(
        "7. The report",
        "Every recorded token and cent is in the ledger, once.",
    )
    made = await agent.call("usage_report", period="24h", group_by="model")
    totals = made["totals"]
    agent.table(
        ["model", ">requests", ">input", ">output", ">tokens", ">cost"],
        [
            [name, one["requests"], one["input_tokens"], one["output_tokens"], one["total_tokens"], f"${one['cost']}"]
            for name, one in [*((row["key"], row) for row in made["rows"]), ("total", totals)]
        ],
    )
    expect(totals["requests"] == len(agent.recorded) == 3, "three turns are recorded")
    for kind in ("input_tokens", "output_tokens"):
        expect(totals[kind] == sum(one[kind] for one in agent.recorded), f"the report's {kind} are those recorded")
    expect(Decimal(totals["cost"]) == sum(Decimal(one["cost"]) for one in agent.recorded), "so is the cost")


async def demo(environment: dict[str, str]) -> None:
    """All steps, on one connection."""
    request: Answer = json.loads(CONVERSATION.read_text(encoding="utf-8"))
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "tokenward", "serve"], env=environment, cwd=REPOSITORY
    )
    console = Console(highlight=False)
    async with Client(server, read_timeout_seconds=50) as client:
        agent = Agent(client, environment, console if console.is_terminal else Console(width=110, highlight=False))
        tools = (await client.list_tools()).tools
        agent.console.print(f"Connected to tokenward: {', '.join(tool.name for tool in tools)}", highlight=False)
        await count_the_source(agent)
        counts = await count_the_conversation(agent, request)
        await price_it(agent, counts)
        await work_until_refused(agent, counts[MODEL]["tokens"], counts[MODEL]["upper"])
        await shorten(agent, request, counts[MODEL]["tokens"])
        await report(agent)
        agent.console.print("\nEvery step did what it should.", style="bold green")


def main() -> int:
    """Run the demo on a temporary ledger; 1 if a step went wrong."""
    with TemporaryDirectory(prefix="tokenward-demo-") as folder:
        settings = Path(folder, "settings.toml")
        settings.touch()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TOKENWARD_")},
            "TOKENWARD_CONFIG": str(settings),
            "TOKENWARD_STORE": f"sqlite:///{Path(folder, 'ledger.db').as_posix()}",
            "TOKENWARD_USER": USER,
            "TOKENWARD_ROOTS": str(REPOSITORY),
        }
        try:
            anyio.run(demo, environment)
        except BaseExceptionGroup as failures:
            # Leaving the connection wraps an error in groups, one per layer.
            failed, _ = failures.split(DemoError)
            if failed is None:
                raise
            sys.stderr.write(f"The demo failed: {innermost(failed)}\n")
            return 1
    return 0


def innermost(error: BaseException) -> BaseException:
    """The first single error in groups of groups."""
    match error:
        case BaseExceptionGroup(exceptions=(BaseException() as first, *_)):
            return innermost(first)
        case _:
            return error


if __name__ == "__main__":
    sys.exit(main())
