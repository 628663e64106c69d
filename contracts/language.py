"""What may be asked of language models: generated text, and the refusals that concern text."""

from __future__ import annotations

from contracts.errors import XsysError


class UnsupportedLanguageModel(XsysError):
    """The blocks of such a model could not be found, so nothing in it could be read or steered."""

    status = 422
    remedy = "Take a model of one of the architectures in `supported`."


class MissingLanguagePackage(XsysError):
    status = 422
    remedy = "Install what `install` names on the machine that runs the workers, or give another model."


class BrokenLanguageFile(XsysError):
    """Unreadable, incomplete, or not the bytes that its hashes say."""

    status = 422
    remedy = "Fetch or convert the model again; the facts name the file and what differs."


class TokenizerDrift(XsysError):
    """Token ids changed: everything that was computed by position or token id would silently be wrong."""

    status = 422
    remedy = "Go back to the pinned versions of transformers and tokenizers, or convert the model again."


class ImplausiblePerplexity(XsysError):
    """A wrongly read weight matrix still gives finite numbers; only the perplexity of real text shows it."""

    status = 422
    remedy = "Convert the model again; for a model not meant for English raise `perplexity_limit` in its config."


class NoTokens(XsysError):
    """A window of which nothing is left once the prefix and sink tokens are dropped has no activation."""

    status = 422
    remedy = "Leave this window out, or make windows longer; `window` is its index."


class PromptTooLong(XsysError):
    """Nothing was generated: the model has learned no position beyond its context."""

    status = 422
    remedy = "Shorten the prompt or ask for fewer tokens, so that `needed` is at most `limit`."
