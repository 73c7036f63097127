//! What trees can hold: conversions, spellings, links, long names, submodules, LFS pointers.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
};

use loki::git::Repository;

use super::world::{World, globs, judge, must, put, raw, told};

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

#[test]
fn no_conversion_changes_a_byte_either_way() {
    for autocrlf in ["true", "input", "false"] {
        let world = World::new();
        world.file("dos.txt", "a\r\nb\r\n");
        world.file("unix.txt", "a\nb\n");
        world.file("mixed.txt", "a\r\nb\n");
        world.save("ends");
        world.file(
            ".gitattributes",
            "* text=auto\n*.txt text eol=crlf\n*.id ident\n*.utf16 text working-tree-encoding=UTF-16LE\n*.lock -text\n",
        );
        world.file("a.id", "$Id$\n");
        world.file("b.id", "$Id: spoof $\n");
        world.file("a.utf16", b"h\0i\0\n\0");
        world.git(&["config", "core.safecrlf", "true"]);
        let add = ["-c", "core.safecrlf=false", "add", "-A"];
        world.git(&add);
        world.git(&["commit", "-q", "-m", "attributes"]);
        world.git(&["config", "core.autocrlf", autocrlf]);
        world.git(&["config", "core.eol", "crlf"]);
        world.tour(&world.root());
    }
}

