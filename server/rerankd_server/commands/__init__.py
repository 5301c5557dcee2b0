"""The commands that `cli` offers, a file each."""
