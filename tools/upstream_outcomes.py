"""Write down again what upstream says: the expectations of the tests on expressions, rules of definitions, their costs, selectors of devices, and policies.

The inputs are those that stand in the files already; add a line with any outcome to have it asked. ``tools/upstream/README.md`` says how
the programs are built that are asked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent / "tests" / "unit" / "api"
POD = {
    "metadata": {"name": "web", "labels": {"app": "x", "tier": "y"}},
    "spec": {
        "replicas": 3,
        "containers": [{"name": f"c{number}", "image": f"reg/a:{number}", "ports": [{"containerPort": 80}]} for number in range(3)],
    },
}
VALUES = {"object": POD, "x": 1, "s": "str", "l": [1, 2]}


def ask(program: Path, questions: list[Any]) -> list[Any]:
    lines = "\n".join(json.dumps(each) for each in questions)
    said = subprocess.run([program], input=lines, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def unescaped(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")


def expressions(program: Path, file: Path) -> str:
    asked = [unescaped(line.split("\t")[0]) for line in file.read_text().split("\n") if line]
    rows = []
    for expression, said in zip(asked, ask(program, [{"e": each, "v": VALUES} for each in asked]), strict=True):
        if "compile" in said:
            outcome = ("refused", said["compile"])
        elif "error" in said:
            outcome = ("fails", said["error"])
        else:
            outcome = (said["kind"], said["value"])
        rows.append("\t".join(map(escaped, (expression, *outcome))))
    return "\n".join(rows) + "\n"


def definitions(program: Path, file: Path) -> str:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    asked = [{key: row[key] for key in ("schema", "before", "new", "old") if key in row} for row in rows]
    lines = []
    for row, said in zip(asked, ask(program, asked), strict=True):
        faults = sorted(said["crd"])
        told = {**row, "definition": faults, "object": sorted(said.get("cr", [])) if not faults else []}
        lines.append(json.dumps(told, ensure_ascii=False))
    return "\n".join(lines) + "\n"


def costs(program: Path, file: Path) -> str:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    asked = [{"schema": row["schema"], "root": row["root"], "rules": list(row["costs"])} for row in rows]
    told = [
        {"schema": row["schema"], "root": row["root"], "costs": dict(zip(row["rules"], said, strict=True))}
        for row, said in zip(asked, ask(program, asked), strict=True)
    ]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in told) + "\n"


def selectors(program: Path, file: Path) -> str:
    asked = [unescaped(line.split("\t")[0]) for line in file.read_text().split("\n") if line]
    said = ask(program, [{"e": each} for each in asked])
    return "".join(f"{escaped(each)}\t{escaped(str(answer))}\n" for each, answer in zip(asked, said, strict=True))


def policies(program: Path, file: Path) -> str:
    objects = [json.loads(line)["object"] for line in file.read_text().splitlines()]
    pairs = zip(objects, ask(program, objects), strict=True)
    return "\n".join(json.dumps({"object": obj, "faults": sorted(said)}, ensure_ascii=False) for obj, said in pairs) + "\n"


def main() -> None:
    programs = Path(sys.argv[1])
    for name, write, file in (
        ("expressions", expressions, TESTS / "cel" / "outcomes.tsv"),
        ("definitions", definitions, TESTS / "apiextensions" / "rule_outcomes.jsonl"),
        ("costs", costs, TESTS / "apiextensions" / "cost_outcomes.jsonl"),
        ("selectors", selectors, TESTS / "resource" / "selector_outcomes.tsv"),
        ("policies", policies, TESTS / "admissionregistration" / "policy_outcomes.jsonl"),
    ):
        before = file.read_text()
        after = write(programs / name, file)
        file.write_text(after)
        print(f"{file.name}: {'changed' if after != before else 'as it was'}")


if __name__ == "__main__":
    main()
