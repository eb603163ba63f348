"""One HTML page about a run, or about several: what is on it, its charts, its template."""
