//! The only place that prints. Data goes to stdout, all else to stderr; text that came from
//! agents, specifications or file names is shown with its control characters escaped.

use std::{
    borrow::Cow,
    io::{IsTerminal, Write},
    sync::{Arc, OnceLock},
};

use tokio::{io::AsyncWriteExt, sync::mpsc};

use super::exit::{Exit, Fault};
use crate::redact::{self, Redactor};
pub(super) use crate::text::visible;
use crate::text::visible_json;

/// What keeps secret values out of everything printed here.
static MASK: OnceLock<Redactor> = OnceLock::new();

tokio::task_local! {
    /// Who is told what would be printed, when that is not who started this process.
    static AUDIENCE: Audience;
}

/// Whoever a run is shown to from another process.
#[derive(Clone)]
pub(super) struct Audience {
    lines: mpsc::UnboundedSender<Line>,
    mask: Arc<OnceLock<Redactor>>,
}

/// What an audience is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// For standard output.
    Data(String),
    /// For standard error.
    Note(String),
}

impl Audience {
    /// Makes one, and what it is told.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Line>) {
        let (lines, told) = mpsc::unbounded_channel();
        let mask = Arc::default();
        (Self { lines, mask }, told)
    }

    fn hear(&self, line: &str, as_line: impl FnOnce(String) -> Line) {
        // Nobody listens any more.
        self.lines.send(as_line(self.text(line))).ok();
    }

    fn text(&self, line: &str) -> String {
        let line = masked(line).into_owned();
        match self.mask.get() {
            Some(mask) => mask.text(&line).into_owned(),
            None => line,
        }
    }

    /// Returns what this audience may be told of a fault.
    pub(super) fn masked(&self, fault: Fault) -> Fault {
        Fault {
            message: self.text(&fault.message),
            hint: fault.hint.map(|hint| self.text(&hint)),
            ..fault
        }
    }

    /// Has this audience told what a deed prints.
    pub(super) async fn told<T>(self, deed: impl Future<Output = T>) -> T {
        AUDIENCE.scope(self, deed).await
    }
}

/// Does what was done in another process of whoever listens, who heard there what it says: here only
/// what goes wrong is told.
pub(super) fn said_before<T>(deed: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    let Ok(audience) = AUDIENCE.try_with(Clone::clone) else {
        return deed();
    };
    let (lines, mut told) = mpsc::unbounded_channel();
    let mask = Arc::clone(&audience.mask);
    let done = AUDIENCE.sync_scope(Audience { lines, mask }, deed);
    if done.is_err() {
        while let Ok(line) = told.try_recv() {
            // Nobody listens any more.
            audience.lines.send(line).ok();
        }
    }
    done
}

/// Tells a line to the audience of what runs here, if it has one; returns whether it has.
fn is_heard(line: &str, as_line: impl FnOnce(String) -> Line) -> bool {
    let told = AUDIENCE.try_with(|audience| audience.hear(line, as_line));
    told.is_ok()
}

/// Has secret values masked in everything that is printed from here on: by what runs for an
/// audience, to that one. The first call counts.
pub(super) fn mask(redactor: Redactor) {
    let of_audience = AUDIENCE.try_with(|audience| audience.mask.set(redactor.clone()).ok());
    if of_audience.is_err() {
        // What a process does for itself opens one store, so a second one knows nothing more.
        MASK.set(redactor).ok();
    }
}

/// Returns a line with secret values masked.
fn masked(line: &str) -> Cow<'_, str> {
    match MASK.get() {
        Some(mask) => mask.text(line),
        None => Cow::Borrowed(line),
    }
}

/// Returns the mask of a stream that is passed on in parts.
pub(super) fn mask_of_stream() -> redact::Stream {
    MASK.get().cloned().unwrap_or_default().stream()
}

/// Prints a line of data.
pub(super) fn data(line: impl AsRef<str>) {
    // Nobody reads any more (`loki events | head`): the exit code still counts.
    is_read(line);
}

/// Prints a line of data and returns whether somebody may still read the next.
pub(super) fn is_read(line: impl AsRef<str>) -> bool {
    is_heard(line.as_ref(), Line::Data)
        || writeln!(std::io::stdout().lock(), "{}", masked(line.as_ref())).is_ok()
}

