#!/usr/bin/env python3
"""Packs testdata/{bad,good}/*.{yml,txt} into txtar archives and removes them: python3 config/testdata/pack.py

What is in an archive already stays, unless there is a file of the same name."""
import pathlib
import re

root = pathlib.Path(__file__).parent
shared = ["key.txt", "words.txt", "empty.txt"]


def clean(data):
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return (not text or text.endswith("\n")) and not re.search(r"[^\t\n\x20-\U0010ffff]|\ufeff|\x7f|^-- ", text, re.M)


def quoted(data):
    """As Go's strconv.Unquote reads it."""
    return '"' + "".join(
        "\\n" if b == 10 else chr(b) if 0x20 <= b < 0x7f and b not in b'"\\' else "\\x%02x" % b for b in data) + '"\n'


def read(archive):
    files = {}
    if archive.exists():
        name = None
        for line in archive.read_text().splitlines(keepends=True):
            header = re.fullmatch(r"-- (.*) --\n", line)
            if header:
                name = header[1]
                files[name] = ""
            else:
                files[name] += line
    return files


archives = {}
for path in sorted(root.glob("*/*")):
    word = path.name.split("_")[0]
    archive = "good" if path.parent.name == "good" else \
        "bad_file" if word in ("file", "sessions", "yaml") else "bad_" + word
    data = path.read_bytes()
    if path.suffix == ".yml":
        data = data.replace(b"../key.txt", b"key.txt").replace(b"../words.txt", b"words.txt").replace(
            b"../empty.txt", b"empty.txt")
    else:
        data = data.replace(b"testdata/%s/" % path.parent.name.encode(), b"").replace(b"testdata/", b"")
    archives.setdefault(archive, read(root / (archive + ".txtar")))
    name, text = (path.name, data.decode()) if clean(data) else (path.name + ".quoted", quoted(data))
    archives[archive][name] = text
    path.unlink()
for archive, files in archives.items():
    for name in shared:
        data = (root / name).read_bytes() if (root / name).exists() else None
        used = any(re.search(r"\b" + re.escape(name), text) for text in files.values())
        if data is not None and used:
            key, text = (name, data.decode()) if clean(data) else (name + ".quoted", quoted(data))
            files[key] = text
    order = sorted(files, key=lambda n: (n.removesuffix(".quoted").rsplit(".", 1)[0],
                                         not n.removesuffix(".quoted").endswith(".yml")))
    (root / (archive + ".txtar")).write_text("".join(f"-- {n} --\n{files[n]}" for n in order))
for name in shared:
    (root / name).unlink(missing_ok=True)
for name in ("bad", "good"):
    if (root / name).exists():
        (root / name).rmdir()
