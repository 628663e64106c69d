"""Foundation models that place pictures, and perhaps texts, in one space."""
