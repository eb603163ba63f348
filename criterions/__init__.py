"""What fairseq registers as criterions. Installed as ``fairseq_musc.criterions``."""
