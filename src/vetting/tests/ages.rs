//! When a version came out, as registries say it.

use super::*;

fn published(kind: RegistryKind, body: &str) -> Published {
    let base = url::Url::parse("https://r.test/simple/six/").unwrap();
    Published::read(kind, &base, body.as_bytes()).unwrap()
}

const DAY: Duration = Duration::from_secs(86_400);

fn aged(published: &Published, package: &Package, place: &str) -> Result<(), String> {
    let now: Timestamp = "2024-06-10T00:00:00Z".parse().unwrap();
    judge_age((package, 3 * DAY), place, (published, now)).map_err(|refusal| refusal.reason)
}

#[test]
fn of_npm_a_version_is_as_old_as_the_packument_says() {
    let said = published(
        Npm,
        r#"{"name": "x", "time": {"created": "2020-01-01T00:00:00Z", "modified": "2020-01-01T00:00:00Z", "1.0.0": "2024-01-01T00:00:00.000Z",
            "1.1.0": "2024-06-01T10:00:00+00:00", "1.2.0-rc.1": "2024-06-02T00:00:00Z", "2.0.0": "2024-06-09T00:00:00Z", "3.0.0": "2025-01-01T00:00:00Z", "unpublished": {"time": "x"}}}"#,
    );
    let ask = |version: &str| aged(&said, &package(Npm, "x", version), "");
    assert_eq!(ask("1.1.0"), Ok(()));
    assert_eq!(
        ask("2.0.0").unwrap_err(),
        "`x 2.0.0` is refused: it came out 24 hours ago, and its rule wants versions that are 3 days old; the newest that is: 1.1.0"
    );
    assert!(ask("3.0.0").is_err(), "a time to come is young");
    for unknown in ["1.3.0", "created", "modified"] {
        assert!(
            ask(unknown).unwrap_err().contains("does not say when"),
            "{unknown}"
        );
    }
    let base = url::Url::parse("https://r.test/x").unwrap();
    for bad in ["", "[]", "{}", "{\"time\": 1}", "<html>"] {
        assert!(
            Published::read(Npm, &base, bad.as_bytes()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn of_cargo_a_version_is_as_old_as_its_line_says() {
    let said = published(
        Crates,
        "{\"name\":\"x\",\"vers\":\"1.0.0\",\"pubtime\":\"2024-01-01T00:00:00Z\"}\n{\"vers\":\"1.1.0\",\"yanked\":true,\"pubtime\":\"2024-01-02T00:00:00Z\"}\n\n{\"vers\":\"1.2.0\",\"pubtime\":\"2024-06-09T23:00:00Z\"}\n{\"vers\":\"1.3.0\"}\n",
    );
    let ask = |version: &str| aged(&said, &package(Crates, "x", version), "");
    assert_eq!((ask("1.0.0"), ask("1.1.0")), (Ok(()), Ok(())));
    let young = ask("1.2.0").unwrap_err();
    assert!(
        young.contains("1 hour ago") && young.ends_with("the newest that is: 1.0.0"),
        "{young}"
    );
    assert!(ask("1.3.0").unwrap_err().contains("does not say when"));
}

#[test]
fn of_pip_each_file_has_its_own_age_and_is_known_by_its_whole_address() {
    let json = r#"{"meta": {"api-version": "1.1"}, "name": "six", "files": [
        {"filename": "six-1.0.tar.gz", "url": "https://files.test/a/six-1.0.tar.gz", "hashes": {}, "upload-time": "2024-01-01T00:00:00.000000Z"},
        {"filename": "six-1.0-py3-none-any.whl", "url": "https://files.test/b/six-1.0-py3-none-any.whl#sha256=x", "upload-time": "2024-06-09T00:00:00Z"},
        {"filename": "six-0.9.tar.gz", "url": "../../f/six-0.9.tar.gz", "upload-time": "2023-01-01T00:00:00Z"},
        {"filename": "six-0.8.tar.gz", "url": "https://files.test/a/six-0.8.tar.gz"}]}"#;
    let html = r#"<!DOCTYPE html><html><body>
        <a href="https://files.test/a/six-1.0.tar.gz#sha256=1" data-upload-time="2024-01-01T00:00:00Z">six-1.0.tar.gz</a>
        <a data-requires-python="&gt;=3" href='https://files.test/b/six-1.0-py3-none-any.whl' data-upload-time='2024-06-09T00:00:00Z'>x</a>
        <a href="/f/six-0.9.tar.gz" data-upload-time="2023-01-01T00:00:00Z">x</a>
        <a href="https://files.test/a/six-0.8.tar.gz">x</a><a href=unquoted>x</a>"#;
    for body in [json, html] {
        let said = published(Pypi, body);
        let ask = |version: &str, place: &str| aged(&said, &package(Pypi, "six", version), place);
        assert_eq!(ask("1.0", "files.test/a/six-1.0.tar.gz"), Ok(()));
        assert_eq!(ask("0.9", "r.test/f/six-0.9.tar.gz"), Ok(()));
        let young = ask("1.0", "files.test/b/six-1.0-py3-none-any.whl").unwrap_err();
        assert!(young.ends_with("the newest that is: 0.9"), "{young}");
        ask("1.0", "files.test/b/six-1.0-py3-none-any.whl.metadata").unwrap_err();
        for elsewhere in [
            "files.test/c/six-1.0.tar.gz",
            "other.test/a/six-1.0.tar.gz",
            "files.test/a/six-0.8.tar.gz",
        ] {
            assert!(
                ask("1.0", elsewhere)
                    .unwrap_err()
                    .contains("does not say when"),
                "{elsewhere}"
            );
        }
    }
}
