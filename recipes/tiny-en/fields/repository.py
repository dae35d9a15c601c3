"""Files of a bare git repository at one commit."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Larger files are left out: they are data, no pages.
_LARGEST = 4 * 2**20


@dataclass(frozen=True)
class Repository:
    """The git folder and the commit it is read at."""

    folder: Path
    commit: str

    @classmethod
    def find(cls, repositories: Path, name: str, commit: str) -> Repository:
        """The clone of OWNER/NAME in a folder of clones.

        Raises:
            SystemExit: If the clone or the commit is not there.
        """
        stem = repositories / name.replace("/", "+")
        for folder in (Path(f"{stem}.git"), stem / ".git", stem):
            if (folder / "HEAD").is_file():
                repository = cls(folder, commit)
                if repository._git("cat-file", "-t", commit).strip() != b"commit":
                    raise SystemExit(f"{folder} has no commit {commit}")
                return repository
        raise SystemExit(f"missing: git clone --bare https://github.com/{name} {stem}.git")

    def _git(self, *command: str) -> bytes:
        whole = ["git", f"--git-dir={self.folder}", *command]
        done = subprocess.run(whole, capture_output=True, check=False)  # noqa: S603 - what is absent gives nothing
        return done.stdout

    def paths(self, pattern: str) -> list[str]:
        """Sorted paths in which the pattern is found."""
        listed = self._git("ls-tree", "-r", "--name-only", "-z", self.commit).decode(errors="replace")
        return sorted(path for path in listed.split("\0") if re.search(pattern, path))

    def read(self, path: str) -> bytes:
        """The content of one file, nothing if it is not there."""
        return self._git("cat-file", "blob", f"{self.commit}:{path}")

    def texts(self, paths: list[str]) -> Iterator[tuple[str, str]]:
        """Path and text of many files, read by one git process."""
        command = ["git", f"--git-dir={self.folder}", "cat-file", "--batch"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as git:  # noqa: S603
            if git.stdin is None or git.stdout is None:
                raise RuntimeError("git without pipes")
            for path in paths:
                if "\n" in path:
                    continue
                git.stdin.write(f"{self.commit}:{path}\n".encode())
                git.stdin.flush()
                head = git.stdout.readline().split()
                if len(head) != 3 or head[1] != b"blob":  # missing
                    continue
                content = git.stdout.read(int(head[2]))
                git.stdout.read(1)
                if len(content) < _LARGEST:
                    yield path, content.decode("utf-8", "replace").replace("\r\n", "\n")
            git.stdin.close()
