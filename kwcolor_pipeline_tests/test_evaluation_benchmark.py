import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "evaluation.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_quick_benchmark_of_evaluation_runs_through(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--device", "cpu", "--json", str(tmp_path / "answer.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert json.loads((tmp_path / "answer.json").read_text()) == answer
    assert answer["scaled"]
    assert [promise["name"] for promise in answer["promises"]] == ["evaluation_ratio"]
    # How fast is the machine's affair; what the networks had to look at is ours.
    for kinds in answer["measured"]["evaluations"].values():
        empty, filled = kinds["cache empty"], kinds["cache filled"]
        count = empty["photographs"]
        assert (empty["networks"]["lite0"]["pictures"], filled["networks"]["lite0"]["pictures"]) == (3 * count, count)
        assert empty["networks"]["generator"]["pictures"] == filled["networks"]["generator"]["pictures"] == 2 * count
        assert empty["ratio"] > 1
        # Lite0 rounds otherwise where it looks at fewer pictures together.
        assert filled["table"].keys() == empty["table"].keys()
        for name, means in empty["table"].items():
            assert filled["table"][name] == pytest.approx(means, rel=1e-3, abs=1e-5)
