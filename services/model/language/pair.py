"""A corpus of four subjects and two tiny language models trained on it: an atlas and a subject without a download.

`python -m services.model.language.pair FOLDER` writes `corpus/*.txt`, `first/` and `second/`.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from services.model.language.folder import LanguageModel
from services.model.language.tiny import save_tiny, tiny_language_model, trained_on, trained_tokenizer

SUBJECTS = {
    "sea": ("ship", "wave", "harbour", "sailor", "anchor", "island"),
    "kitchen": ("bread", "butter", "oven", "pepper", "kettle", "spoon"),
    "sky": ("comet", "planet", "moon", "orbit", "telescope", "star"),
    "garden": ("tulip", "rake", "seed", "hedge", "beetle", "soil"),
}
FRAMES = (
    "the {} is near the {}.", "we saw a {} and a {}.", "every {} needs a {}.", "there was no {} beside the {}.",
    "they put the {} under the {}.", "a {} fell on my {}.",
)  # fmt: skip
CONTEXT = 256


def document(subject: str, *, sentences: int = 24, seed: int = 0) -> str:
    """Sentences about one subject, the same for the same seed."""
    draw = random.Random(f"{subject}/{seed}")
    return " ".join(draw.choice(FRAMES).format(*draw.sample(SUBJECTS[subject], 2)) for _ in range(sentences))


def write_documents(folder: Path, *, each: int = 24) -> Path:
    """Write `each` documents of every subject as text files."""
    folder.mkdir(parents=True, exist_ok=True)
    for subject in SUBJECTS:
        for seed in range(each):
            (folder / f"{subject}-{seed:02d}.txt").write_text(document(subject, seed=seed), encoding="utf-8")
    return folder


def trained_pair(*, steps: int = 120) -> tuple[LanguageModel, LanguageModel]:
    """Two models of different width, depth and tokenizer, trained on documents that `write_documents` lacks."""
    texts = [document(subject, seed=1000 + seed) for seed in range(8) for subject in SUBJECTS]
    made = []
    for seed, width, blocks, vocabulary in ((0, 32, 2, 400), (1, 48, 3, 340)):
        backend = trained_tokenizer(texts, size=vocabulary)
        model = tiny_language_model(seed, width=width, blocks=blocks, context=CONTEXT, backend=backend)
        made.append(trained_on(model, " ".join(texts), steps=steps, length=32, seed=seed))
    return made[0], made[1]


def write_pair(folder: Path, *, each: int = 24, steps: int = 120) -> Path:
    """Write the corpus and both models."""
    write_documents(folder / "corpus", each=each)
    for name, model in zip(("first", "second"), trained_pair(steps=steps), strict=True):
        save_tiny(model, folder / name)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write_pair(parser.parse_args().folder)
