"""Several machines that share a log and a database, and nothing else."""
