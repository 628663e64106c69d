"""Refusals: errors that the caller can act on. The class name is the code on the wire."""

from __future__ import annotations

from typing import ClassVar

from pydantic import JsonValue

REFUSALS: dict[str, type[XsysError]] = {}


class XsysError(Exception):
    """A refusal that the caller can act on. Rendered as problem+json with the class name as its title.

    Parameters
    ----------
    detail : what was refused, in one sentence.
    field : the field of the request that has to change, if one can be named.
    **facts : figures and names that decide (`closest=[...]`, `limit=...`), sent along as JSON.
    """

    status: ClassVar[int] = 400
    remedy: ClassVar[str] = "Change the request and send it again."

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        REFUSALS[cls.__name__] = cls

    def __init__(self, detail: str, *, field: str | None = None, **facts: JsonValue) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        return _revive, (type(self).__name__, self.detail, self.field, self.facts)


def _revive(name: str, detail: str, field: str | None, facts: dict[str, JsonValue]) -> XsysError:
    return refusal_named(name)(detail, field=field, **facts)


def refusal_named(name: str) -> type[XsysError]:
    """Return the refusal class with this wire name; an unknown name becomes the base class."""
    return REFUSALS.get(name, XsysError)


# --- anything may refuse with these -------------------------------------------------------------
class NotFound(XsysError):
    """Also the answer for things of another workspace: whether they exist is not told."""

    status = 404
    remedy = "Check the id, or list what there is."


class InvalidRequest(XsysError):
    status = 422
    remedy = "Correct the named fields; the OpenAPI document at /v1/openapi.json has their types."


class Conflict(XsysError):
    status = 409
    remedy = "Read the current state, then decide again."


class Unauthenticated(XsysError):
    status = 401
    remedy = "Log in with a one-time link (`xsys login-link`) or send an access token (`xsys token create`)."


class Forbidden(XsysError):
    status = 403
    remedy = "Ask an admin of the workspace for a role that includes the named right."


class TooManyRequests(XsysError):
    status = 429
    remedy = "Wait for the time in Retry-After, then send the request again."


class Unavailable(XsysError):
    status = 503
    remedy = "Try again in a moment; `xsys doctor` tells what is missing."


class DeadlinePassed(XsysError):
    status = 504
    remedy = "Ask again with more time (`X-Deadline`, seconds), or for less at once."


class StorageFull(XsysError):
    """The wire state of a job that met this is `failed` with the reason `storage_full`."""

    status = 507
    remedy = "Free space in the data folder (`xsys doctor` shows the largest parts), then retry the job."


class CorruptArtifact(XsysError):
    """Bytes do not have the hash under which they were stored."""

    status = 409
    remedy = "Rebuild it: `xsys snapshot repair SNAPSHOT` recomputes what is damaged."


class StaleArtifact(XsysError):
    status = 409
    remedy = "Build a new snapshot; what this one was computed from has changed."


# --- data ---------------------------------------------------------------------------------------
class UnknownDataset(NotFound):
    remedy = "List the datasets with `xsys dataset list`."


class UnknownSample(NotFound):
    remedy = "Sample indices run from 0 to n - 1; `xsys dataset show DATASET` tells n."


class UnknownMask(NotFound):
    remedy = "`masks` of the sample names the masks that it has; only datasets with masks have any."


class NoGoodFile(XsysError):
    status = 422
    remedy = "Give a source with at least one readable PNG, JPEG or WebP picture; `rejected` says what was wrong."


class UnsafeArchive(XsysError):
    status = 422
    remedy = "Pack plain files only: no links, no absolute or `..` names, within the limits that are named."


class UnreadableSource(XsysError):
    status = 422
    remedy = "Check that the path exists, is readable by the server and has the format that was named."


class PathNotAllowed(XsysError):
    status = 403
    remedy = "Upload a zip instead, or have the operator add the folder to XSYS_IMPORT_ROOTS."


