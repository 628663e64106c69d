"""Language models: read from GGUF or safetensors, tokenised reproducibly, captured, generated from."""
