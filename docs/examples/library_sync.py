"""The ledger without await, from many threads."""

from concurrent.futures import ThreadPoolExecutor

from tokenward import QuotaRequest, RecordRequest, SyncTokenward, TokenLimit, TokenUsage

LIMITS = [TokenLimit("global", "tokens", "day", 10_000)]


def work(service: SyncTokenward) -> bool:
    check = service.check_quota(QuotaRequest(model="gpt-4o", tokens=1_000, reserve=True))
    if check.allowed:
        # ... call the model here.
        usage = TokenUsage(900, 100)
        service.record_usage(RecordRequest(model="gpt-4o", usage=usage, reservation_id=check.reservation_id))
    return check.allowed


with SyncTokenward.open("memory://", limits=LIMITS) as service, ThreadPoolExecutor(8) as pool:
    allowed = list(pool.map(work, [service] * 20))
    print("allowed:", sum(allowed), "of", len(allowed))
    print("used:", service.quota_status().limits[0].used)
