"""Holds nothing but what fairseq's ``--user-dir`` points to: fairseq makes this folder importable as a whole."""
