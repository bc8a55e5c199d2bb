"""Learn colour from dated colour photographs and colorize the Korean War."""

__version__ = "0.1.0"
