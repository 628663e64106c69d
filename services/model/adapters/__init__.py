"""One adapter for each family of architectures; `registry.adapter_for` finds the one that a name belongs to."""
