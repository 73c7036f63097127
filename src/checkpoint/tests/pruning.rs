//! What is removed, and what stays.

use super::*;

#[test]
fn what_a_killed_writer_leaves_is_removed_and_never_listed() {
    let world = World::new();
    world.write("work/a", noise(1, 100_000));
    let head = world.make();
    world.write(".loki/checkpoints/packs/.new-x.pack", "half");
    world.write(".loki/checkpoints/heads/.new-y.json", "half");
    assert_eq!(world.store.ids().unwrap(), std::slice::from_ref(&head.id));
    // Killed between its pack and its head.
    fs::remove_file(&world.files_of("heads")[1]).unwrap();
    assert_eq!(world.store.ids().unwrap(), []);
    let again = world.make();
    assert_eq!(world.files_of("heads").len(), 1);
    world.store.verify(&again.id, TRUSTED, &|_, _| {}).unwrap();
    assert!(
        again.stored < 5000,
        "what was there was not used: {}",
        again.stored
    );
}

#[test]
fn pruning_removes_what_nothing_needs_and_the_rest_still_verifies() {
    let world = World::new();
    let mut heads = Vec::new();
    for round in 0..5 {
        world.write("work/kept", noise(1, 400_000));
        world.write("work/changing", noise(100 + round, 400_000));
        heads.push(world.make());
    }
    let rule = Retention {
        keep: 1,
        younger: None,
    };
    let now = Timestamp::now();
    let size = world.store.size().unwrap();
    let asked = prune(&world.store, rule, TRUSTED, now, Pretend::Yes).unwrap();
    assert_eq!(
        (asked.removed.len(), world.store.size().unwrap()),
        (4, size)
    );
    let done = prune(&world.store, rule, TRUSTED, now, Pretend::No).unwrap();
    assert_eq!(done.removed, asked.removed);
    assert!(done.after * 2 < size, "{} of {size}", done.after);
    assert_eq!(world.store.ids().unwrap(), [heads[4].id.clone()]);
    let (to, _) = world.restore(&heads[4].id).unwrap();
    assert_eq!(tree(&to.join("work")), tree(&world.path("work")));
}

#[test]
fn pruning_removes_nothing_while_one_that_stays_cannot_be_believed() {
    let world = World::new();
    world.make();
    let head = world.make();
    let path = world.files_of("heads")[1].clone();
    let text = fs::read_to_string(&path).unwrap();
    world.write(
        path.to_str().unwrap(),
        text.replace("\\\"entries\\\":2", "\\\"entries\\\":3"),
    );
    let rule = Retention {
        keep: 1,
        younger: None,
    };
    let refused = prune(&world.store, rule, TRUSTED, Timestamp::now(), Pretend::No).unwrap_err();
    assert!(refused.to_string().contains(head.id.as_str()), "{refused}");
    assert_eq!(world.store.ids().unwrap().len(), 2);
}