class UploadTooLarge(XsysError):
    status = 413
    remedy = "Send less than the limit that is named, or have the operator register the folder on the server."


# --- model --------------------------------------------------------------------------------------
class UnknownModel(NotFound):
    remedy = "List the models with `xsys model list`."


class UnknownLayer(NotFound):
    remedy = "Take one of `closest`, or list them all with `xsys model layers MODEL`."


class EmptyClassError(XsysError):
    status = 422
    remedy = "Add samples of the class, or train without it."


class LabelsMissingError(XsysError):
    status = 422
    remedy = "Use a dataset with labels."


class UnknownArchitecture(XsysError):
    status = 422
    remedy = "Use `timm:NAME`, `torchvision:NAME`, `open_clip:NAME`, `llm:NAME` and so on; `closest` has near names."


class WrongWeights(XsysError):
    """Missing, unreadable, or not of the architecture's names and shapes."""

    status = 422
    remedy = "Give the safetensors (or .pth) file that belongs to this architecture; the facts name what differs."


class LayoutError(XsysError):
    status = 422
    remedy = "Declare the channel axis of this layer in the adapter."


class NonFiniteActivation(XsysError):
    """NaN or infinity in a pooled activation: an ordering of such values would be arbitrary."""

    status = 422
    remedy = "Run in a wider precision (`--precision fp32`) or check the sample and the weights."


class UnknownPooling(XsysError):
    status = 422
    remedy = "Use max, mean, sum, abs-max, token-mean, token-max, token-absmax, token:P or identity."


class PartTooLarge(XsysError):
    """More memory than any worker has. A queue would hold it for ever, so the answer is no, with both figures."""

    status = 422
    remedy = "Lower `batch`, or divide the layers between two snapshots."


# --- explanation --------------------------------------------------------------------------------
class UnknownEncoder(NotFound):
    remedy = "Use `imagenet-minilm`, `dino` or `open_clip:ARCH/TAG_OR_FILE`; `xsys encoder list` shows what loads here."


class UnknownSnapshot(NotFound):
    remedy = "List the snapshots with `xsys snapshot list`."


class UnknownFactor(NotFound):
    remedy = "Name a recorded property as NAME=VALUE; the answer lists those of the dataset."


class UnknownComponent(NotFound):
    remedy = "Indices run from 0 to width - 1 of the layer; a sign of -1 exists in signed layers only."


class NoTextSide(XsysError):
    status = 422
    remedy = "Search by picture or by component, or build a snapshot with an encoder that reads text."


class EmptyPrompt(XsysError):
    """The prompt's direction vanishes after the null is subtracted, so every score would be noise."""

    status = 422
    remedy = "Write what should be seen, for example `a striped cat`."


class BadTemplate(XsysError):
    status = 422
    remedy = "A template holds `{}` exactly once."


class EncoderMismatch(XsysError):
    status = 409
    remedy = "Use the encoder that the snapshot was built with, or rebuild the snapshot."


class InsufficientEvidence(XsysError):
    status = 422
    remedy = "The component has too few active examples for a vector; take another component or a larger dataset."


class UnsafePicture(XsysError):
    """Not one of the accepted formats, too many pixels, or not decodable."""

    status = 422
    remedy = "Send a PNG, JPEG or WebP picture of at most 50 megapixels."


# --- concepts and alignment ---------------------------------------------------------------------
class PointMismatch(XsysError):
    """Two representations are compared point by point, so both sides need the same points in the same order."""

    status = 422
    remedy = "Draw the points once (same dataset, count and seed) and compute both sides' features on them."


class InvalidMembership(XsysError):
    status = 422
    remedy = "Give finite memberships, not negative, that sum to at most 1 in each row; `row` is the first wrong one."


class NoConcepts(XsysError):
    status = 422
    remedy = "Lower `min_cluster_size` or `min_samples`, draw more points, or take `method=kmeans`."


