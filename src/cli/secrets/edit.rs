//! `loki secrets edit`: the decrypted text in an editor, in a file that no disk holds.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::statfs;
use zeroize::Zeroizing;

use crate::{
    cli::{
        env::Environment,
        exit::{Exit, Fault, OrExit},
        signals, ui,
    },
    secrets::{Identities, SecretsError, Store},
};

use super::{done, fault};

/// What `statfs` says of a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// Runs the verb. The file is gone afterwards, however the editor ended.
pub(super) async fn edit(
    env: &Environment,
    store: &Store,
    own: &Identities,
    within: Option<&Path>,
) -> Result<(), Fault> {
    let draft = store.open_text(own).map_err(fault)?;
    let place = match within {
        Some(named) => named.to_owned(),
        None => in_memory(env)?,
    };
    let folder = tempfile::Builder::new()
        .prefix("loki-edit-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(place)
        .or_exit(Exit::Failed)?;
    let file = folder.path().join("secrets.env");
    write(&file, draft.text()).or_exit(Exit::Failed)?;
    let text = loop {
        open(env, &file).await?;
        let text = read(&file)?;
        if *text == draft.text() {
            ui::note("nothing was changed");
            return Ok(());
        }
        match store.put(&draft, &text, own) {
            Ok(()) => break text,
            Err(cause @ SecretsError::Faults { .. }) => {
                let shown = fault(cause);
                if !ui::ask("The text has faults. Edit it again?") {
                    return Err(shown.hint("nothing was saved"));
                }
            }
            Err(cause) => return Err(fault(cause)),
        }
    };
    drop(text);
    // A fault here would leave the text behind unsaid.
    folder.close().or_exit(Exit::Failed)?;
    done(store, "saved");
    Ok(())
}

/// Returns a directory that is kept in memory.
fn in_memory(env: &Environment) -> Result<PathBuf, Fault> {
    let places = [Some(PathBuf::from("/dev/shm")), env.runtime_dir.clone()];
    let held = |path: &PathBuf| statfs(path).is_ok_and(|found| found.f_type == TMPFS);
    places.into_iter().flatten().find(held).ok_or_else(|| {
        let message =
            "this machine has no file system in memory at `/dev/shm` or `XDG_RUNTIME_DIR`";
        Fault::new(Exit::Failed, message).hint(
            "`loki secrets set NAME` needs none; `--in DIR` takes a disk, which may keep a trace",
        )
    })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

fn read(path: &Path) -> Result<Zeroizing<String>, Fault> {
    let mut text = Zeroizing::new(String::with_capacity(1 << 20));
    let file = File::open(path).or_exit(Exit::Failed)?;
    file.take(1 << 20)
        .read_to_string(&mut text)
        .or_exit(Exit::Failed)?;
    Ok(text)
}

/// Runs the editor to its end. A signal that ends this process meanwhile also ends the wait, so
/// that the file goes.
async fn open(env: &Environment, file: &Path) -> Result<(), Fault> {
    let named = env.editor.as_deref().unwrap_or("vi");
    let mut words = named.split_whitespace();
    let program = words.next().unwrap_or("vi");
    #[expect(
        clippy::disallowed_methods,
        reason = "the person's own editor runs as the person"
    )]
    let mut command = tokio::process::Command::new(program);
    let spawned = command.args(words).arg(file).kill_on_drop(true).spawn();
    let mut editor = spawned.map_err(|cause| {
        Fault::new(
            Exit::Failed,
            format!("editor `{}` cannot be run: {cause}", ui::visible(program)),
        )
        .hint("set `EDITOR`")
    })?;
    let ended = tokio::select! {
        ended = editor.wait() => ended,
        number = signals::first() => {
            let number = number.or_exit(Exit::Failed)?;
            return Err(Fault::new(Exit::Signal(number), "ended by a signal: nothing was saved"));
        }
    };
    let status = ended.or_exit(Exit::Failed)?;
    if !status.success() {
        return Err(Fault::new(
            Exit::Failed,
            "the editor failed: nothing was saved",
        ));
    }
    Ok(())
}
