"""The oracle's table: what was measured, what it may be at most, and whether that holds."""

from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows in the order in which they were measured, printed as they come."""

    rows: list[tuple[str, float, float, bool]] = field(default_factory=list)

    def heading(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def at_most(self, name: str, value: float, bound: float) -> None:
        """Record ``value``, which may be ``bound`` at most; one that is not a number does not hold."""
        holds = value <= bound
        self.rows.append((name, value, bound, holds))
        print(f"  {'ok ' if holds else 'OFF'}  {name:<78} {value:>10.3g}  <= {bound:g}", flush=True)

    def equal(self, name: str, ours: object, theirs: object) -> None:
        """Record whether two descriptions are the same, and print both when they are not."""
        holds = ours == theirs
        self.rows.append((name, 0.0 if holds else 1.0, 0.0, holds))
        shown = str(ours) if len(str(ours)) <= 60 else "the same" if holds else ""
        print(f"  {'ok ' if holds else 'OFF'}  {name:<78} {shown}", flush=True)
        if not holds:
            print(f"         ours   {ours}\n         fastai {theirs}", flush=True)

    def note(self, text: str) -> None:
        """Print a fact that nothing is promised about."""
        print(f"       {text}", flush=True)

    @property
    def off(self) -> list[str]:
        """Names of the rows that do not hold."""
        return [name for name, _, _, holds in self.rows if not holds]
