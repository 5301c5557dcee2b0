"""What a score is, and who gives it."""
