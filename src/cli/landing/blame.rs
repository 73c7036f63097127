//! `loki blame-task`: from a line back to the task that wrote it.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    super::{
        exit::{Exit, Fault, OrExit},
        setup, ui,
    },
    args::BlameTask,
    why::origin,
};

/// Runs the verb.
pub(in crate::cli) fn blame_task(args: &BlameTask) -> Result<Exit, Fault> {
    let (file, line) = place(&args.place)?;
    let repository = setup::repository()?;
    let here = std::env::current_dir().or_exit(Exit::Usage)?;
    let here = std::fs::canonicalize(here).or_exit(Exit::Usage)?;
    let path = repository.inside(&here, &file).ok_or_else(|| {
        let message = format!("`{}` is not in this repository", shown(&file));
        Fault::new(Exit::Usage, message).hint("give a file of it: `loki blame-task src/app.rs:12`")
    })?;
    let at = args.at.as_ref().map(|at| repository.resolve(at));
    let at = at.transpose().or_exit(Exit::Usage)?;
    let blamed = repository.blame(&path, line, at.as_ref()).map_err(|_| {
        let message = format!("`{}` has no line {line} that git knows", shown(&path));
        Fault::new(Exit::Usage, message).hint("is the file committed, and long enough?")
    })?;
    let Some(id) = &blamed.commit else {
        if args.json {
            ui::json(&json!({
                "schema": 1, "file": shown(&path), "line": line, "text": blamed.text,
                "committed": false, "origin": null,
            }))?;
        }
        ui::note(format!(
            "line {line} of `{}` is in no commit yet: it is yours",
            shown(&path)
        ));
        return Ok(Exit::Failed);
    };
    let origin = origin(&repository, id)?;
    if args.json {
        ui::json(&json!({
            "schema": 1, "file": shown(&path), "line": line, "text": blamed.text,
            "committed": true, "origin": origin.json(),
        }))?;
    } else {
        ui::data(format!("line     {}", ui::visible(&blamed.text)));
        origin.print();
    }
    Ok(origin.exit())
}

fn shown(path: &Path) -> String {
    ui::visible(&path.to_string_lossy())
}

/// Reads `FILE:LINE`; a file may hold colons, a line does not.
fn place(text: &str) -> Result<(PathBuf, u32), Fault> {
    let read = text.rsplit_once(':').and_then(|(file, line)| {
        let digits = !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit());
        let line = line.parse().ok().filter(|line| digits && *line > 0);
        (!file.is_empty()).then_some(())?;
        Some((PathBuf::from(file), line?))
    });
    read.ok_or_else(|| {
        let message = format!("`{}` is not FILE:LINE", ui::visible(text));
        Fault::new(Exit::Usage, message).hint("such as `loki blame-task src/app.rs:12`")
    })
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_place_is_a_file_and_a_line() {
        assert_eq!(place("a:b:3").unwrap(), ("a:b".into(), 3));
        for text in [
            "",
            "a",
            "a:",
            ":3",
            "a:0",
            "a:-1",
            "a:+1",
            "a:x",
            "a:99999999999",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
