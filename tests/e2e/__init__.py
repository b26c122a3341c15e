"""The programs as a user starts them, watched through their files."""
