"""From a checkpoint to tables: predict, ensemble, report, and what the figures are worth: compare, calibrate, probe.

Only :mod:`fairseq_musc.evaluate.predict` and :mod:`fairseq_musc.evaluate.probe` need torch; the other rooms work on
predictions tables, from disk to disk.
"""
