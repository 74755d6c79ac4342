"""Whose price counts: routers and hosts in front of a name, own prices under an alias's or another name."""

from decimal import Decimal

import pytest

from tests.conftest import FakeClock
from tokenward.engine.catalog import Catalog
from tokenward.engine.errors import UnknownPrice
from tokenward.engine.prices.own import OwnPrice, OwnPrices, OwnTable
from tokenward.engine.pricing import Cost, CostCalculator
from tokenward.engine.tariffs import Prices
from tokenward.engine.usage import TokenUsage

USAGE = TokenUsage(1_000, 100)
CLAUDE_ON_BEDROCK = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


def own(name: str, price: str = "7") -> OwnPrice:
    return OwnPrice(name=name, tables={"standard": OwnTable({"input": Decimal(price), "output": Decimal(price)})})


def cost_of(model: str, *prices: OwnPrice, aliases: dict[str, str] | None = None) -> Cost:
    calculator = CostCalculator(Catalog(aliases), clock=FakeClock(), own=OwnPrices(prices))
    return calculator.calculate_cost(USAGE, model)


# Own prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "aliases", "asked"),
    [
        ("dep", {"dep": "gpt-4o"}, "dep"),
        ("dep", {"dep": "gpt-4o"}, "azure/dep"),
        ("azure/dep", {"dep": "gpt-4o"}, "azure/dep"),
        ("azure/dep", {"dep": "azure/gpt-4o"}, "dep"),
        ("deploy*", {"deployed": "gpt-4o"}, "deployed"),
    ],
)
def test_an_own_price_under_an_aliass_name_counts(key: str, aliases: dict[str, str], asked: str) -> None:
    assert cost_of(asked, own(key), own("gpt-4o*", "8"), aliases=aliases).prices["input"] == "7.00"


def test_an_own_price_of_the_target_counts_where_the_alias_has_none() -> None:
    assert cost_of("dep", own("gpt-4o"), aliases={"dep": "gpt-4o"}).prices["input"] == "7.00"


@pytest.mark.parametrize(
    ("key", "asked"),
    [
        ("bedrock/*", CLAUDE_ON_BEDROCK),
        ("bedrock/*", "aws/amazon.nova-lite-v1:0"),
        ("aws/*", f"bedrock/{CLAUDE_ON_BEDROCK}"),
        ("amazon-bedrock/*", f"litellm/bedrock/{CLAUDE_ON_BEDROCK}"),
        ("xai/*", "grok-4"),
        ("xai/grok-4", "grok-4"),
        ("mistralai/*", "mistral-large"),
        ("vertex_ai/*", "claude-sonnet-4-5@20250929"),
        ("azure_ai/*", "azure/gpt-4o"),
        ("litellm/azure/*", "azure/gpt-4o"),
    ],
)
def test_a_sellers_other_names_mean_the_same_seller(key: str, asked: str) -> None:
    assert cost_of(asked, own(key)).prices["input"] == "7.00"


def test_a_seller_as_it_is_written_comes_first() -> None:
    several = [own("google/*"), own("vertex_ai/*", "8")]
    assert cost_of("gemini-2.5-pro", *several).prices["input"] == "7.00"
    assert cost_of("vertex_ai/gemini-2.5-pro", *several).prices["input"] == "8.00"


@pytest.mark.parametrize("key", ["azure_ai/*", "bedrock/*", "acme/*"])
def test_other_sellers_are_others(key: str) -> None:
    assert cost_of("gpt-4o", own(key)).prices["input"] == "2.50"


# Routers and hosts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "seller", "price"),
    [
        (f"litellm/{CLAUDE_ON_BEDROCK}", "aws", "3.30"),
        (f"litellm/bedrock/{CLAUDE_ON_BEDROCK}", "aws", "3.30"),
        (f"litellm_proxy/litellm/bedrock/{CLAUDE_ON_BEDROCK}", "aws", "3.30"),
        (f"LiteLLM/bedrock/{CLAUDE_ON_BEDROCK}", "aws", "3.30"),
        (f"bedrock:{CLAUDE_ON_BEDROCK}", "aws", "3.30"),
        ("litellm/azure/gpt-4o", "azure", "2.50"),
        ("litellm/gpt-4o", "openai", "2.50"),
        ("openrouter:anthropic/claude-sonnet-4.5", "openrouter", "3.00"),
        ("groq:openai/gpt-oss-20b", "groq", "0.075"),
        ("openai:gpt-4o", "openai", "2.50"),
    ],
)
def test_a_host_behind_a_router_sells(asked: str, seller: str, price: str) -> None:
    cost = cost_of(asked)
    assert (cost.provider, cost.prices["input"], cost.warnings) == (seller, price, ())


@pytest.mark.parametrize(
    "asked",
    ["litellm/ollama/gpt-oss-120b", "sglang/gpt-oss-120b", "litellm_proxy/vllm/deepseek-chat", "tgi/gpt-oss-20b"],
)
def test_a_server_of_ones_own_has_no_list_price(asked: str) -> None:
    with pytest.raises(UnknownPrice, match="own server"):
        cost_of(asked)


def test_an_alias_for_a_host_behind_a_router_has_that_hosts_price() -> None:
    assert cost_of("dep", aliases={"dep": f"litellm/bedrock/{CLAUDE_ON_BEDROCK}"}).provider == "aws"


@pytest.mark.parametrize(
    ("asked", "host", "maker"),
    [("acme/gpt-4o", "acme", "openai"), ("litellm/snowflake/claude-sonnet-4-5", "snowflake", "anthropic")],
)
def test_a_host_that_is_not_known_is_warned_of(asked: str, host: str, maker: str) -> None:
    cost = cost_of(asked)
    assert cost.provider == maker
    assert cost.warnings == (f"No prices of '{host}' are known; {maker}'s are taken, which may be others.",)
    price = Prices(CostCalculator(clock=FakeClock())).of(USAGE, asked, "standard", FakeClock()())
    assert price.warnings == cost.warnings


@pytest.mark.parametrize(
    "asked", ["openai/gpt-4o", "anthropic/claude-sonnet-4.5", "models/gemini-2.5-flash", "xai/grok-4", "gpt-4o"]
)
def test_makers_and_their_own_paths_are_known(asked: str) -> None:
    assert cost_of(asked).warnings == ()


def test_a_discount_on_the_price_of_an_unknown_host_says_so_too() -> None:
    discount = OwnPrice(name="acme/*", discount_percent=Decimal(5))
    assert "acme" in cost_of("acme/gpt-4o", discount).warnings[0]
    assert cost_of("acme/gpt-4o", own("acme/*")).warnings == ()
