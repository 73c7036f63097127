//! What is kept, found changed and left out, and when nothing is kept.

use super::*;

#[test]
fn what_is_restored_is_what_was_kept_to_the_last_bit() {
    let world = World::new();
    world.write("work/empty", "");
    world.write("work/src/deep/er/main.rs", "fn main() {}\n");
    world.write("work/large", noise(1, 3_500_000));
    world.write("work/large-again", noise(1, 3_500_000));
    world.write("home/.agent/history.jsonl", "{}\n");
    world.write("work/with \\ and \n in it", "x");
    let raw = std::ffi::OsStr::new("work").to_owned().into_encoded_bytes();
    let raw = [raw.as_slice(), b"/\xff\xfe"].concat();
    use std::os::unix::ffi::OsStrExt;
    let raw = world.root.path().join(std::ffi::OsStr::from_bytes(&raw));
    fs::File::create(raw).unwrap();
    symlink("src/deep", world.path("work/link")).unwrap();
    fs::create_dir(world.path("work/shut")).unwrap();
    world.write("work/shut/in", "y");
    fs::set_permissions(
        world.path("work/shut/in"),
        fs::Permissions::from_mode(0o400),
    )
    .unwrap();
    fs::set_permissions(world.path("work/shut"), fs::Permissions::from_mode(0o500)).unwrap();
    let head = world.make();
    assert_eq!(head.left_out, 0);
    let (to, unpacked) = world.restore(&head.id).unwrap();
    for name in ["work", "home"] {
        assert_eq!(tree(&to.join(name)), tree(&world.path(name)));
    }
    assert_eq!(
        (unpacked.entries, unpacked.bytes),
        (head.entries, head.bytes)
    );
    // The same bytes are kept once.
    assert!(head.stored < 3_600_000, "{}", head.stored);
}

#[test]
fn a_second_checkpoint_reads_and_stores_only_what_changed() {
    let world = World::new();
    for at in 0..200 {
        world.write(&format!("work/{at}"), noise(at, 20_000));
    }
    World::settle();
    let first = world.make();
    world.write("work/7", noise(777, 20_000));
    World::settle();
    let second = world.make();
    assert_eq!(second.base, Some(first.id.clone()));
    assert_eq!(world.read.load(Ordering::Relaxed), 20_000);
    assert!(
        second.stored * 20 < first.stored,
        "{} of {}",
        second.stored,
        first.stored
    );
    let (old, new) = (world.listing(&first), world.listing(&second));
    let found = diff(&old, &new);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].path.escaped().as_str(), found[0].how),
        ("work/7", How::Contents)
    );
    let (to, _) = world.restore(&second.id).unwrap();
    assert_eq!(tree(&to.join("work")), tree(&world.path("work")));
    let (to, _) = world.restore(&first.id).unwrap();
    assert_eq!(fs::read(to.join("work/7")).unwrap(), noise(7, 20_000));
}

#[test]
fn a_change_that_hides_behind_size_and_time_is_read_all_the_same() {
    let world = World::new();
    world.write("work/a", "before");
    World::settle();
    world.make();
    let path = world.path("work/a");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    world.write("work/a", "after!");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    let (to, _) = world.restore(&world.make().id).unwrap();
    assert_eq!(fs::read(to.join("work/a")).unwrap(), b"after!");
}

#[test]
fn attack_c8_what_holds_a_secret_in_any_form_is_left_out_and_its_name_masked() {
    let mut world = World::new();
    let value = "sk-canary-9f8e7d6c5b4a39281706f5e4d3c2b1a0";
    world.keep_out(value);
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(format!("x{value}"));
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    world.write("home/.bash_history", format!("export KEY={value}\n"));
    world.write("home/auth", format!("Basic {base64}"));
    world.write("work/hex", [noise(5, 2_000_000), hex.into_bytes()].concat());
    world.write(&format!("work/{value}/in"), "x");
    symlink(value, world.path("work/link")).unwrap();
    world.write("work/kept", "sk-canary-");
    let head = world.make();
    let listing = world.listing(&head);
    let left: Vec<String> = listing
        .left_out
        .iter()
        .map(|one| one.path.escaped())
        .collect();
    assert_eq!(
        left,
        [
            "home/.bash_history",
            "home/auth",
            "work/[secret:KEY]",
            "work/[secret:KEY]/in",
            "work/hex",
            "work/link"
        ]
    );
    assert!(listing.left_out.iter().all(|one| one.why == Why::Secret));
    let (to, _) = world.restore(&head.id).unwrap();
    for file in tree(&world.path(".loki"))
        .into_values()
        .chain(tree(&to).into_values())
    {
        assert!(!world.secrets.finds(&file.2));
    }
    let all = zstd_of(&world);
    assert!(!world.secrets.finds(&all) && all.len() > 1_000_000);
    assert_eq!(fs::read(to.join("work/kept")).unwrap(), b"sk-canary-");
}

