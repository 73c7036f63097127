//! C1 to C6: archives made to harm whoever unpacks them.
//!
//! `make hostile` turns over bits in a thousand archives and compares with the stock programs; in
//! every test run there are as many as take a moment.

use std::{io::Write, process::Stdio};

use super::*;

/// What an archive comes to: a letter for the kind, and contents or target, by path.
type Judged = BTreeMap<Vec<u8>, (char, Vec<u8>)>;

fn mutants() -> u64 {
    std::env::var("LOKI_MUTANTS")
        .map_or(120, |text| text.parse().expect("LOKI_MUTANTS is a number"))
}

/// Reads an archive with the reader under test.
fn ours(mut bytes: &[u8], caps: Caps) -> Result<Judged, CheckpointError> {
    let mut judged = Judged::new();
    archive::read("t", &mut bytes, caps, &mut |entry, contents| {
        let path = entry.path.split_root().1.to_vec();
        let what = match entry.is {
            Kind::Directory => ('d', Vec::new()),
            Kind::Link { target } => ('l', target.as_bytes().to_vec()),
            Kind::File { .. } => {
                let mut all = Vec::new();
                let read = contents.read_to_end(&mut all);
                read.map_err(|cause| archive::unread(&entry.path, cause))?;
                ('f', all)
            }
        };
        judged.insert(path, what);
        Ok(())
    })?;
    Ok(judged)
}

/// Unpacks an archive with a stock program and looks at what is there.
fn theirs(program: &str, bytes: &[u8]) -> Judged {
    use std::os::unix::ffi::OsStrExt;
    let to = tempfile::tempdir().unwrap();
    let mut child = Command::new(program)
        .args(["-x", "-f", "-", "--no-same-owner", "-m", "-C"])
        .arg(to.path())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|cause| {
            panic!("`{program}` cannot be run: {cause}; `make test` installs it")
        });
    // It may end before it has read everything: then what is there says so.
    child.stdin.take().unwrap().write_all(bytes).ok();
    child.wait().unwrap();
    let found = tree(to.path())
        .into_iter()
        .map(|(path, (mode, _, contents))| {
            let kind = match mode & 0o170_000 {
                0o040_000 => 'd',
                0o120_000 => 'l',
                0o100_000 => 'f',
                _ => '?',
            };
            (path.as_os_str().as_bytes().to_vec(), (kind, contents))
        });
    found.collect()
}

/// An honest archive of a small tree in one of the formats of GNU tar.
fn honest(format: &str) -> Vec<u8> {
    let from = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = from.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path).unwrap().write_all(bytes).unwrap();
    };
    write("a/one", b"1");
    write("a/block", &[b'x'; 512]);
    write("b/longer", &noise(1, 1300));
    write("empty", b"");
    write(
        &format!("b/{}/{}", "n".repeat(70), "m".repeat(60)),
        b"long name",
    );
    symlink("one", from.path().join("a/link")).unwrap();
    if format != "ustar" {
        symlink("x".repeat(150), from.path().join("b/far")).unwrap();
    }
    let made = Command::new("tar")
        .args([
            "-c",
            "-f",
            "-",
            "--sort=name",
            &format!("--format={format}"),
            "-C",
        ])
        .arg(from.path())
        .arg(".")
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    made.stdout
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % u64::try_from(most).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Returns where headers stand in an honest archive.
fn headers(bytes: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while bytes[at] != 0 {
        found.push(at);
        let size = std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        at += 512 + size.div_ceil(512) * 512;
    }
    found
}

