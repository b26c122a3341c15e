"""One video from the input repo to a stored blob, and a batch to a commit."""