/// Prints a value as one JSON document.
pub(super) fn json(value: &impl serde::Serialize) -> Result<(), Fault> {
    let text = serde_json::to_string_pretty(value).map_err(|cause| Fault::new(Exit::Bug, cause))?;
    data(visible_json(&text));
    Ok(())
}

/// Prints a value as one line of JSON and returns whether somebody may still read the next.
pub(super) fn is_json_read(value: &impl serde::Serialize) -> Result<bool, Fault> {
    let text = serde_json::to_string(value).map_err(|cause| Fault::new(Exit::Bug, cause))?;
    Ok(is_read(visible_json(&text)))
}

/// Prints bytes as they are.
pub(super) fn pass(bytes: &[u8], to: Stream) {
    let written = match to {
        Stream::Out => std::io::stdout()
            .lock()
            .write_all(bytes)
            .and_then(|()| std::io::stdout().flush()),
        Stream::Err => std::io::stderr().lock().write_all(bytes),
    };
    // Nobody reads any more; the exit code still counts.
    written.ok();
}

/// Prints bytes as they are: what `loki sandbox run` passes through. A slow reader holds up the
/// program that speaks, and nothing else.
pub(super) async fn relay(bytes: &[u8], to: Stream) {
    async fn put(mut to: impl tokio::io::AsyncWrite + Unpin, bytes: &[u8]) -> std::io::Result<()> {
        AsyncWriteExt::write_all(&mut to, bytes).await?;
        AsyncWriteExt::flush(&mut to).await
    }
    let written = match to {
        Stream::Out => put(tokio::io::stdout(), bytes).await,
        Stream::Err => put(tokio::io::stderr(), bytes).await,
    };
    // Nobody listens any more; the program's exit code still counts.
    written.ok();
}

/// Where passed bytes go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Prints a table without borders.
pub(super) fn table(heading: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_header(heading);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| visible(cell)));
    }
    data(table.trim_fmt());
}

/// Prints a line for the person watching.
pub(super) fn note(line: impl AsRef<str>) {
    if is_heard(line.as_ref(), Line::Note) {
        return;
    }
    // The terminal may be gone after a hang-up, while agents still finish: that is no reason to end.
    writeln!(std::io::stderr().lock(), "{}", masked(line.as_ref())).ok();
}

/// Prints what a person is to type behind.
pub(super) fn prompt(line: &str) {
    // Whoever sees nothing may type all the same.
    write!(std::io::stderr().lock(), "{line}").ok();
}

/// Prints a warning.
pub(super) fn warning(line: impl AsRef<str>) {
    note(format!("warning: {}", line.as_ref()));
}

/// Prints a fault and returns its exit.
pub(super) fn fault(fault: &Fault) -> Exit {
    note(format!("error: {}", fault.message));
    if let Some(hint) = &fault.hint {
        note(format!("hint: {hint}"));
    }
    fault.exit
}

/// Returns whether a person watches stderr.
pub(super) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// Returns whether all three streams of this process are a terminal.
pub(super) fn is_on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && is_watched()
}

/// Asks a yes-or-no question; without a terminal the answer is no.
pub(super) fn ask(question: &str) -> bool {
    let is_apart = AUDIENCE.try_with(|_| ()).is_ok();
    if is_apart || !(std::io::stdin().is_terminal() && is_watched()) {
        return false;
    }
    let mut answer = String::new();
    write!(std::io::stderr().lock(), "{question} [y/N] ").is_ok()
        && std::io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Says how many of something there are.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Shows text of unknown origin with its lines and tabs kept and nothing else that moves a cursor.
pub(super) fn visible_lines(text: &str) -> String {
    let shown = |line: &str| line.split('\t').map(visible).collect::<Vec<_>>().join("\t");
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_hidden;

    #[test]
    fn control_sequences_are_shown_not_obeyed() {
        for hostile in [
            "\x1b[2J",
            "\x1b]52;c;eA==\x07",
            "\u{202e}abc",
            "a\rb",
            "\u{9b}31m",
        ] {
            let shown = visible_lines(hostile);
            assert!(!shown.chars().any(is_hidden), "{shown:?}");
        }
        assert_eq!(
            visible_lines("two\tcells\nin lines"),
            "two\tcells\nin lines"
        );
    }
}
