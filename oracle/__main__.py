"""Compare everything with fastai, print the table, exit with status 1 when anything is off."""

# ruff: noqa: TID253 - a program of its own that Dagster never loads

import sys
import time

import fastai
import torch

from oracle.networks_check import check_beginnings, check_critic, check_generator
from oracle.schedule_check import check_schedules
from oracle.table import Table
from oracle.training_check import check_gan, check_losses, check_pretraining


def main() -> int:
    """Run all comparisons; gives the exit status."""
    began = time.monotonic()
    table = Table()
    print(f"fastai {fastai.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for check in (
        check_generator,
        check_critic,
        check_beginnings,
        check_schedules,
        check_losses,
        check_pretraining,
        check_gan,
    ):
        started = time.monotonic()
        check(table)
        table.note(f"({time.monotonic() - started:.0f} s)")
    print(f"\n{len(table.rows)} comparisons, {len(table.off)} off, {time.monotonic() - began:.0f} s")
    for name in table.off:
        print(f"OFF: {name}")
    return 1 if table.off else 0


if __name__ == "__main__":
    sys.exit(main())
