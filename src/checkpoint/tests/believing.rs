//! What was changed behind the back of whoever signed it is not believed.

use super::*;

#[test]
fn attack_c7_one_flipped_bit_anywhere_is_found_and_nothing_is_unpacked() {
    let world = World::new();
    world.write("work/a", noise(3, 200_000));
    world.write("home/b", "text");
    let head = world.make();
    let files = [world.files_of("packs"), world.files_of("heads")].concat();
    assert_eq!(files.len(), 2);
    let before: Vec<PathBuf> = tree(world.root.path()).into_keys().collect();
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let step = (bytes.len() / 60).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            world.write(file.to_str().unwrap(), &changed);
            let found = world.store.verify(&head.id, TRUSTED, &|_, _| {});
            // What is not covered by a hash is the two magic numbers and the frames' own.
            if let Err(cause) = found {
                assert!(!cause.to_string().is_empty());
                assert!(world.restore(&head.id).is_err());
            } else {
                let (to, _) = world.restore(&head.id).unwrap();
                assert_eq!(fs::read(to.join("work/a")).unwrap(), noise(3, 200_000));
                fs::remove_dir_all(to).unwrap();
            }
        }
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            world.write(file.to_str().unwrap(), &bytes[..cut]);
            let why = world.why_not(&head);
            assert!(why.contains("cannot be believed"), "{why}");
        }
        world.write(file.to_str().unwrap(), &bytes);
    }
    world.store.verify(&head.id, TRUSTED, &|_, _| {}).unwrap();
    let mut after: Vec<PathBuf> = tree(world.root.path()).into_keys().collect();
    after.retain(|path| !path.to_string_lossy().starts_with(".tmp"));
    assert_eq!(after, before, "something was left behind");
}

#[test]
fn attack_c7_an_older_checkpoint_in_the_place_of_a_newer_one_is_named() {
    let world = World::new();
    world.write("work/a", "1");
    let old = world.make();
    world.write("work/a", "2");
    let new = world.make();
    let heads = world.files_of("heads");
    fs::copy(&heads[0], &heads[1]).unwrap();
    let why = world.why_not(&new);
    assert!(
        why.contains(&format!("that of checkpoint `{}`", old.id)),
        "{why}"
    );
}

#[test]
fn a_missing_part_is_named_with_the_file_it_belongs_to() {
    let world = World::new();
    world.write("work/a", noise(1, 5000));
    world.make();
    world.write("work/b", noise(2, 5000));
    let head = world.make();
    fs::remove_file(&world.files_of("packs")[0]).unwrap();
    assert!(
        world.why_not(&head).contains("is missing"),
        "{}",
        world.why_not(&head)
    );
    // What is lost is read again, not taken for known.
    let healed = world.make();
    world.store.verify(&healed.id, TRUSTED, &|_, _| {}).unwrap();
}

#[test]
fn another_key_is_not_trusted_and_a_newer_version_is_not_guessed_at() {
    let world = World::new();
    let head = world.make();
    let stranger = Trusted {
        key: "bb",
        fits: &fits,
        around: &[],
    };
    let refused = world
        .store
        .head(&head.id, stranger)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("signed by the key aa"), "{refused}");
    let newer = Head {
        version: 2,
        ..head.clone()
    };
    let sealed = newer.seal(Signer {
        key: "aa",
        sign: &sign,
    });
    world.write(world.files_of("heads")[0].to_str().unwrap(), sealed);
    assert!(world.why_not(&head).contains("newer Loki"));
}

#[test]
fn attack_c1_a_signed_listing_that_breaks_a_rule_is_refused_all_the_same() {
    let world = World::new();
    let head = world.make();
    for (path, is) in [
        ("../out", Kind::Directory),
        ("work/../../out", Kind::Directory),
        (
            "/out",
            Kind::File {
                size: 0,
                chunks: Vec::new(),
            },
        ),
        (
            "work/nowhere/x",
            Kind::File {
                size: 0,
                chunks: Vec::new(),
            },
        ),
    ] {
        let mut listing = world.listing(&head);
        let entry = Entry {
            path: EntryPath::new(path),
            is,
            ..listing.entries[0].clone()
        };
        listing.entries.push(entry);
        let forged = signed(&world, &head, &listing);
        let why = world.why_not(&forged);
        assert!(why.contains("is refused"), "{why}");
    }
    assert!(!world.path("out").exists());
}

/// Signs a listing that no honest Loki would write.
fn signed(world: &World, head: &Head, listing: &Listing) -> Head {
    let mut bytes = Vec::new();
    listing.write(&mut bytes).unwrap();
    let name = format!("forged-{}", bytes.len());
    let mut writer = pack::Writer::new(&world.store.packs, &name, pack::Room::ENDLESS);
    let mut block = pack::Block::default();
    block.push(Digest::of(&bytes), &bytes);
    writer
        .add(&block, &pack::Packer::new().unwrap().pack(&block).unwrap())
        .unwrap();
    writer.finish().unwrap();
    let forged = Head {
        id: name.parse().unwrap(),
        entries: listing.entries.len() as u64,
        bytes: listing.bytes(),
        listing: Parts {
            bytes: bytes.len() as u64,
            chunks: vec![Digest::of(&bytes)],
        },
        ..head.clone()
    };
    let sealed = forged.seal(Signer {
        key: "aa",
        sign: &sign,
    });
    world.write(&format!(".loki/checkpoints/heads/{name}.json"), sealed);
    forged
}

#[test]
fn a_link_in_the_place_of_the_store_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join(".loki");
    fs::create_dir(&state).unwrap();
    fs::create_dir(root.path().join("elsewhere")).unwrap();
    symlink("../elsewhere", state.join("checkpoints")).unwrap();
    Store::open(&state).unwrap_err();
    assert_eq!(
        fs::read_dir(root.path().join("elsewhere")).unwrap().count(),
        0
    );
}
