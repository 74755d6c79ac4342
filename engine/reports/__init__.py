"""What reports are made of: local days, forecasts, what-if, replay, anomalies, pages and texts."""
