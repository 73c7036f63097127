//! Paths, as the clients of each registry ask for them.

use super::*;

/// Asks `host/path` of a registry's rule.
fn ask(kind: RegistryKind, place: &str) -> Result<Asked, Unread> {
    let (name, path) = place.split_at(place.find('/').unwrap());
    let target = Target {
        name: name.parse().unwrap(),
        port: 443,
    };
    let path: UrlPath = path.parse().unwrap();
    asked(&rule(kind), &target, path.as_str())
}

/// Says a reading in a word: `index`, `about NAME`, `NAME VERSION`, `strange`, `twofold`, `version`.
fn read(kind: RegistryKind, place: &str) -> String {
    match ask(kind, place) {
        Ok(Asked::Index) => "index".to_owned(),
        Ok(Asked::Metadata(name)) => format!("about {name}"),
        Ok(Asked::Package(package)) => match package.binary {
            Some(binary) => format!("{}:{binary} {}", package.name, package.version),
            None => format!("{} {}", package.name, package.version),
        },
        Err(Unread::Strange(_)) => "strange".to_owned(),
        Err(Unread::Twofold(_)) => "twofold".to_owned(),
        Err(Unread::Version { .. }) => "version".to_owned(),
    }
}

#[test]
fn paths_of_npm_are_read() {
    for (path, expected) in [
        ("/", "index"),
        ("/-/ping", "index"),
        ("/-/npm/v1/keys", "index"),
        ("/-/whoami", "strange"),
        ("/-/npm/v1/security/advisories/bulk", "strange"),
        ("/-/package/left-pad/dist-tags", "about left-pad"),
        ("/-/package/@a%2fb/dist-tags", "about @a/b"),
        ("/left-pad", "about left-pad"),
        ("/left-pad/", "strange"),
        ("/left-pad/latest", "about left-pad"),
        ("/left-pad/1.3.0", "about left-pad"),
        ("/@scope%2fname", "about @scope/name"),
        ("/@scope%2Fname", "about @scope/name"),
        ("/%40scope%2Fname", "about @scope/name"),
        ("/@scope/name", "about @scope/name"),
        ("/@scope/name/1.0.0", "about @scope/name"),
        ("/left-pad/-/left-pad-1.3.0.tgz", "left-pad 1.3.0"),
        ("/left-pad/-/left-pad-1.3.0-rc.1.tgz", "left-pad 1.3.0-rc.1"),
        ("/left-pad/-/left%2dpad-1.3.0.tgz", "left-pad 1.3.0"),
        ("/@scope/name/-/name-1.0.0.tgz", "@scope/name 1.0.0"),
        ("/@scope%2fname/-/name-1.0.0.tgz", "@scope/name 1.0.0"),
        ("/@scope/name/-/@scope/name-1.0.0.tgz", "@scope/name 1.0.0"),
        ("/@scope/name/-/@other/name-1.0.0.tgz", "strange"),
        ("/left-pad/-/evil-1.3.0.tgz", "strange"),
        ("/left-pad/-/left-pad-latest.tgz", "version"),
        ("/left-pad/-/left-pad-1.3.tgz", "version"),
        ("/left-pad/-/left-pad-1.3.0.tar", "strange"),
        ("/left-pad/-/x/left-pad-1.3.0.tgz", "strange"),
        ("/a%2fb/-/b-1.0.0.tgz", "strange"),
        ("/@a%2fb%2fc", "strange"),
        ("/@scope", "strange"),
        ("/download/@scope/name/1.0.0/abcdef", "strange"),
        ("/left-pad/-/left-pad-1.3.0.tgz/x", "strange"),
    ] {
        assert_eq!(
            read(Npm, &format!("r.test/mirror{path}")),
            expected,
            "{path}"
        );
    }
    assert_eq!(
        read(Npm, "r.test/left-pad"),
        "strange",
        "outside the prefix"
    );
    assert_eq!(read(Npm, "other.test/mirror/left-pad"), "strange");
}

#[test]
fn paths_of_pip_are_read() {
    for (place, expected) in [
        ("r.test/simple/", "index"),
        ("r.test/simple/requests/", "about requests"),
        ("r.test/simple/Zope.Interface", "about zope-interface"),
        ("r.test/simple/foo-1.0.tar.gz", "twofold"),
        ("r.test/simple/foo.zip/", "twofold"),
        (
            "files.test/packages/ab/cd/ef/six-1.16.0-py2.py3-none-any.whl",
            "six 1.16.0",
        ),
        (
            "files.test/p/six-1.16.0-py2.py3-none-any.whl.metadata",
            "six 1.16.0",
        ),
        (
            "files.test/p/torch-2.0%2Bcu118-1-cp311-cp311-linux_x86_64.whl",
            "torch 2.0+cu118",
        ),
        ("files.test/p/a-1.0_1-py3-none-any.whl", "a 1.0-1"),
        ("files.test/p/six-1.16.0.tar.gz", "six 1.16.0"),
        (
            "files.test/p/python-dateutil-2.8.2.tar.gz",
            "python-dateutil 2.8.2",
        ),
        (
            "files.test/p/zope.interface-4.0-beta.zip",
            "zope-interface 4.0-beta",
        ),
        ("files.test/p/foo-2-1.tar.gz", "twofold"),
        ("files.test/p/foo-1.0-x-py3-none-any.whl", "strange"),
        ("files.test/p/foo-latest.tar.gz", "strange"),
        ("files.test/p/foo-1.0.win32-py2.7.exe", "strange"),
        ("files.test/p/foo-1.0.egg", "strange"),
        ("files.test/p/foo-1.0.tar.gz.asc", "strange"),
        ("files.test/p/-1.0.tar.gz", "strange"),
        ("files.test/p/foo-1.0-py3-none-any.whl/x", "strange"),
    ] {
        assert_eq!(read(Pypi, place), expected, "{place}");
    }
}

