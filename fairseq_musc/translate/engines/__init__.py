"""What stands behind :mod:`fairseq_musc.translate.engine`: a module for each engine."""
