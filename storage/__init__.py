"""The memory of the house: :class:`~tokenward.storage.base.UsageStore` and the stores behind it, chosen by URL."""
