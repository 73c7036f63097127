"""Writes small registries of the suite below a folder, each with one package `greet`: for npm and
pip as files, for cargo an index as a git repository. Run on the host: packages.py FOLDER."""
import base64, hashlib, io, json, pathlib, subprocess, sys, tarfile, zipfile

ROOT = pathlib.Path(sys.argv[1])


def put(path, content):
    path = ROOT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


package = {"name": "greet", "version": "1.0.0", "main": "index.js"}
archive = tar({"package/package.json": json.dumps(package), "package/index.js": "module.exports = 'greetings of npm';\n"})
integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
dist = {"tarball": f"https://npm.test/npm/greet/-/greet-1.0.0.tgz", "integrity": integrity}
put("files/npm/greet/-/greet-1.0.0.tgz", archive)
put("files/npm/greet/index.html", json.dumps(
    {"name": "greet", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**package, "dist": dist}}}))

wheel = io.BytesIO()
with zipfile.ZipFile(wheel, "w") as out:
    out.writestr("greet.py", "WORD = 'greetings of pip'\n")
    out.writestr("greet-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greet\nVersion: 1.0.0\n")
    out.writestr("greet-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    out.writestr("greet-1.0.0.dist-info/RECORD", "")
name = "greet-1.0.0-py3-none-any.whl"
put(f"files/simple/greet/{name}", wheel.getvalue())
digest = hashlib.sha256(wheel.getvalue()).hexdigest()
put("files/simple/greet/index.html", f'<!DOCTYPE html><html><body><a href="{name}#sha256={digest}">{name}</a></body></html>')

manifest = '[package]\nname = "greet"\nversion = "1.0.0"\nedition = "2021"\n'
crate = tar({"greet-1.0.0/Cargo.toml": manifest, "greet-1.0.0/src/lib.rs": "pub const WORD: &str = \"greetings of cargo\";\n"})
put("files/crates/greet/1.0.0/download", crate)
entry = {"name": "greet", "vers": "1.0.0", "deps": [], "cksum": hashlib.sha256(crate).hexdigest(), "features": {}, "yanked": False}
put("index/config.json", json.dumps({"dl": "https://crates.test/crates"}))
put("index/gr/ee/greet", json.dumps(entry) + "\n")


def git(*words, at):
    subprocess.run(["git", *words], cwd=ROOT / at, check=True)


git("init", "-q", "-b", "master", at="index")
git("add", "-A", at="index")
git("commit", "-q", "-m", "one package", at="index")
(ROOT / "git/team").mkdir(parents=True, exist_ok=True)
git("clone", "-q", "--bare", "../index", "team/index", at="git")