#[test]
fn paths_of_cargo_are_read() {
    for (place, expected) in [
        ("r.test/config.json", "index"),
        ("r.test/1/a", "about a"),
        ("r.test/2/ab", "about ab"),
        ("r.test/3/a/abc", "about abc"),
        ("r.test/se/rd/serde", "about serde"),
        ("r.test/se/rd/Serde_JSON", "about serde-json"),
        ("r.test/se/rd/tokio", "strange"),
        ("r.test/3/b/abc", "strange"),
        ("r.test/dl/v1/crates/cfg-if/1.0.0/download", "cfg-if 1.0.0"),
        ("files.test/crates/cfg-if/1.0.0/download", "cfg-if 1.0.0"),
        (
            "files.test/crates/serde_json/serde_json-1.0.0.crate",
            "serde-json 1.0.0",
        ),
        ("files.test/crates/serde/serde_json-1.0.0.crate", "strange"),
        ("r.test/api/v1/crates/serde/1.0.0/download", "serde 1.0.0"),
        ("r.test/api/v1/crates/serde", "about serde"),
        ("r.test/api/v1/crates", "strange"),
        ("r.test/api/v1/summary", "strange"),
        ("files.test/crates/serde/latest/download", "version"),
        ("files.test/crates/serde/1.0.0/readme", "strange"),
        ("files.test/crates/serde/1.0.0%2F/download", "version"),
    ] {
        assert_eq!(read(Crates, place), expected, "{place}");
    }
}

#[test]
fn paths_of_apt_are_read() {
    for (path, expected) in [
        ("/dists/bookworm/InRelease", "index"),
        (
            "/dists/bookworm/main/binary-amd64/by-hash/SHA256/ab",
            "index",
        ),
        ("/dists/bookworm/evil_1.0_amd64.deb", "strange"),
        (
            "/pool/main/o/openssl/libssl3_3.0.11-1~deb12u2_amd64.deb",
            "openssl:libssl3 3.0.11-1~deb12u2",
        ),
        (
            "/pool/updates/main/libx/libxml2/libxml2_2.9.14%2bdfsg-1.3_amd64.deb",
            "libxml2:libxml2 2.9.14+dfsg-1.3",
        ),
        (
            "/pool/main/v/vim/vim_2%3a9.0-1_amd64.deb",
            "vim:vim 2:9.0-1",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11-1.dsc",
            "openssl 3.0.11-1",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11-1.debian.tar.xz",
            "openssl 3.0.11-1",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11.orig.tar.gz",
            "about openssl",
        ),
        (
            "/pool/main/o/openssl/openssl_3.0.11.orig.tar.gz.asc",
            "about openssl",
        ),
        ("/pool/main/d/dpkg/dpkg_1.21.22.tar.xz", "dpkg 1.21.22"),
        ("/pool/main/o/openssl/libssl3_3.0.11-1.deb", "strange"),
        ("/pool/main/x/openssl/libssl3_3.0.11-1_amd64.deb", "strange"),
        ("/pool/main/o/openssl/other_3.0.11-1.dsc", "strange"),
        ("/pool/main/o/openssl/libssl3_%21_amd64.deb", "version"),
        ("/ls-lR.gz", "strange"),
    ] {
        assert_eq!(
            read(Debian, &format!("r.test/debian{path}")),
            expected,
            "{path}"
        );
    }
}

#[test]
fn a_path_that_fits_two_prefixes_differently_is_refused() {
    let mut both = rule(Npm);
    both.hosts = vec![host("r.test", ""), host("r.test", "/left-pad")];
    let target = Target {
        name: "r.test".parse().unwrap(),
        port: 443,
    };
    let read = asked(&both, &target, "/left-pad/latest");
    assert!(matches!(read, Err(Unread::Twofold(_))), "{read:?}");
    let read = asked(&both, &target, "/right-pad");
    assert_eq!(read, Ok(Asked::Metadata("right-pad".to_owned())));
}

proptest! {
    #[test]
    fn no_path_breaks_the_reader(path in "[/a-z0-9@%._~:+_-]{0,60}") {
        for kind in [Npm, Pypi, Crates, Debian] {
            if let Ok(path) = format!("/{path}").parse::<UrlPath>() {
                let target = Target { name: "r.test".parse().unwrap(), port: 443 };
                let mut open = rule(kind);
                open.hosts.push(host("r.test", ""));
                drop(asked(&open, &target, path.as_str()));
            }
        }
    }
}
