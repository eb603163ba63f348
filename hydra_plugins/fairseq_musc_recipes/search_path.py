"""The installed recipes on Hydra's search path.

Hydra imports this module in every Hydra application of the environment, so nothing heavy stands at its top: an
application without fairseq pays for one small class and sees no change.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class FairseqMuscRecipes(SearchPathPlugin):
    """Adds ``fairseq_musc.configs``, behind fairseq's own folder and before that of ``--config-dir``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra once for each application, before it composes.

        The recipes are given as a folder and not as ``pkg://fairseq_musc.configs``, which would import the package.
        For ``fairseq-hydra-train``, mistakes in the recipe or on the command line end the process here, with status 2.
        """
        if "fairseq" not in sys.modules:
            return
        import fairseq_musc.registration  # noqa: F401  the task, criterion, model and resolver that recipes name

        spec = find_spec("fairseq_musc.configs")
        assert spec is not None
        assert spec.submodule_search_locations is not None
        search_path.append(provider="fairseq-musc", path=f"file://{next(iter(spec.submodule_search_locations))}")

        # `fairseq-hydra-train`, `python -m fairseq_cli.hydra_train`: only there are the arguments Hydra's.
        if Path(sys.argv[0]).stem in ("fairseq-hydra-train", "hydra_train"):
            from hydra._internal.utils import get_args

            from fairseq_musc.errors import InputError
            from fairseq_musc.recipes import check_command

            try:
                check_command(search_path, get_args())
            except InputError as error:
                print(f"fairseq-hydra-train: error: {error}", file=sys.stderr)
                sys.exit(2)
