//! What a checkpoint costs beside `tar | zstd -1` on the same tree, and what a second one costs
//! after one percent of it changed. Prints one JSON object; `make bench-checkpoint` runs it.
//!
//! The other side writes its archive without making it durable; ours is durable when it returns.
#![expect(clippy::print_stdout, reason = "the result is what it prints")]
#![expect(
    clippy::disallowed_methods,
    reason = "it measures time, runs the other side and writes files of its own"
)]

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use loki::{
    checkpoint::{
        Asked, Caps, Head, Links, Origin, Quiet, Signer, Source, Store, Tools, Trusted, Unpacking,
        create, restore,
    },
    redact::Redactor,
};

/// Small files of the tree, and their usual size.
const FILES: usize = 12_000;
const SIZE: usize = 24 << 10;
/// Large files, and their size.
const LARGE: usize = 4;
const LARGE_SIZE: usize = 32 << 20;
/// How often each side runs; the fastest counts.
const ROUNDS: usize = 3;

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits fit")
    }
}

/// Text that packs about as well as source code does.
fn text(dice: &mut Dice, length: usize) -> Vec<u8> {
    let words = [
        "let", "fn", "match", "self", "return", "struct", "Result", "Ok(", ");\n", "    ",
    ];
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        match dice.next() % 3 {
            0 => text.extend_from_slice(format!("{:x} ", dice.next()).as_bytes()),
            _ => text.extend_from_slice(words[dice.next() % words.len()].as_bytes()),
        }
        text.push(b' ');
    }
    text.truncate(length);
    text
}

fn grow(root: &Path) {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for at in 0..FILES {
        let folder = root.join(format!("src/{}/{}", at % 40, at % 7));
        fs::create_dir_all(&folder).expect("the disk takes folders");
        let length = SIZE / 2 + dice.next() % SIZE;
        let bytes = text(&mut dice, length);
        fs::write(folder.join(format!("{at}.rs")), bytes).expect("the disk takes files");
    }
    for at in 0..LARGE {
        let bytes = text(&mut dice, LARGE_SIZE);
        fs::write(root.join(format!("{at}.bin")), bytes).expect("the disk takes files");
    }
}

/// Changes one small file of a hundred, and inserts into one of the large ones.
fn change(root: &Path, seed: u64) {
    let mut dice = Dice(seed);
    for at in (0..FILES).step_by(100) {
        let path = root.join(format!("src/{}/{}/{at}.rs", at % 40, at % 7));
        fs::write(path, text(&mut dice, SIZE)).expect("the disk takes files");
    }
    let path = root.join("0.bin");
    let mut bytes = fs::read(&path).expect("it was written");
    bytes.splice(1000..1000, text(&mut dice, LARGE_SIZE / 100));
    fs::write(path, bytes).expect("the disk takes files");
}

fn keep(state: &Path, tree: &Path) -> (Head, Duration) {
    let sign = |_: &[u8]| "signed".to_owned();
    let fits = |_: &[u8], signature: &str| signature == "signed";
    let store = Store::open(state).expect("the store opens");
    let secrets = Redactor::default();
    let asked = Asked {
        sources: &[Source {
            name: "work",
            path: tree,
        }],
        origin: Origin::default(),
        secrets: &secrets,
        caps: Caps::default(),
        quota: u64::MAX,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let tools = Tools {
        signer: Signer {
            key: "k",
            sign: &sign,
        },
        trusted: Trusted {
            key: "k",
            fits: &fits,
            around: &[],
        },
        now: &jiff::Timestamp::now,
        progress: &|_, _| {},
    };
    let begun = Instant::now();
    let head = create(&store, &asked, Quiet::Ended, tools).expect("a checkpoint is made");
    (head, begun.elapsed())
}

fn unpack(state: &Path, head: &Head, to: &Path) -> Duration {
    let fits = |_: &[u8], signature: &str| signature == "signed";
    let store = Store::open(state).expect("the store opens");
    let asked = Unpacking {
        id: &head.id,
        to,
        tree: None,
        readable: None,
        links: Links::All,
        owner: None,
    };
    let begun = Instant::now();
    restore(
        &store,
        &asked,
        Trusted {
            key: "k",
            fits: &fits,
            around: &[],
        },
        &|_, _| {},
    )
    .expect("it is restored");
    begun.elapsed()
}

fn theirs(tree: &Path, to: &Path) -> Duration {
    let script = "tar -C \"$0\" -cf - . | zstd -1 -q -f -o \"$1\"";
    let begun = Instant::now();
    let ended = Command::new("sh")
        .args(["-c", script])
        .arg(tree)
        .arg(to)
        .status();
    assert!(
        ended.expect("sh runs").success(),
        "tar and zstd are installed"
    );
    begun.elapsed()
}

fn size(root: &Path) -> u64 {
    let entries = fs::read_dir(root).expect("it is there").flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn ratio(one: f64, other: f64) -> f64 {
    (one / other * 1000.0).round() / 1000.0
}

fn least(all: &[f64]) -> f64 {
    all.iter().copied().fold(f64::INFINITY, f64::min)
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn main() {
    let root = tempfile::tempdir().expect("there is a place for files");
    let tree = root.path().join("tree");
    grow(&tree);
    let before = peak();
    let (mut full_seconds, mut tar_seconds) = (Vec::new(), Vec::new());
    let archive = root.path().join("archive.tar.zst");
    let mut full = None;
    for round in 0..ROUNDS {
        tar_seconds.push(theirs(&tree, &archive).as_secs_f64());
        let state = root.path().join(format!("state-{round}"));
        let (head, took) = keep(&state, &tree);
        full_seconds.push(took.as_secs_f64());
        full = Some((state, head));
    }
    let (state, _) = full.expect("there was a round");
    let memory = peak();
    let whole = size(&state);
    let (_, unchanged) = keep(&state, &tree);
    let unchanged_bytes = size(&state) - whole;
    let (mut delta_seconds, mut delta_bytes) = (Vec::new(), Vec::new());
    let mut head = None;
    for round in 0..ROUNDS {
        change(&tree, 77 + round as u64);
        std::thread::sleep(Duration::from_millis(50));
        let before = size(&state);
        let (made, took) = keep(&state, &tree);
        delta_seconds.push(took.as_secs_f64());
        delta_bytes.push((size(&state) - before) as f64);
        head = Some(made);
    }
    let head = head.expect("there was a round");
    let (ours, other) = (least(&full_seconds), least(&tar_seconds));
    let restored = unpack(&state, &head, &root.path().join("restored"));
    let result = serde_json::json!({
        "files": FILES + LARGE,
        "tree_bytes": size(&tree),
        "full_seconds": ours,
        "tar_zstd_1_seconds": other,
        "full_speed_of_tar_zstd_1": ratio(other, ours),
        "full_bytes": whole,
        "tar_zstd_1_bytes": fs::metadata(&archive).map_or(0, |found| found.len()),
        "delta_of_bytes": least(&delta_bytes) / whole as f64,
        "delta_of_time": ratio(least(&delta_seconds), ours),
        "unchanged_of_bytes": unchanged_bytes as f64 / whole as f64,
        "unchanged_of_time": ratio(unchanged.as_secs_f64(), ours),
        "restore_seconds": restored.as_secs_f64(),
        "memory_before": before,
        "memory_peak": memory,
        "rounds": {
            "full_seconds": full_seconds, "tar_zstd_1_seconds": tar_seconds,
            "delta_seconds": delta_seconds, "delta_bytes": delta_bytes,
        },
    });
    println!("{result:#}");
}
