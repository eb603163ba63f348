"""What installing this package adds to fairseq: one task, one criterion, one model, one optimizer, a
resolver for recipes, the list of classes that torch's safe loader may build from fairseq's checkpoints, copies of
checkpoints that appear whole or not at all, and settings that are read as literals and not run.

Importing this module is the act of registration. ``--user-dir`` and the Hydra plugin both end here; the list is
explicit, so that a reader sees all of it.
"""

from __future__ import annotations

from omegaconf import OmegaConf

import fairseq_musc.criterions.musc
import fairseq_musc.models.classifier
import fairseq_musc.optim
import fairseq_musc.tasks.musc  # noqa: F401
from fairseq_musc.literals import let_fairseq_read_literals
from fairseq_musc.models.checkpoint_files import let_fairseq_copy_whole
from fairseq_musc.safe_loading import allow_fairseq_checkpoints
from fairseq_musc.user_dir.show import user_dir

allow_fairseq_checkpoints()
let_fairseq_copy_whole()
let_fairseq_read_literals()

# Recipes say `common.user_dir: ${fairseq_musc_dir:}`; processes that training spawns find the components through it.
OmegaConf.register_new_resolver("fairseq_musc_dir", user_dir, replace=True)
