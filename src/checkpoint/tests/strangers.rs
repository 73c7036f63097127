//! Checkpoints that other keys signed.

use super::*;

const OLD: Trusted<'static> = TRUSTED;
const NEW: Trusted<'static> = Trusted {
    key: "bb",
    fits: &fits,
    ended: None,
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

/// Whoever got hold of a key that was changed puts nothing of his in the place of what is newer.
#[test]
fn attack_c7_a_key_that_another_followed_signs_nothing_that_says_it_is_newer() {
    let world = World::new();
    let made = world.make();
    let ended: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
    let old = [Trusted {
        ended: Some(ended),
        ..OLD
    }];
    let new = Trusted {
        around: &old,
        ..NEW
    };
    let head = |id: &str, created: &str, run: Option<&str>| {
        let head = Head {
            id: id.parse().unwrap(),
            created: created.parse().unwrap(),
            origin: Origin {
                run: run.map(|run| run.parse().unwrap()),
                ..Origin::default()
            },
            ..made.clone()
        };
        let signer = Signer {
            key: "aa",
            sign: &sign,
        };
        let path = format!(".loki/checkpoints/heads/{id}.json");
        world.write(&path, head.seal(signer));
        let found = world.store.verify(&head.id, new, &|_, _| {});
        found.map(drop).map_err(|why| why.to_string())
    };
    let (before, after) = ("2026-11-22T02:59:59Z", "2026-11-22T03:00:01Z");
    let (early, late) = ("20261122-025959-000-aaaa", "20261122-030001-000-aaaa");
    assert_eq!(head(early, before, Some("20261122-025900-aaaa")), Ok(()));
    // A name that says no time is judged by the rest.
    assert_eq!(head("by-hand", before, Some("r1")), Ok(()));
    for (id, created, run) in [
        (late, before, None),
        (early, after, None),
        (early, before, Some("20261122-030001-bbbb")),
    ] {
        let why = head(id, created, run).unwrap_err();
        assert!(why.contains("which another followed at"), "{id}: {why}");
    }
    // What another key signed is named, and nothing of it is removed.
    let pruned = prune(&world.store, ONE, new, Timestamp::now(), Pretend::Yes).unwrap();
    assert!(pruned.strangers.contains(&early.parse().unwrap()));
}

#[test]
fn attack_c7_what_was_read_of_packs_is_believed_of_the_key_in_use_alone() {
    let letter = || {
        let signer = Signer {
            key: "aa",
            sign: &sign,
        };
        manifest::Letter::sign("known".to_owned(), signer)
    };
    assert!(letter().opened(OLD).is_some());
    let ended = Trusted {
        ended: Some(Timestamp::UNIX_EPOCH),
        ..OLD
    };
    assert!(letter().opened(ended).is_none());
}
