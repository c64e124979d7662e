"""From conversations to the two files that a trainer reads, and an account of every pair."""