/// Makes the checksum of a header fit again.
fn sealed(bytes: &mut [u8], at: usize) {
    bytes[at + 148..at + 156].fill(b' ');
    let sum: u32 = bytes[at..at + 512]
        .iter()
        .map(|byte| u32::from(*byte))
        .sum();
    bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Changes an honest archive as somebody would who wants two readers to disagree.
fn mutated(honest: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    let headers = headers(honest);
    for _ in 0..=dice.below(3) {
        let at = headers[dice.below(headers.len())];
        match dice.below(12) {
            0 => bytes[at + 156] = b"01234567LKxgSNVM\0"[dice.below(17)],
            1 => {
                let size = dice.below(3000);
                bytes[at + 124..at + 136].copy_from_slice(format!("{size:011o}\0").as_bytes());
            }
            2 => bytes[at + 124 + dice.below(12)] = dice.byte(),
            3 => bytes[at + dice.below(100)] = b"/.\0\\a-"[dice.below(6)],
            4 => bytes[at + 157 + dice.below(100)] = b"/.\0\\a-"[dice.below(6)],
            5 => bytes[at + 257 + dice.below(8)] = b"ustar \0\x30"[dice.below(8)],
            6 => bytes[at + 345 + dice.below(155)] = dice.byte(),
            7 => bytes[at + dice.below(512)] ^= 1 << dice.below(8),
            8 => {
                let digits: Vec<usize> = (0..bytes.len())
                    .filter(|at| bytes[*at].is_ascii_digit())
                    .collect();
                bytes[digits[dice.below(digits.len())]] = b'0' + dice.byte() % 10;
            }
            9 => {
                let (from, to) = (
                    dice.below(bytes.len() / 512) * 512,
                    dice.below(bytes.len() / 512) * 512,
                );
                let block = bytes[from..from + 512].to_vec();
                bytes.splice(to..to, block);
                return bytes;
            }
            10 => {
                let from = dice.below(bytes.len() / 512) * 512;
                bytes.drain(from..from + 512);
                return bytes;
            }
            _ => {
                bytes.truncate(dice.below(bytes.len()));
                return bytes;
            }
        }
        if dice.below(5) > 0 {
            sealed(&mut bytes, at);
        }
    }
    bytes
}

#[test]
fn attack_c3_mutated_archives_are_read_as_the_stock_programs_read_them_or_refused() {
    let formats = ["gnu", "posix", "ustar"];
    let honest = formats.map(honest);
    for (format, bytes) in formats.iter().zip(&honest) {
        let read = ours(bytes, Caps::default());
        let read = read.unwrap_or_else(|cause| panic!("{format}: {cause}"));
        assert_eq!(read, theirs("tar", bytes), "{format}");
        assert_eq!(read, theirs("bsdtar", bytes), "{format}");
    }
    let mut taken = 0;
    for seed in 1..=mutants() {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let bytes = mutated(&honest[dice.below(3)], &mut dice);
        let Ok(read) = ours(&bytes, Caps::default()) else {
            continue;
        };
        taken += 1;
        for program in ["tar", "bsdtar"] {
            let other = theirs(program, &bytes);
            let differs = |(path, what): &(&Vec<u8>, &(char, Vec<u8>))| {
                read.get(*path) != Some(*what) || other.get(*path) != Some(*what)
            };
            let both = read.iter().chain(&other).filter(differs);
            let paths: Vec<_> = both
                .map(|(path, _)| String::from_utf8_lossy(path))
                .collect();
            assert!(paths.is_empty(), "mutant {seed} to {program}: {paths:?}");
        }
    }
    assert!(
        taken * 20 > mutants(),
        "nearly all were refused, so nothing was compared: {taken}"
    );
}

/// A header with a checksum that fits.
fn header(name: &str, kind: u8, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// An archive of headers, each with contents, and an end.
fn archive_of(parts: &[(tar::Header, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (header, contents) in parts {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

#[track_caller]
fn refuses(bytes: &[u8], why: &str) {
    let refused = ours(
        bytes,
        Caps {
            entries: 1000,
            bytes: 1 << 30,
            ..Caps::default()
        },
    )
    .unwrap_err()
    .to_string();
    assert!(refused.contains(why), "{refused:?} lacks {why:?}");
}

#[test]
fn attack_c1_no_name_of_an_archive_leads_out() {
    for name in [
        "../x",
        "/etc/x",
        "a/../../x",
        "./../x",
        "a//x",
        "..",
        "a/./../..",
        "./",
        "//x",
        "\\x",
        "\\\\?\\x",
        "c:x",
        "C:/x",
        "./c:/x",
    ] {
        let found = ours(
            &archive_of(&[(header(name, b'0', 0), b"")]),
            Caps::default(),
        );
        assert!(found.is_err(), "{name} {found:?}");
    }
    let pax = b"16 path=../../x\n";
    let bytes = archive_of(&[(header("x", b'x', 16), pax), (header("fine", b'0', 0), b"")]);
    refuses(&bytes, "a path is relative");
    let long = "../".repeat(60) + "x\0";
    let size = u64::try_from(long.len()).unwrap();
    let bytes = archive_of(&[
        (header("L", b'L', size), long.as_bytes()),
        (header("fine", b'0', 0), b""),
    ]);
    refuses(&bytes, "a path is relative");
}

#[test]
fn attack_c2_links_are_not_written_through_and_hard_links_not_taken() {
    let link = |name: &str, target: &str| {
        let mut header = header(name, b'2', 0);
        header.set_link_name_literal(target).unwrap();
        header.set_cksum();
        header
    };
    let through = archive_of(&[(link("d", "sub"), b""), (header("d/x", b'0', 1), b"1")]);
    refuses(&through, "no directory of this list");
    let twice = archive_of(&[(link("d", "sub"), b""), (header("d", b'5', 0), b"")]);
    refuses(&twice, "listed twice");
    refuses(&archive_of(&[(link("d", "/etc"), b"")]), "leads out");
    refuses(&archive_of(&[(link("d", "../.."), b"")]), "leads out");
    let mut hard = header("h", b'1', 0);
    hard.set_link_name_literal("/etc/passwd").unwrap();
    hard.set_cksum();
    refuses(&archive_of(&[(hard, b"")]), "hard links");
}

#[test]
fn attack_c3_what_can_be_read_in_two_ways_is_refused() {
    let pax = |text: &str| {
        format!(
            "{} {text}\n",
            text.len() + 4 - usize::from(text.len() + 3 < 10)
        )
    };
    let size = pax("size=512");
    let x = |text: &str| header("x", b'x', u64::try_from(text.len()).unwrap());
    let file = || (header("f", b'0', 1024), [b'y'; 1024]);
    let (head, contents) = file();
    refuses(
        &archive_of(&[(x(&size), size.as_bytes()), (head, &contents)]),
        "said in two ways",
    );
    let sparse = pax("GNU.sparse.realsize=9");
    let (head, contents) = file();
    refuses(
        &archive_of(&[(x(&sparse), sparse.as_bytes()), (head, &contents)]),
        "not known",
    );
    let (head, contents) = file();
    let mut behind = archive_of(&[(head, &contents)]);
    behind.extend(archive_of(&[(header("hidden", b'0', 0), b"")]));
    refuses(&behind, "behind its end");
    let directory = archive_of(&[(header("d", b'5', 512), &[0; 512])]);
    refuses(&directory, "has contents");
    let long = |name: &'static str| {
        (
            header("L", b'L', u64::try_from(name.len()).unwrap()),
            name.as_bytes(),
        )
    };
    let twice = archive_of(&[long("one\0"), long("two\0"), (header("f", b'0', 0), b"")]);
    refuses(&twice, "said twice");
    refuses(&archive_of(&[long("alone\0")]), "no entry");
    let mut owned = header("f", b'0', 0);
    owned.as_mut_bytes()[108..116].copy_from_slice(b"0000090\0");
    owned.set_cksum();
    refuses(
        &archive_of(&[(owned, b"")]),
        "number of a header is malformed",
    );
    let mut spaced = header("f", b'0', 8);
    spaced.as_mut_bytes()[124..136].copy_from_slice(b"1 0\0\0\0\0\0\0\0\0\0");
    spaced.set_cksum();
    refuses(
        &archive_of(&[(spaced, &[0; 8])]),
        "size of an entry is malformed",
    );
}

#[test]
fn attack_c4_devices_pipes_and_set_id_programs_are_refused() {
    for kind in *b"3467gSVMN" {
        refuses(&archive_of(&[(header("x", kind, 0), b"")]), "is refused");
    }
    for mode in [0o4755, 0o2755, 0o1777] {
        let mut set = header("x", b'0', 0);
        set.set_mode(mode);
        set.set_cksum();
        refuses(&archive_of(&[(set, b"")]), "set-user-id");
    }
}

#[test]
fn attack_c5_bombs_are_stopped_while_they_grow() {
    let zeros = vec![0; 200 << 20];
    let bytes = archive_of(&[(header("bomb", b'0', 200 << 20), &zeros)]);
    let packed = zstd::bulk::compress(&bytes, 1).unwrap();
    assert!(packed.len() < 50_000, "{}", packed.len());
    refuses(&packed, "thousandfold");
    refuses(
        &archive_of(&[(header("big", b'0', 2 << 30), b"")]),
        "larger than may be",
    );
    let many: Vec<_> = (0..1001)
        .map(|at| (header(&format!("f{at}"), b'0', 0), b"".as_slice()))
        .collect();
    refuses(&archive_of(&many), "more entries");
    let deep = "d/".repeat(2000) + "x\0";
    let size = u64::try_from(deep.len()).unwrap();
    let bytes = archive_of(&[
        (header("L", b'L', size), deep.as_bytes()),
        (header("f", b'0', 0), b""),
    ]);
    refuses(&bytes, "128 parts");
}

#[test]
fn attack_c6_names_that_fold_are_refused() {
    let bytes = archive_of(&[(header("a", b'0', 0), b""), (header("A", b'0', 0), b"")]);
    refuses(&bytes, "capitals");
}

#[test]
fn an_archive_becomes_a_checkpoint_like_any_other() {
    let mut world = World::new();
    let value = "canary-value-of-a-secret";
    world.keep_out(value);
    let large = noise(8, 1_500_000);
    let size = u64::try_from(large.len()).unwrap();
    let bytes = archive_of(&[
        (header("./sub/large", b'0', size), &large),
        (header("sub/secret", b'0', 24), value.as_bytes()),
        (header("z", b'0', 1), b"z"),
    ]);
    let head = world.import(&bytes).unwrap();
    assert_eq!((head.entries, head.left_out), (4, 1));
    let (to, _) = world.restore(&head.id).unwrap();
    assert_eq!(fs::read(to.join("files/sub/large")).unwrap(), large);
    let heads = world.files_of("heads").len();
    world.import(&bytes[..bytes.len() / 2]).unwrap_err();
    assert_eq!(world.files_of("heads").len(), heads);
}

impl World {
    fn import(&self, mut bytes: &[u8]) -> Result<Head, CheckpointError> {
        let asked = Asked {
            sources: &[Source {
                name: "files",
                path: Path::new("archive.tar"),
            }],
            origin: Origin::default(),
            secrets: &self.secrets,
            caps: Caps::default(),
            quota: u64::MAX,
            workers: 1,
        };
        import(&self.store, &asked, &mut bytes, TOOLS)
    }
}
