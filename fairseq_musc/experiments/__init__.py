"""Many trainings for one question: the grid of Appendix B, and all runs of a table of the paper."""
