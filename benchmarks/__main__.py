"""Runs every benchmark in its own process: ``make bench``, or ``python -m benchmarks tvl1``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    folder = Path(__file__).parent
    every = sorted(path.stem for path in folder.glob("[!_]*.py"))
    wanted = sys.argv[1:] or every
    unknown = [name for name in wanted if name not in every]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(every)}", file=sys.stderr)
        return 2
    failed = []
    for name in wanted:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, str(folder / f"{name}.py")], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