/// Every chunk of a store, unpacked.
fn zstd_of(world: &World) -> Vec<u8> {
    let mut reader = world.store.reader().unwrap();
    let digests: Vec<Digest> = reader.index().chunks().map(|(digest, _)| *digest).collect();
    let chunks = digests
        .iter()
        .map(|digest| reader.chunk(digest).unwrap().to_vec());
    chunks.collect::<Vec<_>>().concat()
}

#[test]
fn a_file_that_never_rests_is_refused_unless_everything_is_paused() {
    let world = World::new();
    let (over, paused) = (AtomicBool::new(false), std::sync::Mutex::new(()));
    world.write("work/a", "0");
    world.write("work/b", "0");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut count = 0_u64;
            while !over.load(Ordering::Relaxed) {
                count += 1;
                let _running = paused.lock().unwrap();
                world.write("work/a", count.to_string());
                world.write("work/b", count.to_string());
            }
        });
        // On a busy machine the writer may rest for so long that nothing changes meanwhile.
        let restless = (0..100).find_map(|_| world.try_make(Quiet::Proven).err());
        let mut heads = Vec::new();
        for _ in 0..20 {
            let mut held = None;
            let mut hold = |hold: Hold| {
                held = (hold == Hold::Pause).then(|| paused.lock().unwrap());
                Ok(())
            };
            heads.push(world.try_make(Quiet::Paused(&mut hold)));
            assert!(held.is_none(), "it was left paused");
        }
        over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        let restless = restless.expect("what changes all the time was never found to");
        assert!(
            matches!(restless, CheckpointError::Restless { .. }),
            "{restless}"
        );
        for head in heads {
            let (to, _) = world.restore(&head.unwrap().id).unwrap();
            let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
            // Attack C9: a torn copy would hold two counts.
            assert_eq!(read("work/a"), read("work/b"));
        }
    });
    assert_eq!(
        world.try_make(Quiet::Proven).unwrap().stillness,
        Stillness::Proven
    );
}

#[test]
fn a_pause_that_fails_is_ended_and_nothing_is_kept() {
    let world = World::new();
    let mut asked = Vec::new();
    let mut hold = |hold: Hold| {
        asked.push(hold);
        Err(std::io::Error::other("the engine is gone"))
    };
    world.try_make(Quiet::Paused(&mut hold)).unwrap_err();
    assert_eq!(asked, [Hold::Pause, Hold::Resume]);
    assert_eq!(world.store.ids().unwrap(), []);
}

#[test]
fn more_than_may_be_kept_is_refused_before_it_is_believed() {
    let mut world = World::new();
    world.write("work/a", noise(1, 300_000));
    world.quota = 100_000;
    let refused = world.try_make(Quiet::Ended).unwrap_err();
    assert!(
        matches!(refused, CheckpointError::Quota { .. }),
        "{refused}"
    );
    assert_eq!(
        (world.files_of("heads").len(), world.files_of("packs").len()),
        (0, 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_row_of_changes_is_restored_as_it_was(rounds in proptest::collection::vec(
        proptest::collection::vec((0_u8..6, 0_u8..4, 0_usize..300_000, any::<u8>()), 1..6), 1..4)) {
        let world = World::new();
        let mut kept = Vec::new();
        for round in &rounds {
            for (file, place, length, seed) in round {
                let path = format!("work/{place}/{file}");
                match length % 5 {
                    0 => drop(fs::remove_file(world.path(&path))),
                    1 => drop(fs::remove_dir_all(world.path(&format!("work/{place}")))),
                    _ => world.write(&path, noise(u64::from(*seed), *length)),
                }
            }
            kept.push((world.make().id, tree(&world.path("work"))));
        }
        for (id, expected) in kept {
            let (to, _) = world.restore(&id).unwrap();
            prop_assert!(tree(&to.join("work")) == expected);
        }
    }
}
