"""One-machine mode: servers on loopback that stand in for Google's, and the jobs they run."""
