//! Packs that were damaged, forged, or removed while somebody read them.

use std::os::unix::fs::FileExt;

use super::*;

/// The most memory that this process ever had.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// Writes a pack of these bytes with a tail that fits them, its index being `length` long.
fn forge(world: &World, name: &str, size: u64, (index, length): (&[u8], u64)) {
    let path = world.path(".loki/checkpoints/packs").join(name);
    let file = fs::File::create(path).unwrap();
    file.set_len(size).unwrap();
    let tail = size - 48;
    file.write_all_at(b"lokipck1", 0).unwrap();
    file.write_all_at(index, tail - index.len() as u64).unwrap();
    file.write_all_at(&length.to_le_bytes(), tail).unwrap();
    file.write_all_at(&Digest::of(index).0, tail + 8).unwrap();
    file.write_all_at(b"lokipck1", tail + 40).unwrap();
}

#[test]
fn attack_c5_a_forged_pack_is_refused_before_memory_is_taken_for_it() {
    let world = World::new();
    world.write("work/a", "a");
    let head = world.make();
    let before = peak();
    forge(&world, "zz.pack", 4 << 30, (b"", (4 << 30) - 100));
    forge(&world, "zy.pack", 1 << 40, (b"", (1 << 40) - 100));
    let huge = [[0xff, 0xff, 0xff, 0x7f], [0, 0, 0x10, 0], [1, 0, 0, 0]].concat();
    let huge = [huge, vec![7; 36]].concat();
    forge(&world, "zx.pack", 4 << 30, (&huge, huge.len() as u64));
    let nothing = [0; 12];
    forge(&world, "zw.pack", 4096, (&nothing, 12));
    let reader = world.store.reader().unwrap();
    let damaged = &reader.index().damaged;
    assert_eq!(damaged, &["zw.pack", "zx.pack", "zy.pack", "zz.pack"]);
    world.store.verify(&head.id, TRUSTED, &|_, _| {}).unwrap();
    let more = peak() - before;
    assert!(more < 2 << 30, "{more} bytes more");
}

#[test]
fn an_index_that_would_be_too_long_becomes_that_of_another_pack() {
    let world = World::new();
    let packs = &world.store.packs;
    let mut writer = pack::Writer::new(packs, "x", pack::Room::ENDLESS).of_packs(100);
    let mut all = Vec::new();
    for seed in 0..5 {
        let bytes = noise(seed, 1000);
        let mut block = pack::Block::default();
        block.push(Digest::of(&bytes), &bytes);
        let packed = pack::Packer::new().unwrap().pack(&block).unwrap();
        writer.add(&block, &packed).unwrap();
        all.push(bytes);
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.packs, ["x.pack", "x-2.pack", "x-3.pack"]);
    assert_eq!(written.bytes, world.store.size().unwrap());
    let mut reader = world.store.reader().unwrap();
    for bytes in all {
        assert_eq!(reader.chunk(&Digest::of(&bytes)).unwrap(), bytes);
    }
}

#[test]
fn attack_c7_a_new_checkpoint_stores_again_what_was_damaged_meanwhile() {
    let world = World::new();
    world.write("work/a", noise(1, 600_000));
    World::settle();
    let first = world.make();
    let again = world.make();
    assert!(again.stored < 5000, "{} were stored again", again.stored);
    let pack = &world.files_of("packs")[0];
    let file = fs::File::options().write(true).open(pack).unwrap();
    file.write_all_at(&[0x55; 64], 3000).unwrap();
    let why = world.why_not(&first);
    assert!(why.contains("was changed on the disk"), "{why}");
    let third = world.make();
    assert!(third.stored > 400_000, "{} were stored", third.stored);
    world.store.verify(&third.id, TRUSTED, &|_, _| {}).unwrap();
    // The older ones have what they need again, too.
    world.store.verify(&first.id, TRUSTED, &|_, _| {}).unwrap();
    let rule = Retention {
        keep: 1,
        younger: None,
    };
    prune(&world.store, rule, TRUSTED, Timestamp::now(), Pretend::No).unwrap();
    world.store.verify(&third.id, TRUSTED, &|_, _| {}).unwrap();
}

#[test]
fn attack_c7_what_was_found_sound_counts_only_as_it_was_signed() {
    let world = World::new();
    world.write("work/a", noise(1, 300_000));
    World::settle();
    world.make();
    let path = world.path(".loki/checkpoints/sound.json");
    let honest = fs::read_to_string(&path).unwrap();
    let pack = &world.files_of("packs")[0];
    let bytes = fs::read(pack).unwrap();
    let mut damaged = bytes.clone();
    damaged[2000] ^= 1;
    fs::write(pack, damaged).unwrap();
    // What the kernel says now, put in without the key.
    let stamp = index::Stamp::of(&fs::File::open(pack).unwrap()).unwrap();
    let stamp = serde_json::to_string(&stamp).unwrap().replace('"', "\\\"");
    let (before, rest) = honest.split_once("{\\\"size\\\"").unwrap();
    let (_, after) = rest.split_once(",\\\"since\\\"").unwrap();
    let forged = [before, &stamp, ",\\\"since\\\"", after].concat();
    fs::write(&path, forged).unwrap();
    let head = world.make();
    world.store.verify(&head.id, TRUSTED, &|_, _| {}).unwrap();
}

#[test]
fn attack_c7_a_pack_that_lies_about_a_part_hides_no_other_that_has_it() {
    let world = World::new();
    world.write("work/a", noise(1, 10_000));
    let head = world.make();
    let digest = Digest::of(&noise(1, 10_000));
    let mut block = pack::Block::default();
    block.push(digest, b"something else");
    let mut writer = pack::Writer::new(&world.store.packs, "0", pack::Room::ENDLESS);
    let packed = pack::Packer::new().unwrap().pack(&block).unwrap();
    writer.add(&block, &packed).unwrap();
    writer.finish().unwrap();
    world.store.verify(&head.id, TRUSTED, &|_, _| {}).unwrap();
    let (to, _) = world.restore(&head.id).unwrap();
    assert_eq!(fs::read(to.join("work/a")).unwrap(), noise(1, 10_000));
    let rule = Retention {
        keep: 1,
        younger: None,
    };
    prune(&world.store, rule, TRUSTED, Timestamp::now(), Pretend::No).unwrap();
    world.store.verify(&head.id, TRUSTED, &|_, _| {}).unwrap();
}

#[test]
fn who_reads_while_others_prune_sees_a_whole_checkpoint_or_none() {
    let world = World::new();
    world.write("work/kept", noise(1, 30_000));
    world.make();
    let over = AtomicBool::new(false);
    let rule = Retention {
        keep: 1,
        younger: None,
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..25 {
                world.write("work/changing", noise(100 + round, 90_000));
                world.make();
                prune(&world.store, rule, TRUSTED, Timestamp::now(), Pretend::No).unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut read = 0;
        while !over.load(Ordering::Relaxed) || read == 0 {
            for id in world.store.ids().unwrap() {
                match world.store.verify(&id, TRUSTED, &|_, _| {}) {
                    Ok(_) => read += 1,
                    Err(CheckpointError::Unknown(_) | CheckpointError::Busy(_)) => {}
                    Err(cause) => panic!("{cause}"),
                }
            }
        }
    });
}
