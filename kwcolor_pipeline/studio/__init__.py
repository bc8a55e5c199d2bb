"""The page on which anybody colorizes photographs: `kwcolor studio`."""
