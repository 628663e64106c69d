"""Autoencoders that were trained elsewhere: what their folder says is planned with, its bytes are read by a stage."""

from __future__ import annotations

from pathlib import Path

from contracts.base import Caller, Right
from contracts.errors import InvalidRequest, PathNotAllowed
from contracts.sae import SaeRequest, UnsupportedSae
from contracts.steering import WidthMismatch
from services.kit.saelens import architecture_of, content_sha256, read_config

OF_TRAINING = ("latents", "k", "kind", "steps", "batch", "learning_rate", "dead_rows")
MOST = 65_536  # latents, as of those that are trained here


def imported(request: SaeRequest, *, caller: Caller, roots: list[Path], width: int) -> tuple[SaeRequest, str]:
    """Return the request with what the folder says of its latents, and the hash of the folder's content.

    Raises
    ------
    InvalidRequest : something about training was said too. PathNotAllowed : outside the import roots, without the right
    `server-paths`. UnsupportedSae; WidthMismatch : trained on activations of another width.
    """
    said = [name for name in OF_TRAINING if name in request.model_fields_set]
    if said:
        raise InvalidRequest(f"an imported autoencoder is not trained; leave out {', '.join(said)}", field=said[0])
    try:
        folder = Path(str(request.folder)).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # loops of links, unknown homes, NUL
        raise UnsupportedSae(f"this is no path: {str(error)[:100]}", field="folder") from error
    if Right.SERVER_PATHS not in caller.rights and not any(folder.is_relative_to(root.resolve()) for root in roots):
        raise PathNotAllowed("this folder lies outside those that may be read for you", field="folder")
    content, config = content_sha256(folder), read_config(folder)
    _, k = architecture_of(config)
    latents, given = config.get("d_sae"), config.get("d_in")
    if not isinstance(latents, int) or not 2 <= latents <= MOST:
        raise UnsupportedSae(f"d_sae is {latents}, which is not between 2 and {MOST:,}", field="folder")
    if given != width:
        raise WidthMismatch(f"it reads {given} columns, and {request.layer} has {width}", field="folder", width=width)
    told = {"folder": str(folder), "latents": latents} | ({} if k is None else {"k": k})
    return request.model_copy(update=told), content