class TooFewPoints(XsysError):
    status = 422
    remedy = "Draw more points: raise `samples` or `per_sample`, or lower `neighbours`."


class ConstantFeatures(XsysError):
    status = 422
    remedy = "Take another layer: all points have the same features here, so there is nothing to tell apart."


class UnknownComparison(NotFound):
    remedy = "List the comparisons with `xsys alignment list`."


class UnknownPair(NotFound):
    remedy = "Take one of `matched`; `xsys alignment show COMPARISON` lists the pairs that were matched."


class UnknownConcept(NotFound):
    remedy = "Concepts are numbered from 0; `xsys concepts show COMPARISON` tells how many each representation has."


class NonNegativeRequired(XsysError):
    status = 422
    remedy = "Take features after a rectifier, or set `split_signs` to factorise both halves."


# --- labels -------------------------------------------------------------------------------------
class EmptyVocabulary(XsysError):
    status = 422
    remedy = "Give at least two different names, or `imagenet-1k`, `imagenet-22k`, `classes` or `captions`."


class LabelTooLong(XsysError):
    status = 422
    remedy = "Shorten the name to at most 200 characters; `index` says which one it is."


class UnknownScorer(XsysError):
    status = 422
    remedy = "Take one of `known`; parameters follow a colon, as in `csp:gamma=0.5,unit=true`."


class PriorNeedsComponents(XsysError):
    """softWPMI and WPMI compare components with each other: one alone scores 0 for every name."""

    status = 422
    remedy = "Label at least two components of the layer together, or take another scorer."


class HeldOutOverlap(XsysError):
    """Labels would be judged on the samples that they were made from."""

    status = 422
    remedy = "Split by group with `probe`, `tune` and `held_out` disjoint."


class MissingAnnotations(XsysError):
    status = 422
    remedy = "INVERT reads class labels: register the pictures in one folder per class, or take another scorer."


class TooFewGroups(XsysError):
    status = 422
    remedy = "Labels are judged on groups of pictures that did not make them: register more source photos."


class UnknownLabels(NotFound):
    remedy = "Make labels with `xsys label build SNAPSHOT`."


# --- jobs ---------------------------------------------------------------------------------------
class UnknownJob(NotFound):
    remedy = "List the jobs with `xsys job list`."


class IdempotencyConflict(Conflict):
    remedy = "The same Idempotency-Key was used with another body: take a new key for a new request."


class JobNotRetryable(Conflict):
    remedy = "Only a failed or cancelled job can be retried."


class LeaseLost(XsysError):
    """The part belongs to somebody else now; what this worker made is discarded."""

    status = 409
    remedy = "Nothing to do: the present holder goes on."


class Cancelled(XsysError):
    status = 409
    remedy = "The job was cancelled; retry it with `xsys job retry JOB`."


def page() -> str:
    """Render docs/errors.md: every refusal, its HTTP status and its remedy."""
    import importlib
    import pkgutil

    import contracts

    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"contracts.{module.name}")
    lines = [
        "# Errors and remedies",
        "",
        "Every refusal is `application/problem+json` on the wire: `title` is the name in the first column, `detail`",
        "says what happened, `field` which field has to change, and further members carry the facts that decide.",
        "The command line prints the same on stderr and exits with 1. `python -m contracts.errors` writes this page.",
        "",
        "| error | status | what to do |",
        "|---|---|---|",
    ]
    rows = [
        f"| `{name}` | {refusal.status} | {refusal.remedy} |"
        for name, refusal in sorted(REFUSALS.items())
        if refusal.__module__.startswith("contracts.")
    ]
    return "\n".join([*lines, *rows]) + "\n"


if __name__ == "__main__":
    import pathlib

    from contracts import errors  # this module runs as __main__; its twin holds the registry that others filled

    pathlib.Path("docs/errors.md").write_text(errors.page())
