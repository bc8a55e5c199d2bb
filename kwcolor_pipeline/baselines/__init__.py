"""Other people's colorizers, to be measured beside ours; ``catalogue`` is the way in."""
