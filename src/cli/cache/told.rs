//! Says in a line what was installed, or why not.

use crate::{cli::ui, event::Event};

/// Says in one line what an install came to; none of another event.
pub(in crate::cli) fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Installed {
            tool,
            lock,
            key,
            entries,
            bytes,
            elapsed_ms,
            ..
        } => format!(
            "{} installed what {} names: {entries} files, {} in {}.{} s, kept as {key:.16}",
            ui::visible(tool),
            ui::visible(lock),
            size(*bytes),
            elapsed_ms / 1000,
            elapsed_ms % 1000 / 100,
        ),
        Event::InstallReused {
            sandbox, lock, key, ..
        } => format!(
            "{sandbox}: what {} names was installed before, as {key:.16}",
            ui::visible(lock)
        ),
        Event::InstallRefused { lock, reason, .. } => format!(
            "nothing installed from {}: {}",
            ui::visible(lock),
            ui::visible_lines(reason)
        ),
        _ => return None,
    })
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn what_lock_files_and_tools_say_is_shown_with_nothing_hidden() {
        let refused = Event::InstallRefused {
            task: None,
            tool: "npm".to_owned(),
            lock: "a\u{1b}[2J".to_owned(),
            key: None,
            reason: "it said \u{202e}no".to_owned(),
        };
        let shown = line(&refused).unwrap();
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
        let installed = Event::Installed {
            task: None,
            sandbox: "install-npm-0".to_owned(),
            tool: "npm".to_owned(),
            lock: "package-lock.json".to_owned(),
            key: Digest::default(),
            entries: 12,
            bytes: 3 << 20,
            elapsed_ms: 2345,
        };
        assert_eq!(
            line(&installed).unwrap(),
            "npm installed what package-lock.json names: 12 files, 3 MiB in 2.3 s, kept as 0000000000000000"
        );
    }
}
