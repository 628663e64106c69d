"""Side-by-side measurements. `python -m benchmarks.<name> [--quick|--full]` prints one JSON object a line."""
