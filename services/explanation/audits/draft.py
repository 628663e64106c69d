"""A commented policy to start from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from contracts.audit import AuditPolicy
from contracts.model import Model
from contracts.snapshots import Snapshot

MOST_CLASSES = 20
HEAD = """\
# What {model} may rest on. Run it with
#   xsys audit run THIS_FILE --snapshot {snapshot}
# which exits with 1 if a limit below does not hold.
version: 1

# Layers of the snapshot {name}; without this key all of them are judged.
layers: {layers}

# Largest share of a class's relevance that components of a kind may carry together, in each layer.
# Also known: mixed, unexpected, unclear, insufficient_evidence.
limits:
  spurious: 0.05
  forbidden: 0.0

# False-discovery rate over all pairs of component and concept.
fdr: 0.05
# Fewer distinct example pictures than this are no evidence.
min_examples: {fewest}
# Relevance is measured on pictures that the model assigns to the class (predicted) or that bear its label (labelled).
over: predicted
samples: 64

# What the concepts are compared with: names of ImageNet, or the captions of the dataset, or a list of at least 100
# names. Take captions or a list where the encoder knows little but this domain.
{background}

# What no class may rest on:
# forbidden: ["a watermark"]

classes:
"""
CLASS = """\
  {name}:
    valid: [{valid}]
    # spurious: ["a tag in the corner"]
"""


def draft(snapshot: Snapshot, model: Model, labels: Sequence[str | None], *, captions: bool) -> str:
    """Write a policy that names up to 20 of the model's classes: first those that the dataset has labels for.

    Parameters
    ----------
    captions : whether the dataset has enough of them to compare concepts with.
    """
    counts = Counter(label for label in labels if label)
    classes = model.classes or []
    known = sorted((name for name in classes if name in counts), key=lambda name: -counts[name])
    chosen = (known or classes)[:MOST_CLASSES]
    fewest = AuditPolicy.model_fields["min_examples"].default
    head = HEAD.format(
        model=model.ref.name, snapshot=snapshot.id, name=snapshot.name, fewest=fewest,
        background="background: captions" if captions else "# background: captions",
        layers=json.dumps([layer.name for layer in snapshot.layers], ensure_ascii=False),
    )  # fmt: skip
    if not chosen:
        return f"{head}{CLASS.format(name=quoted('output 0'), valid=quoted('a thing'))}    output: 0\n"
    body = "".join(CLASS.format(name=quoted(name), valid=quoted(f"a {name}")) for name in chosen)
    more = len(classes) - len(chosen)
    return head + body + (f"  # and {more} more classes of the model\n" if more else "")


def quoted(text: str) -> str:
    """Quote a text so that YAML reads it back whatever it holds: a JSON string is one."""
    return json.dumps(text, ensure_ascii=False)
