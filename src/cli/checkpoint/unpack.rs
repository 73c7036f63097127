//! `loki checkpoint restore|export|prune`.

use std::{fs::File, io::IsTerminal, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use crate::checkpoint::{
    self, CheckpointError, EntryPath, Links, Packing, Pretend, Retention, Unpacking,
};

use super::{
    args::{Export, Format, Prune, Restore},
    believed, bytes,
    create::Bar,
    looks::{store, unknown},
    told, ui,
};
use crate::cli::{
    env::Environment,
    exit::{Exit, Fault},
    start::now,
};

/// The most paths that are named one by one.
const NAMED: usize = 20;

/// `loki checkpoint restore`.
pub(super) fn restore(env: &Environment, asked: &Restore) -> Result<Exit, Fault> {
    let Some(store) = store()? else {
        return Err(unknown(&asked.id));
    };
    let believed = believed(env, &asked.trust)?;
    let unpacking = Unpacking {
        id: &asked.id,
        to: &asked.to,
        tree: None,
        readable: None,
        links: if asked.all_links {
            Links::All
        } else {
            Links::Within
        },
        owner: None,
    };
    let bar = Bar::new("verifying");
    let progress = |done, all| bar.show(done, all);
    let unpacked =
        believed.with(|trusted| checkpoint::restore(&store, &unpacking, trusted, &progress));
    bar.end();
    let unpacked = unpacked.map_err(|cause| told(&cause))?;
    say_links(&unpacked.links);
    name(&unpacked.set_id, "lost its set-id bits");
    ui::note(format!(
        "restored {} entries, {}, to `{}`",
        unpacked.entries,
        bytes(unpacked.bytes),
        ui::visible(&asked.to.to_string_lossy())
    ));
    Ok(Exit::Done)
}

fn say_links(links: &[EntryPath]) {
    name(
        links,
        "is a link that leads out of its tree, and was left out",
    );
    if !links.is_empty() {
        ui::note("hint: `--all-links` makes them too");
    }
}

fn name(paths: &[EntryPath], what: &str) {
    for path in paths.iter().take(NAMED) {
        ui::warning(format!("`{path}` {what}"));
    }
    if let Some(rest) = paths.len().checked_sub(NAMED).filter(|rest| *rest > 0) {
        ui::warning(format!("and {rest} further ones"));
    }
}

/// `loki checkpoint export`.
pub(super) fn export(env: &Environment, asked: &Export) -> Result<Exit, Fault> {
    let Some(store) = store()? else {
        return Err(unknown(&asked.id));
    };
    let believed = believed(env, &asked.trust)?;
    let wanted = checkpoint::Export {
        id: &asked.id,
        packing: match asked.format {
            Format::Tar => Packing::Plain,
            Format::Gzip => Packing::Gzip,
            Format::Zstd => Packing::Zstd,
        },
        links: if asked.all_links {
            Links::All
        } else {
            Links::Within
        },
    };
    let write = |to: &mut dyn Write| {
        believed.with(|trusted| checkpoint::export(&store, wanted, trusted, to))
    };
    let written = match &asked.out {
        None if std::io::stdout().is_terminal() => {
            return Err(
                Fault::new(Exit::Usage, "an archive is nothing for a terminal")
                    .hint("`--out FILE`, or `| tar --zstd -t`"),
            );
        }
        None => write(&mut std::io::stdout().lock()),
        Some(out) => to_file(out, write),
    };
    let (_, links) = written.map_err(|cause| told(&cause))?;
    say_links(&links);
    Ok(Exit::Done)
}

/// Writes a file that was not there, whole or not at all.
fn to_file<T>(
    out: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    let fail = |doing, source| CheckpointError::Io {
        doing,
        path: out.to_owned(),
        source,
    };
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600).open(out);
    let mut file = made.map_err(|source| fail("create", source))?;
    let written = write(&mut file).and_then(|done| {
        file.sync_all()
            .map(|()| done)
            .map_err(|source| fail("write", source))
    });
    if written.is_err() {
        // The fault is what is told; half an archive would be believed.
        std::fs::remove_file(out).ok();
    }
    written
}

/// `loki checkpoint prune`.
pub(super) fn prune(env: &Environment, asked: &Prune) -> Result<Exit, Fault> {
    let Some(store) = store()? else {
        return Ok(Exit::Done);
    };
    let believed = believed(env, &asked.trust)?;
    let rule = Retention {
        keep: asked.keep.unwrap_or(0),
        younger: asked.older_than,
    };
    let pretend = if asked.dry_run {
        Pretend::Yes
    } else {
        Pretend::No
    };
    let pruned = believed.with(|trusted| checkpoint::prune(&store, rule, trusted, now(), pretend));
    let pruned = pruned.map_err(|cause| told(&cause))?;
    if asked.json {
        ui::json(&pruned)?;
        return Ok(Exit::Done);
    }
    for id in &pruned.removed {
        ui::data(id.to_string());
    }
    for id in &pruned.strangers {
        ui::warning(format!(
            "checkpoint {id} was signed by a key that is not trusted here: it stays, and so does every \
             part that it may need; `--key PUB` trusts one"
        ));
    }
    let word = if asked.dry_run {
        "would remove"
    } else {
        "removed"
    };
    ui::note(format!(
        "{word} {}, {} stay; {} before, {} now",
        ui::counted(pruned.removed.len(), "checkpoint"),
        pruned.kept,
        bytes(pruned.before),
        bytes(pruned.after)
    ));
    Ok(Exit::Done)
}
