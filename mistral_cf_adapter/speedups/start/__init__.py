"""A faster start: what the SDK loads at its import and a first call does not need comes later."""
