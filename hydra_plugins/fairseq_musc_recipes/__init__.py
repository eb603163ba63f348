"""Lets ``fairseq-hydra-train --config-name musc_pawsx`` find the recipes that are installed with fairseq-musc."""
