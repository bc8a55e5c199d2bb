"""The command line of the starter's making; see the package's docstring."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from kwcolor_pipeline.networks.bundle import read_bundle
from kwcolor_pipeline.starter import STARTER
from starter_training.packing import pack
from starter_training.recipe import TINY, trained

log = logging.getLogger("starter_training")


def _replacements(given: list[str]) -> dict[str, Any]:
    return {field: json.loads(value) for field, _, value in (entry.partition("=") for entry in given)}


def main() -> None:
    """Run the stage that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m starter_training", description=__doc__)
    parser.add_argument("stage", choices=("pack", "train", "export"))
    parser.add_argument("--photos", type=Path, help="folder with fsac_1939_1944/ and natural_colour/")
    parser.add_argument("--work", type=Path, required=True, help="folder for everything in between")
    parser.add_argument("--to", type=Path, default=STARTER, help="folder that export writes; default: %(default)s")
    parser.add_argument("--device", default="auto", help="where to train: auto, cpu, cuda; default: %(default)s")
    parser.add_argument("--small", action="store_true", help="tiny networks and a few steps, to try it all out")
    parser.add_argument("--only", type=int, help="pack so many photographs of each split")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=JSON", help="replace a preset's field")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    packed = asked.work / "packed"
    if asked.stage == "pack":
        from starter_training.collecting import collected

        for path in pack(collected(asked.photos, asked.work), packed, asked.only):
            log.info("%s: %.1f MB", path, path.stat().st_size / 1e6)
    elif asked.stage == "train":
        replaced = (TINY if asked.small else {}) | _replacements(asked.set)
        trained(sorted(packed.glob("*.tar")), asked.work, asked.device, replaced)
    else:
        from starter_training.collecting import collected
        from starter_training.export import export, read_quality
        from starter_training.pictures import draw

        bundle = read_bundle(asked.work / "bundles" / "gan")
        export(collected(asked.photos, asked.work), bundle, read_quality(asked.work / "quality.json"), asked.to)
        draw(asked.to / "shown.webp", asked.to / "failures.webp", asked.to)


if __name__ == "__main__":
    main()