#[test]
fn every_name_and_kind_of_file_that_git_holds_is_given_and_kept() {
    let world = World::new();
    world.git(&["config", "core.ignoreCase", "true"]);
    for path in [
        "Case", "case", "dir/FILE", "DIR/file", " spaced ", "-x", "a\"b", "t\tb", "n\nl",
    ] {
        world.file(path, path);
    }
    world.file(b"latin-\xe9", b"\xff\xfe");
    world.file("empty", "");
    world.file("n".repeat(255), "long name\n");
    let deep = vec!["d".repeat(200); 15].join("/");
    must(&world.root(), &["-c", "core.ignoreCase=false", "add", "-A"]);
    let empty = world.git(&["hash-object", "-w", "empty"]);
    let deep = format!("100644,{empty},{deep}/file");
    world.git(&["update-index", "--add", "--cacheinfo", &deep]);
    fs::set_permissions(world.root().join("empty"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("x".repeat(4095), world.root().join("long-link")).unwrap();
    symlink("../outside", world.root().join("src/out")).unwrap();
    symlink("/etc/passwd", world.root().join("absolute")).unwrap();
    for path in ["empty", "long-link", "src/out", "absolute"] {
        world.git(&["add", path]);
    }
    world.git(&["commit", "-q", "-m", "names"]);
    world.tour(&world.root());
}

#[test]
fn a_change_of_mode_alone_is_a_change() {
    let world = World::new();
    world.git(&["config", "core.fileMode", "false"]);
    let repository = Repository::open(&world.root()).unwrap();
    let slot = world.slot(&repository, "one", None).unwrap();
    let file = slot.work().join("src/app.rs");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let handed = judge(&repository, &slot);
    assert_eq!(told(&handed), ["M src/app.rs"]);
    fs::remove_file(&file).unwrap();
    symlink("../README.md", &file).unwrap();
    assert_eq!(told(&judge(&repository, &slot)), ["M src/app.rs"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(told(&judge(&repository, &slot)), ["D src/app.rs"]);
}

#[test]
fn what_no_file_system_takes_is_refused_by_name() {
    let cases = [
        (
            "n".repeat(256),
            "100644",
            "x",
            "is longer than this file system takes",
        ),
        (vec!["d"; 102].join("/"), "100644", "x", "deeper than 100"),
        ("link".to_owned(), "120000", "", "is a link to nothing"),
    ];
    for (path, mode, text, why) in cases {
        let world = World::new();
        let blob = world.dir.path().join("blob");
        fs::write(&blob, text).unwrap();
        let blob = world.git(&["hash-object", "-w", "../blob"]);
        let info = format!("{mode},{blob},{path}");
        world.git(&["update-index", "--add", "--cacheinfo", &info]);
        world.git(&["commit", "-q", "-m", "odd"]);
        let repository = Repository::open(&world.root()).unwrap();
        let fault = world
            .slot(&repository, "one", None)
            .unwrap_err()
            .to_string();
        assert!(fault.contains(why) && fault.contains("commit"), "{fault}");
        repository.sweep(&[]).unwrap();
        let near = globs(&["src/**"]);
        let slot = world.slot(&repository, "two", Some(&near)).unwrap();
        assert!(slot.work().join("src/app.rs").exists());
    }
}

#[test]
fn an_agents_spelling_of_a_name_that_is_there_does_not_pass() {
    let world = World::new();
    world.file("Ämter/a.txt", "a\n");
    world.file("Pair", "1\n");
    world.file("pair", "2\n");
    world.save("names");
    let repository = Repository::open(&world.root()).unwrap();
    let near = globs(&["src/**", "p*"]);
    let slot = world.slot(&repository, "one", Some(&near)).unwrap();
    put(slot.work(), "src/APP.rs", "other\n");
    put(slot.work(), "ämter/b.txt", "b\n");
    put(slot.work(), "new/One", "1\n");
    put(slot.work(), "new/one", "2\n");
    put(slot.work(), "pair", "changed\n");
    let mut seen = told(&judge(&repository, &slot));
    seen.retain(|one| one.starts_with("file-name"));
    let expected = ["new/One", "new/one", "src/APP.rs", "ämter"];
    assert_eq!(seen, expected.map(|path| format!("file-name {path}")));
}

#[test]
fn a_submodule_is_absent_and_what_it_points_at_stays() {
    let world = World::new();
    let head = world.git(&["rev-parse", "HEAD"]);
    world.file(
        ".gitmodules",
        "[submodule \"sub\"]\n\tpath = sub\n\turl = ../sub\n",
    );
    world.git(&["add", "-A"]);
    let module = format!("160000,{head},sub");
    world.git(&["update-index", "--add", "--cacheinfo", &module]);
    world.git(&["commit", "-q", "-m", "module"]);
    world.tour(&world.root());
    let repository = Repository::open(&world.root()).unwrap();
    let slot = world.slot(&repository, "one", None).unwrap();
    assert!(!slot.work().join("sub").exists());
    fs::create_dir(slot.work().join("sub")).unwrap();
    assert_eq!(told(&judge(&repository, &slot)), Vec::<String>::new());
    put(
        slot.work(),
        ".gitmodules",
        "[submodule \"sub\"]\n\turl = ext::evil\n",
    );
    assert_eq!(told(&judge(&repository, &slot)), ["M .gitmodules"]);
    put(slot.work(), "sub/file", "in it\n");
    assert_eq!(told(&judge(&repository, &slot)), ["submodule sub"]);
    fs::remove_dir_all(slot.work().join("sub")).unwrap();
    put(slot.work(), "sub", "over it\n");
    assert_eq!(told(&judge(&repository, &slot)), ["submodule sub"]);
    must(
        &world.root(),
        &[
            "clone",
            "-q",
            "--no-hardlinks",
            ".",
            slot.work().join("other").to_str().unwrap(),
        ],
    );
    fs::remove_file(slot.work().join("sub")).unwrap();
    assert_eq!(
        told(&judge(&repository, &slot)),
        ["nested-repository other", "nested-repository other/.git"]
    );
}

#[test]
fn lfs_pointers_stay_pointers() {
    let world = World::new();
    world.file(
        ".gitattributes",
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    );
    let pointer = world.dir.path().join("pointer");
    fs::write(&pointer, POINTER).unwrap();
    let blob = world.git(&["hash-object", "-w", "--no-filters", "../pointer"]);
    for path in ["a.bin", "b.bin", "c.bin"] {
        let info = format!("100644,{blob},{path}");
        world.git(&["update-index", "--add", "--cacheinfo", &info]);
        fs::write(world.root().join(path), POINTER).unwrap();
    }
    world.git(&["add", ".gitattributes"]);
    world.git(&["commit", "-q", "-m", "large files"]);
    for program in ["clean", "smudge", "process"] {
        world.git(&["config", &format!("filter.lfs.{program}"), "false"]);
    }
    world.git(&["config", "filter.lfs.required", "true"]);
    let repository = Repository::open(&world.root()).unwrap();
    let slot = world.slot(&repository, "one", None).unwrap();
    let work = slot.work();
    assert_eq!(fs::read_to_string(work.join("a.bin")).unwrap(), POINTER);
    fs::rename(work.join("b.bin"), work.join("moved.bin")).unwrap();
    fs::copy(work.join("a.bin"), work.join("copied.bin")).unwrap();
    fs::remove_file(work.join("c.bin")).unwrap();
    put(work, "plain.txt", "plain\n");
    let handed = judge(&repository, &slot);
    assert!(handed.passed().is_some(), "{handed:?}");
    // Taking the attribute away changes nothing about what the base says.
    put(work, ".gitattributes", "");
    put(work, "a.bin", "what the file would hold");
    put(work, "new.bin", POINTER.replace("4d7a", "0000"));
    let mut seen = told(&judge(&repository, &slot));
    seen.retain(|one| one.starts_with("lfs"));
    assert_eq!(seen, ["lfs-pointer a.bin", "lfs-pointer new.bin"]);
}

#[test]
fn many_files_become_one_pack_and_few_become_objects() {
    let world = World::new();
    let repository = Repository::open(&world.root()).unwrap();
    let packs = || {
        let counted = must(&world.root(), &["count-objects", "-v"]);
        let line = counted
            .lines()
            .find_map(|line| line.strip_prefix("packs: "));
        line.unwrap().parse::<u32>().unwrap()
    };
    let slot = world.slot(&repository, "one", None).unwrap();
    put(slot.work(), "src/one.txt", "one\n");
    assert_eq!(judge(&repository, &slot).changes.len(), 1);
    assert_eq!(packs(), 0);
    for number in 0..150 {
        put(slot.work(), format!("many/{number}"), format!("{number}\n"));
    }
    put(slot.work(), "many/empty", "");
    let handed = judge(&repository, &slot);
    assert_eq!((handed.changes.len(), packs()), (152, 1));
    let tree = handed.passed().unwrap();
    assert_eq!(raw(&world.root(), &format!("{tree}:many/149")), b"149\n");
    assert_eq!(must(&world.root(), &["fsck", "--no-dangling"]), "");
    assert_eq!(judge(&repository, &slot), handed);
    assert!(slot.work().as_os_str().as_bytes().ends_with(b"/one/work"));
}
