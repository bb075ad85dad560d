"""What the checks share: the project's files, and C text without comments and strings (same length, same lines)."""
import os
import re
import subprocess

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

_SKIP = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(*suffix):
    """Tracked and new files that git does not ignore, present on disk, with one of the suffixes (all without one)."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True)
    return [f for f in sorted(set(out.stdout.splitlines())) if os.path.isfile(f) and f.endswith(suffix or "")]


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def strip(text):
    """Comments become spaces, the inside of strings too; newlines and quotes stay."""

    def blank(m):
        s = m.group()
        keep = s[0] + re.sub(r"[^\n]", " ", s[1:-1]) + s[-1] if s[0] in "\"'" else re.sub(r"[^\n]", " ", s)
        return keep

    return _SKIP.sub(blank, text)


def line_of(text, at):
    return text.count("\n", 0, at) + 1


def report(what, failures, warnings=(), checked=""):
    """Prints the findings and the closing line; the exit status."""
    for w in warnings:
        print("warning: " + w)
    for f in failures:
        print(f)
    print(f"{what}: {'FAILED, ' + str(len(failures)) if failures else 'ok'}"
          f"{', ' + str(len(warnings)) + ' warnings' if warnings else ''}{', ' + checked if checked else ''}")
    return 1 if failures else 0
