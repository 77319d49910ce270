"""What is measured: one module for each topic, each with ``measure(bench) -> Finding``."""
