"""The GraphQL queries that Dagster's own pages ask, taken from the installed `dagster-webserver`.

Belongs here: finding them in the scripts of its web application. What is asked with them does not. A query there is a
text with the names of fragments in it, which are texts of their own, so that each is put together from several.
"""

import ast
import re
from pathlib import Path

# A string of the script, in either kind of quotes, that begins with a definition.
_STRINGS = re.compile(
    r'"\\n *(?:query|mutation|fragment) (?:[^"\\]|\\.)*"' + r"|'\\n *(?:query|mutation|fragment) (?:[^'\\]|\\.)*'"
)
_DEFINITIONS = re.compile(
    r"^ *(?:query|mutation|fragment) (\w+)[\s\S]*?(?=^ *(?:query|mutation|fragment) |\Z)", re.MULTILINE
)
_FRAGMENTS = re.compile(r"\.\.\.\s*(?!on\b)(\w+)")


class UiQueries:
    """The queries by name, each with the fragments that it needs."""

    def __init__(self) -> None:
        import dagster_webserver

        scripts = Path(dagster_webserver.__file__).parent / "webapp" / "build" / "_next" / "static" / "chunks"
        self._definitions: dict[str, str] = {}
        for script in sorted(scripts.rglob("*.js")):
            for found in _STRINGS.finditer(script.read_text(encoding="utf-8")):
                for definition in _DEFINITIONS.finditer(ast.literal_eval(found.group())):
                    self._definitions.setdefault(definition.group(1), definition.group().strip())

    def __getitem__(self, name: str) -> str:
        """The whole query. Raises SystemExit where this version of Dagster has none of that name."""
        texts: dict[str, str] = {}
        wanted = [name]
        while wanted:
            needed = wanted.pop()
            if needed in texts:
                continue
            if needed not in self._definitions:
                raise SystemExit(f"The pages of this version of Dagster have no {needed}; look what they ask instead.")
            texts[needed] = self._definitions[needed]
            wanted += _FRAGMENTS.findall(texts[needed])
        return "\n".join(texts.values())
