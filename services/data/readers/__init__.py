"""Readers: where pictures come from. A source is listed cheaply, then read entry by entry."""
