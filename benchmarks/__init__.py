"""Side by side with peers, on this machine, one command each: see README.md."""
