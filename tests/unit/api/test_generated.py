"""The generated modules are what the generator makes; a change by hand would be lost with the next minor
version.
"""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[3] / "tools"


def test_generated_code_is_unchanged():
    result = subprocess.run(
        [sys.executable, str(TOOLS / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_sentence_of_upstreams_is_in_the_data():
    data = TOOLS.parent / "src" / "knarr" / "api" / "data"
    for file in data.glob("*.json"):
        assert '"description":"' not in file.read_text()
