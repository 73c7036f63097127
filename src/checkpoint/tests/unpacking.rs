//! What is unpacked and exported, and what is not.

use super::*;

#[test]
fn attack_c4_what_is_no_file_is_left_out_and_set_id_bits_are_not_restored() {
    let world = World::new();
    let made = Command::new("mkfifo")
        .arg(world.path("work/pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(world.path("work/socket")).unwrap();
    world.write("work/tool", "x");
    let mode = fs::Permissions::from_mode(0o6755);
    fs::set_permissions(world.path("work/tool"), mode).unwrap();
    fs::hard_link(world.path("work/tool"), world.path("work/twin")).unwrap();
    let head = world.make();
    let listing = world.listing(&head);
    let left: Vec<Why> = listing.left_out.iter().map(|one| one.why).collect();
    assert_eq!(left, [Why::Pipe, Why::Socket]);
    let (to, unpacked) = world.restore(&head.id).unwrap();
    let tool = fs::metadata(to.join("work/tool")).unwrap();
    assert_eq!((tool.mode() & 0o7777, tool.nlink()), (0o755, 1));
    assert_eq!(unpacked.set_id.len(), 2);
}

#[test]
fn attack_c2_links_that_lead_out_are_named_and_not_followed_in_either_direction() {
    let world = World::new();
    let outside = world.path("outside");
    fs::create_dir(&outside).unwrap();
    world.write("outside/file", "host");
    symlink(&outside, world.path("work/away")).unwrap();
    symlink("../../etc", world.path("work/up")).unwrap();
    symlink("a", world.path("work/near")).unwrap();
    let head = world.make();
    let paths: Vec<String> = world
        .listing(&head)
        .entries
        .iter()
        .map(|one| one.path.escaped())
        .collect();
    assert_eq!(paths, ["home", "work", "work/away", "work/near", "work/up"]);
    let (to, unpacked) = world.restore(&head.id).unwrap();
    assert_eq!(unpacked.links.len(), 2);
    assert!(fs::symlink_metadata(to.join("work/away")).is_err());
    let all = world.path("all");
    let asked = Unpacking {
        id: &head.id,
        to: &all,
        tree: Some("work"),
        readable: None,
        links: Links::All,
        owner: None,
    };
    restore(&world.store, &asked, TRUSTED, &|_, _| {}).unwrap();
    assert_eq!(tree(&all), tree(&world.path("work")));
    assert_eq!(tree(&outside).len(), 2);
}

#[test]
fn a_place_that_is_taken_is_refused_and_left_alone() {
    let world = World::new();
    let head = world.make();
    world.write("taken/mine", "x");
    symlink("nowhere", world.path("dangling")).unwrap();
    world.write("file", "x");
    for to in ["taken", "dangling", "file"] {
        let to = world.path(to);
        let asked = Unpacking {
            id: &head.id,
            to: &to,
            tree: None,
            readable: None,
            links: Links::Within,
            owner: None,
        };
        let refused = restore(&world.store, &asked, TRUSTED, &|_, _| {}).unwrap_err();
        assert!(matches!(refused, CheckpointError::Taken(_)), "{refused}");
    }
    assert_eq!(tree(&world.path("taken")).len(), 2);
}

#[test]
fn every_packing_of_an_export_is_read_by_the_stock_tar() {
    let world = World::new();
    world.write("work/src/main.rs", noise(4, 700_000));
    world.write(
        &format!("work/{}/{}", "d".repeat(200), "f".repeat(200)),
        "long",
    );
    symlink("src/main.rs", world.path("work/link")).unwrap();
    let head = world.make();
    for (packing, flag) in [
        (Packing::Plain, "-x"),
        (Packing::Gzip, "-xz"),
        (Packing::Zstd, "-x --zstd"),
    ] {
        let mut bytes = Vec::new();
        let asked = Export {
            id: &head.id,
            packing,
            links: Links::Within,
        };
        export(&world.store, asked, TRUSTED, &mut bytes).unwrap();
        world.write("archive", &bytes);
        let to = tempfile::tempdir().unwrap();
        let mut command = Command::new("tar");
        command
            .args(flag.split(' '))
            .arg("-f")
            .arg(world.path("archive"))
            .arg("-C")
            .arg(to.path());
        assert!(command.status().unwrap().success(), "{packing:?}");
        let contents = |root: PathBuf| -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
            let all = tree(&root).into_iter();
            all.map(|(path, (mode, _, bytes))| (path, (mode, bytes)))
                .collect()
        };
        assert_eq!(
            contents(to.path().join("work")),
            contents(world.path("work"))
        );
    }
}
