//! Files with holes, and what takes longer than it may.

use std::{os::unix::fs::FileExt, time::Duration};

use super::*;

const MIB: u64 = 1 << 20;

/// Makes a file of this length with data at these places, and holes elsewhere.
fn sparse(world: &World, inside: &str, length: u64, data: &[(u64, Vec<u8>)]) {
    let file = fs::File::create(world.path(inside)).unwrap();
    file.set_len(length).unwrap();
    for (at, bytes) in data {
        file.write_all_at(bytes, *at).unwrap();
    }
}

#[test]
fn attack_c5_holes_are_neither_read_nor_written() {
    let world = World::new();
    sparse(&world, "work/huge", 8 << 30, &[(4 << 30, noise(1, 5000))]);
    let head = world.make();
    assert_eq!(head.bytes, 8 << 30);
    assert!(head.stored < 100_000, "{}", head.stored);
    let (to, _) = world.restore(&head.id).unwrap();
    let found = fs::File::open(to.join("work/huge")).unwrap();
    let meta = found.metadata().unwrap();
    assert_eq!(meta.len(), 8 << 30);
    assert!(meta.blocks() * 512 < 8 * MIB, "{} blocks", meta.blocks());
    let mut bytes = vec![0; 5000];
    found.read_exact_at(&mut bytes, 4 << 30).unwrap();
    assert_eq!(bytes, noise(1, 5000));
}

#[test]
fn a_file_with_holes_of_every_kind_is_restored_to_the_last_byte() {
    let world = World::new();
    let text = || noise(3, 70_001);
    sparse(&world, "work/begins", 2 * MIB, &[(MIB + 17, text())]);
    sparse(&world, "work/ends", 2 * MIB + 5, &[(0, text())]);
    sparse(
        &world,
        "work/both",
        3 * MIB + 1,
        &[(MIB, text()), (2 * MIB, text())],
    );
    sparse(
        &world,
        "work/small",
        400_000,
        &[(0, text()), (200_000, text())],
    );
    sparse(&world, "work/nothing", MIB + 3, &[]);
    world.write("work/zeros", vec![0; 1_000_000]);
    let head = world.make();
    let (to, _) = world.restore(&head.id).unwrap();
    assert_eq!(tree(&to.join("work")), tree(&world.path("work")));
    let mut archive = Vec::new();
    let asked = Export {
        id: &head.id,
        packing: Packing::Plain,
        links: Links::Within,
    };
    export(&world.store, asked, TRUSTED, &mut archive).unwrap();
    for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = world.path(&entry.path().unwrap().to_string_lossy());
        if path.is_file() {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            assert!(bytes == fs::read(&path).unwrap(), "{}", path.display());
        }
    }
}

#[test]
fn attack_c8_a_value_beside_a_hole_is_found() {
    let mut world = World::new();
    let value = "canary-value-of-a-secret";
    let values: Values = [("KEY".to_owned(), Zeroizing::new(value.to_owned()))]
        .into_iter()
        .collect();
    world.secrets = Redactor::new(&values);
    let at = 2 * MIB - value.len() as u64;
    sparse(&world, "work/before", 4 * MIB, &[(at, value.into())]);
    sparse(&world, "work/behind", 4 * MIB, &[(2 * MIB, value.into())]);
    assert_eq!(world.make().left_out, 2);
}

#[test]
fn attack_c5_keeping_ends_when_it_takes_longer_than_it_may() {
    let world = World::new();
    world.write("work/a", noise(1, 100_000));
    let caps = Caps {
        time: Some(Duration::ZERO),
        ..Caps::default()
    };
    let refused = world.keep_within(caps).unwrap_err();
    assert!(matches!(refused, CheckpointError::Late(_)), "{refused}");
    assert_eq!(world.store.ids().unwrap(), []);
    let time = Some(Duration::from_secs(3600));
    world.keep_within(Caps { time, ..caps }).unwrap();
}
