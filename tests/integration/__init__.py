"""Real SDK against the embedded hub; real ffmpeg on tiny clips."""
