"""What installing this package adds to fairseq: one task, one criterion, one model, and a resolver for recipes.

Importing this module is the act of registration. ``--user-dir`` and the Hydra plugin both end here; the list is
explicit, so that a reader sees all of it.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

import fairseq_musc
import fairseq_musc.criterions.musc
import fairseq_musc.models.classifier
import fairseq_musc.tasks.musc


def package_dir() -> str:
    """The folder for ``common.user_dir``: processes that training spawns find the components through it."""
    return str(Path(fairseq_musc.__path__[0]))


OmegaConf.register_new_resolver("fairseq_musc_dir", package_dir, replace=True)
