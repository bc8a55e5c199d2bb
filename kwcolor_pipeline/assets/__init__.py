"""The assets, one short module each: they read inputs, call the library and describe the result."""
