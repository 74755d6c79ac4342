"""Four weeks of work reported page by page, and what the next ten days may cost."""

import anyio

from tokenward import PredictionRequest, RecordRequest, ReportRequest, TokenUsage, Tokenward, report_csv, usd

DAY_US = 86_400_000_000
NOW_US = 1_795_262_400_000_000  # 2026-11-21, noon UTC


async def main() -> None:
    async with Tokenward.open("memory://", default_user="alice", clock=lambda: NOW_US) as service:
        usage = TokenUsage(input_tokens=9_000, output_tokens=1_000, cached_input_tokens=8_000)
        days = [NOW_US - day * DAY_US for day in range(1, 29)]
        await service.record_many([RecordRequest(model="gpt-4o", usage=usage, at_us=at_us) for at_us in days])

        request = ReportRequest(NOW_US - 28 * DAY_US, NOW_US, group_by="day", timezone="Europe/Berlin", limit=20)
        first = await service.usage_report(request)
        print("pages:", len(first.rows), "and", first.total_rows - len(first.rows), "rows")
        second = await service.usage_report(request, cursor=first.next_cursor)
        print(report_csv(second).splitlines()[1])
        print("saved by the cache:", usd(first.cache_savings.total_nano))

        asked = PredictionRequest(days=10, user="alice", models=["gpt-4o-mini"], tokens_left=75_000)
        made = await service.reports.predict_cost(asked)
        (other,), (budget,) = made.other_models, made.run_outs
        if made.forecast.cost_nano and other.cost_nano:
            print("ten days:", usd(made.forecast.cost_nano.p50), "or on", other.model, usd(other.cost_nano.p50))
        print("75,000 tokens last until", budget.p50)


anyio.run(main)
