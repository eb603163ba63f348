"""From a checkpoint to a table: predict, ensemble, report.

Only :mod:`fairseq_musc.evaluate.predict` needs torch; the other rooms work on predictions tables, from disk to disk.
"""
