//! THREATS S16: an agent against the record of what it did.

use std::{
    fs,
    time::{Duration, Instant},
};

use super::harness::{Engine, START, World, opened_with};

const SOON: Duration = Duration::from_secs(300);

/// Looks everywhere for what proves a run, and cuts or removes what it finds.
const ERASER: &str = r#"
import os
for top, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if (top, name) not in (("/", "proc"), ("/", "sys"))]
    for name in files:
        path = os.path.join(top, name)
        if name.endswith((".jsonl", ".seals", ".seal")) or name == "journal.key":
            print("FOUND", path)
            try:
                with open(path, "r+b") as file:
                    file.truncate(file.seek(0, 2) // 2)
                print("CHANGED", path)
            except OSError as error:
                print("kept", path, error)
for name in os.listdir("/proc/1/fd"):
    try:
        if ".loki/journal" in os.readlink("/proc/1/fd/" + name):
            print("FOUND", name)
    except OSError:
        pass
print("LOOKED")
"#;

/// S16: an agent that became root of its container changes no record.
#[test]
fn attack_s16_root_in_a_container_finds_no_journal_and_changes_none() {
    let engine = Engine::Docker;
    let world = World::on(engine);
    world.write("src/app.py", "print('app')\n");
    world.commit();
    world.write(
        "agent.sh",
        "#!/bin/sh\necho ok >src/ok\nwhile ! [ -e /tmp/go ]; do sleep 0.1; done\n",
    );
    world.write(
        "spec.md",
        "# Attack\n\n## Tasks\n\n1. `wait` (eng-backend): Wait.\n\n## Tests\n\n- `true`\n",
    );
    let mut running = world.spawn(&START);
    running.wait_until(SOON, |said| said.stderr.contains("attempt 1"));
    let container = until(|| {
        let standing = world.events_of("sandbox_started").pop()?;
        standing["container"].as_str().map(str::to_owned)
    });
    let journals = fs::read_dir(world.path(".loki/journal")).unwrap();
    let journal = journals
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .expect("a journal");
    let before = fs::read(&journal).unwrap();
    let as_root = |script: &str| {
        let args = ["exec", "--user=0", &container, "python3", "-c", script];
        world.start(engine.program(), &args).wait(SOON).exits(0)
    };
    let said = as_root(ERASER);
    assert_eq!(said.stdout, "LOOKED\n", "{said}");
    drop(as_root("open('/tmp/go', 'w')"));
    drop(running.wait(SOON).exits(0));
    assert!(fs::read(&journal).unwrap().starts_with(&before));
    world
        .loki(&["audit", "verify"])
        .exits(0)
        .prints(&["chain intact", "is kept outside"]);
    // The control: root of a container that the repository is mounted into does, and it shows.
    let mount = format!("--volume={}:/work", world.path("").display());
    let control = opened_with(&world, engine, ERASER, &[&mount]);
    assert!(
        control.stdout.contains("CHANGED /work/.loki/journal/"),
        "{control}"
    );
    world.loki(&["audit", "verify"]).exits(1).says(&["error: "]);
}

/// Waits until something is there.
#[track_caller]
fn until<T>(look: impl Fn() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < SOON, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}
