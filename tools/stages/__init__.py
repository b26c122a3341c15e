"""One video from the input repo to stored blobs: download, convert, store."""
