"""ffmpeg: probe, plan, transcode, verify."""
