"""Recipes for ``fairseq-hydra-train --config-name``; whole YAML files. Installed as ``fairseq_musc.configs``."""
