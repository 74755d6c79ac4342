"""For which names texts are sent: only for what is plainly a model of the provider's own API."""

import pytest

from tests.providers.asking import SECRET_TEXT, assert_in_process, one, opened, request
from tests.providers.double import ProviderDouble
from tokenward.engine.catalog import Catalog
from tokenward.providers.endpoints import NotCounted
from tokenward.providers.models import provider_model

pytestmark = pytest.mark.anyio

NO_API = "no provider's counting API has this model"
OPEN = "the model's weights are open, so it may run elsewhere"


def elsewhere(label: str) -> str:
    return f"the model's name is not one of {label}'s own API, so it may run elsewhere"


KEPT = [
    ("gpt-neo-2.7b", NO_API),
    ("gpt-j-6b", NO_API),
    ("gpt-4all", NO_API),
    ("o1-open", NO_API),
    ("gpt-4o-hf", NO_API),
    ("ft:gpt-neo-125:org::id", NO_API),
    ("gemini-2.5-flash-it", NO_API),
    ("claude-3-haiku-distill-8b", NO_API),
    ("gpt-oss-120b", OPEN),
    ("openai/gpt-oss-20b", OPEN),
    ("gpt-2", OPEN),
    ("gemma-2-27b-it", OPEN),
    ("google/gemma-2-27b-it", OPEN),
    ("models/gemma-2-27b-it", OPEN),
    ("ollama/gemma-3", elsewhere("Gemini")),
    ("together_ai/google/gemma-2-27b-it", elsewhere("Gemini")),
    ("google-vertex:gemini-2.5-pro", elsewhere("Gemini")),
    ("projects/p/locations/l/publishers/google/models/gemini-2.5-pro", elsewhere("Gemini")),
    ("azure/gpt-4o", elsewhere("OpenAI")),
    ("gpt-35-turbo", elsewhere("OpenAI")),
    ("gpt-4o:latest", elsewhere("OpenAI")),
    ("openrouter/openai/gpt-4o", elsewhere("OpenAI")),
    ("./openai/gpt-4o", elsewhere("OpenAI")),
    ("anthropic/gpt-4o", elsewhere("OpenAI")),
    ("azure/ft:gpt-4o-mini-2024-07-18:org::id", elsewhere("OpenAI")),
    ("vertex_ai/claude-sonnet-4-5", elsewhere("Anthropic")),
    ("claude-sonnet-4-5@20250929", elsewhere("Anthropic")),
    ("claude-sonnet-4-5:thinking", elsewhere("Anthropic")),
    ("bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", elsewhere("Anthropic")),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", elsewhere("Anthropic")),
    ("anthropic.claude-sonnet-4-5-20250929", elsewhere("Anthropic")),
    ("anthropic/us.anthropic.claude-sonnet-4-5", elsewhere("Anthropic")),
]


@pytest.mark.parametrize(("model", "reason"), KEPT)
async def test_no_text_leaves_for_a_model_that_may_run_elsewhere(
    double: ProviderDouble, model: str, reason: str
) -> None:
    async with opened(double) as service:
        result = await one(service, SECRET_TEXT, model)
        count = await request(service, model, {"messages": [{"role": "user", "content": SECRET_TEXT}]})
    assert_in_process(result, SECRET_TEXT, model, reason)
    assert count.method != "provider_api"
    assert count.warnings[-1] == f"Counted in process: {reason}."
    assert double.asked == []


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("GPT-4o", "openai", "gpt-4o"),
        ("openai/gpt-4o", "openai", "gpt-4o"),
        ("openai:o3-mini", "openai", "o3-mini"),
        ("gpt-5.1-2026-01-01", "openai", "gpt-5.1-2026-01-01"),
        ("gpt-7", "openai", "gpt-7"),
        ("openai/ft:gpt-4o:Org::Id", "openai", "ft:gpt-4o:Org::Id"),
        ("anthropic/claude-haiku-4-5-20251001", "anthropic", "claude-haiku-4-5-20251001"),
        ("claude-4-5-haiku", "anthropic", "claude-haiku-4-5"),
        ("claude-opus-77", "anthropic", "claude-opus-77"),
        ("gemini/gemini-2.5-pro", "gemini", "gemini-2.5-pro"),
        ("models/gemini-2.5-flash-preview-05-20", "gemini", "gemini-2.5-flash-preview-05-20"),
        ("google/gemini-3.9-flash", "gemini", "gemini-3.9-flash"),
        ("google-gla:gemini-2.5-pro", "gemini", "gemini-2.5-pro"),
        ("gemini/gemma-2-27b-it", "gemini", "gemma-2-27b-it"),
    ],
)
def test_names_of_the_providers_own_apis(model: str, provider: str, name: str) -> None:
    endpoint, sent = provider_model(Catalog().resolve(model))
    assert (endpoint.name, sent) == (provider, name)


@pytest.mark.parametrize("alias", ["our-deployment", "gpt-4-prod", "gpt-5", "p50k"])
def test_an_alias_is_a_deployment_elsewhere(alias: str) -> None:
    catalog = Catalog({alias: "gpt-4o"})
    with pytest.raises(NotCounted, match="may run elsewhere"):
        provider_model(catalog.resolve(alias))
    assert provider_model(catalog.resolve("gpt-4o"))[1] == "gpt-4o"
