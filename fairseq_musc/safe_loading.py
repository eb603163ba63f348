"""What a checkpoint may pickle beyond torch's own classes.

Since torch 2.6 ``torch.load`` builds nothing but tensors, plain containers and the classes it was told of. fairseq's
older checkpoints, m2m_100's among them, hold their settings as an ``argparse.Namespace``; telling torch of that one
class opens them with the safe loader on. Nothing in this package passes ``weights_only=False`` or sets torch's
environment variable for it: a checkpoint is a file from elsewhere, and loading it must not run its code.
"""

from __future__ import annotations

import argparse
import os
import zipfile

from fairseq_musc.errors import InputError

#: The whole list. A class belongs here only if building one from any state can do no harm.
PICKLED_CLASSES: tuple[type, ...] = (argparse.Namespace,)


def allow_fairseq_checkpoints() -> None:
    """Tells torch's safe loader of :data:`PICKLED_CLASSES`, for this process; calling it again changes nothing."""
    import torch

    torch.serialization.add_safe_globals(list(PICKLED_CLASSES))


def check_pickled_classes(checkpoint: str | os.PathLike[str]) -> None:
    """Raises :class:`InputError` naming every class that the safe loader will refuse in a checkpoint.

    It reads the names alone and builds nothing. A file from before torch 1.6 (not a zip archive) cannot be read in
    this way; it is left to the safe loader itself.
    """
    import torch

    allow_fairseq_checkpoints()
    if not zipfile.is_zipfile(checkpoint):
        return
    refused = torch.serialization.get_unsafe_globals_in_checkpoint(os.fspath(checkpoint))
    if refused:
        allowed = ", ".join(f"{cls.__module__}.{cls.__qualname__}" for cls in PICKLED_CLASSES)
        raise InputError(
            f"{checkpoint} pickles {', '.join(sorted(refused))}, which could run code when it is loaded; allowed "
            f"beyond torch's own are {allowed}. Take the checkpoint from where it was published, or save it again "
            "without these objects"
        )
