//! `loki advisories`: what it takes, what it refuses and how it says so.

use serde_json::Value;

use super::harness::World;

const RECORD: &str = r#"{"id": "GHSA-a", "modified": "2024-05-01T00:00:00Z", "aliases": ["CVE-2024-1"],
 "database_specific": {"severity": "HIGH"},
 "affected": [{"package": {"ecosystem": "npm", "name": "@s/left-pad"},
  "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "1.2.3"}]}]}]}"#;

#[test]
fn cli_advisories_are_imported_listed_and_removed() {
    let world = World::new();
    let none = world.loki(&["advisories", "status"]).exits(0);
    none.prints(&["no advisories were imported: `loki advisories import DIR`"]);
    world.write("osv/a.json", RECORD);
    world.write(
        "osv/deep/b.json",
        RECORD.replace("npm", "Go").replace("GHSA-a", "GO-1"),
    );
    world.write(
        "osv/c.json",
        RECORD.replace(
            "\"aliases\"",
            "\"withdrawn\": \"2024-05-02T00:00:00Z\", \"aliases\"",
        ),
    );
    world.write("osv/notes.txt", "x");
    let imported = world.loki(&["advisories", "import", "osv"]).exits(0);
    imported.says(&[
        "imported advisories (npm 1) about 1 packages, the newest of 2024-05-01; imported today from",
        "left out of 3 records: 1 withdrawn",
        "1 about other packages",
        "1 files that are not named *.json",
    ]);
    let listed = world.loki(&["advisories", "list"]).exits(0);
    listed.prints(&["npm", "@s/left-pad", "GHSA-a (CVE-2024-1)", "high", "1.2.3"]);
    let listed = world
        .loki(&["advisories", "list", "--json", "npm/@s/left-pad"])
        .exits(0);
    let said: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(
        (&said["schema"], &said["advisories"][0]["id"]),
        (&1.into(), &"GHSA-a".into())
    );
    let other = world
        .loki(&["advisories", "list", "--json", "pypi"])
        .exits(0);
    let said: Value = serde_json::from_str(&other.stdout).unwrap();
    assert_eq!(said["advisories"].as_array().map(Vec::len), Some(0));
    let status = world.loki(&["advisories", "status", "--json"]).exits(0);
    let said: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(said["advisories"]["advisories"]["npm"], 1);
    world
        .loki(&["advisories", "remove"])
        .exits(0)
        .says(&["removed"]);
    world
        .loki(&["advisories", "rm"])
        .exits(0)
        .says(&["there were none"]);
}

#[test]
fn cli_advisories_that_are_faulty_are_refused_whole_with_picture_and_advice() {
    let world = World::new();
    world.write("osv/a.json", RECORD);
    world.loki(&["advisories", "import", "osv"]).exits(0);
    world.write(
        "osv/b.json",
        "{\"id\": \"X-1\",\n \"modified\": \"yesterday\"}",
    );
    let refused = world.loki(&["advisories", "import", "osv"]).exits(3);
    refused.says(&[
        "osv/b.json:2:",
        "\"modified\": \"yesterday\"",
        "^",
        "help: one JSON object with `id`, `modified` and `affected`",
        "error: nothing was imported: of 2 records 1 cannot be read",
        "what was imported before stays",
    ]);
    world
        .loki(&["advisories", "list"])
        .exits(0)
        .prints(&["GHSA-a"]);
    world
        .loki(&["advisories", "import", "none"])
        .exits(1)
        .says(&["`none` is no directory"]);
    world.loki(&["advisories", "import"]).exits(2);
    let kept = "../home/.local/share/loki/advisories.db";
    world.write(kept, "loki advisories 1\nhalf");
    for verb in ["list", "status"] {
        world
            .loki(&["advisories", verb])
            .exits(1)
            .says(&["type `loki advisories import DIR` again"]);
    }
    world.loki(&["advisories", "remove"]).exits(0);
    world.loki(&["advisories", "list"]).exits(0);
}
