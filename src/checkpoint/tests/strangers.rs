//! Checkpoints that other keys signed.

use super::*;

const OLD: Trusted<'static> = TRUSTED;
const NEW: Trusted<'static> = Trusted {
    key: "bb",
    fits: &fits,
    around: &[OLD],
};
const ONE: Retention = Retention {
    keep: 1,
    younger: None,
};

/// Signs a head with the key `bb`, in its place.
fn sign_anew(world: &World, head: &Head) {
    let signer = Signer {
        key: "bb",
        sign: &sign,
    };
    let path = format!(".loki/checkpoints/heads/{}.json", head.id);
    world.write(&path, head.seal(signer));
}

#[test]
fn after_a_change_of_keys_what_both_signed_is_believed_and_pruned() {
    let world = World::new();
    let mut heads = Vec::new();
    for round in 0..3 {
        world.write("work/a", noise(round, 300_000));
        heads.push(world.make());
    }
    sign_anew(&world, &heads[2]);
    for head in &heads {
        world.store.verify(&head.id, NEW, &|_, _| {}).unwrap();
    }
    let before = world.store.size().unwrap();
    let pruned = prune(&world.store, ONE, NEW, Timestamp::now(), Pretend::No).unwrap();
    assert_eq!((pruned.removed.len(), pruned.strangers.len()), (2, 0));
    assert!(pruned.after * 2 < before);
    world.store.verify(&heads[2].id, NEW, &|_, _| {}).unwrap();
}

#[test]
fn a_strangers_checkpoint_is_named_and_keeps_all_parts_but_no_old_heads() {
    let world = World::new();
    let mut heads = Vec::new();
    for round in 0..3 {
        world.write("work/a", noise(round, 300_000));
        heads.push(world.make());
    }
    sign_anew(&world, &heads[0]);
    let pruned = prune(&world.store, ONE, OLD, Timestamp::now(), Pretend::No).unwrap();
    assert_eq!(pruned.strangers, [heads[0].id.clone()]);
    assert_eq!(pruned.removed, [heads[1].id.clone()]);
    world.store.verify(&heads[0].id, NEW, &|_, _| {}).unwrap();
    world.store.verify(&heads[2].id, OLD, &|_, _| {}).unwrap();
}
