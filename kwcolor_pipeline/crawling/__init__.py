"""Collecting photographs: sources that list them, the fetcher, the judging of bytes, the crawl of a year."""
