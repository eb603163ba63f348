"""Machine translation through fairseq's own commands and its m2m_100 release."""
