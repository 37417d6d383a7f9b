"""Training: the job, what one worker does, and the run directory. Knows nothing of what started the worker."""
