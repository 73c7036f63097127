//! `loki policy trust`, and where the pins of trusted projects are kept.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    diagnostic::{Diagnostic, explained},
    digest::Digest,
    policy::{Facts, Pins, Policy, Trust},
    whole,
};

use super::{
    super::{
        env::Environment,
        exit::{Exit, Fault},
        setup::{self, Gathered},
        ui,
    },
    args,
};

/// How many changed lines of a file are shown.
const MOST_LINES: usize = 40;

/// Shows what the project's policy would widen, asks, and pins it; or takes the trust back.
pub(in crate::cli) fn trust(env: &Environment, args: &args::Trust) -> Result<Exit, Fault> {
    let repository = setup::repository()?;
    let root = repository.root();
    let file = pins_file(env, root).ok_or_else(|| {
        Fault::new(Exit::Usage, "neither `HOME` nor `XDG_CONFIG_HOME` is set")
            .hint("set `HOME`: Loki keeps there what you trust")
    })?;
    if args.remove {
        return remove(&file);
    }
    let gathered = setup::gather(env, &[], Some(root))?;
    if gathered.project().next().is_none() {
        return Err(
            Fault::new(Exit::Usage, "this repository has no `.loki/policies`")
                .hint("there is nothing to trust; your own files, in `~/.config/loki/policies`, need no trust"),
        );
    }
    if gathered.facts.trust == Trust::Pinned {
        ui::note("these files are trusted already");
        return Ok(Exit::Done);
    }
    let widenings = widenings(&gathered)?;
    if widenings.is_empty() {
        ui::note("these files only narrow: they count without trust");
        return Ok(Exit::Done);
    }
    say_changes(&gathered);
    ui::note("with your trust these would count:");
    for widening in widenings {
        let bare = Diagnostic {
            help: None,
            ..widening
        };
        ui::data(bare.render());
    }
    if !args.yes && !ui::ask("Trust these files, exactly as they are now?") {
        ui::note("nothing was trusted; `loki policy trust --yes` trusts without asking");
        return Ok(Exit::Failed);
    }
    let pins = Pins::of(&root.to_string_lossy(), &gathered.sources);
    keep(&file, &pins).map_err(|cause| unkept(&file, &cause))?;
    ui::note(format!(
        "trusted until a file changes; kept in {}",
        file.display()
    ));
    Ok(Exit::Done)
}

fn remove(file: &Path) -> Result<Exit, Fault> {
    match fs::remove_file(file) {
        Ok(()) => ui::note("this project is no longer trusted"),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            ui::note("this project was not trusted");
        }
        Err(cause) => return Err(unkept(file, &cause)),
    }
    Ok(Exit::Done)
}

/// Returns the notes that trust would make go away. The files must be sound once trusted.
fn widenings(gathered: &Gathered) -> Result<Vec<Diagnostic>, Fault> {
    let facts = |trust| Facts {
        trust,
        ..gathered.facts.clone()
    };
    let check = |trust| {
        let checked = Policy::check_knowing(&gathered.sources, &facts(trust));
        checked.map_err(|faults| setup::diagnostics(&faults))
    };
    let trusted = check(Trust::Pinned)?;
    let now = check(Trust::No)?;
    let new = |note: &&Diagnostic| !trusted.notes().contains(note);
    Ok(now.notes().iter().filter(new).cloned().collect())
}

/// Returns where the pins of the repository at `root` are kept, none without a home.
fn pins_file(env: &Environment, root: &Path) -> Option<PathBuf> {
    let name = Digest::of(root.as_os_str().as_bytes());
    let directory = env.config.as_ref()?.join("trust");
    Some(directory.join(format!("{name}.json")))
}

/// Returns the pins of the repository at `root`, none when nothing was trusted there. Pins that
/// cannot be believed are a fault: a person must look at them.
pub(in crate::cli) fn pins(env: &Environment, root: &Path) -> Result<Option<Pins>, Fault> {
    let Some(file) = pins_file(env, root) else {
        return Ok(None);
    };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unkept(&file, &cause)),
    };
    let pins = Pins::parse(&text).map_err(|cause| {
        let message = format!(
            "`{}` is not believed: {}",
            file.display(),
            explained(&cause)
        );
        Fault::new(Exit::Invalid, message).hint("`loki policy trust --remove` removes it")
    })?;
    Ok(Some(pins))
}

/// Writes the pins for their owner only, whole or not at all.
fn keep(file: &Path, pins: &Pins) -> io::Result<()> {
    let directory = file.parent().expect("a pins file stands in a directory");
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    whole::replace(file, 0o600, pins.text().as_bytes())
}

fn unkept(file: &Path, cause: &io::Error) -> Fault {
    Fault::new(
        Exit::Failed,
        format!("`{}` cannot be used: {cause}", file.display()),
    )
}

/// Says how the project's files differ from those that were trusted.
pub(in crate::cli) fn say_changes(gathered: &Gathered) {
    for change in &gathered.changes {
        let file = ui::visible(&change.file);
        ui::warning(format!(
            "`.loki/policies/{file}` is not what you trusted, so this project no longer is"
        ));
        for line in change.lines.iter().take(MOST_LINES) {
            ui::note(format!("  {}", ui::visible(line)));
        }
        if change.lines.len() > MOST_LINES {
            ui::note(format!("  … {} more", change.lines.len() - MOST_LINES));
        }
    }
}
