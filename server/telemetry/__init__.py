"""What can be seen from outside: metrics, traces and structured logs."""
