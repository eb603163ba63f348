"""What fairseq registers as tasks. Installed as ``fairseq_musc.tasks``."""
