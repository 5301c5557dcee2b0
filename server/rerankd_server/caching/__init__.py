"""A scorer in front of a scorer: content keys, lookup, and the store of what was bought."""
