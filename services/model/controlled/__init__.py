"""Small models of generated scenes, trained by one deterministic script: known data, known shortcut, known truth."""
