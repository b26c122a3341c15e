"""What is in work: claimed items, their jobs, their commits; and the executor that runs jobs on this machine."""
