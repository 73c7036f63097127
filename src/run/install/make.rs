//! One install, in a sandbox of its own that reaches one registry and sees a lock file and its
//! manifests.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, chown},
    path::Path,
    sync::Arc,
};

use tokio::time::Instant;

use crate::{
    deps::{Bounds, Facts, From, Kept},
    event::{Event, millis},
    git,
    install::{Inputs, Place, Want},
    sandbox::{Grant, Home, Sandbox, SandboxError},
};

use super::{
    super::{
        failure::Failure,
        output::{End, Talk, last_lines},
        room::Room,
    },
    Installs, Making, Ready, blocking,
    found::Step,
};

/// Lines of a failed install's output that are told.
const TAIL_LINES: usize = 30;
/// The most files of one install.
const ENTRIES: u64 = 1_000_000;

/// Installs, and keeps what was made.
pub(super) async fn make(
    room: &Room<'_>,
    installs: &Arc<Installs>,
    (want, inputs): (&Want, &Inputs),
    making: Making,
) -> Result<(), Step> {
    let begun = Instant::now();
    let (asked, kind) = (Arc::clone(installs), want.tool.registry());
    let ready = blocking(move || asked.ready(kind)).await?;
    let Ready { rights, index } = ready.map_err(|why| want.refused(why))?;
    // What is compiled for one image is not for another: it is made where it will be used.
    let rights = crate::policy::Rights {
        image: room.rights().image.clone(),
        ..rights
    };
    let name = format!("install-{}-{:.16}", want.tool.name, making.locked.key());
    let names = &room.work().names;
    let name = names.take(&name);
    let mut own = room
        .work()
        .room_with(room.recorder(), &name, room.task(), rights.into());
    let files = inputs.iter();
    own.show(
        files
            .map(|(path, bytes)| (want.below(path), bytes.clone()))
            .collect(),
    );
    let made = within(&own, want, index.as_deref()).await;
    let taken = match made {
        Ok(()) => take(&own, installs, want, making).await,
        Err(step) => Err(step),
    };
    own.remove().await?;
    names.give_back(&name);
    let kept = taken?;
    let installed = Event::Installed {
        task: room.task().cloned(),
        sandbox: name,
        tool: want.tool.name.clone(),
        lock: want.lock.clone(),
        key: kept.key,
        entries: kept.entries,
        bytes: kept.bytes,
        elapsed_ms: millis(begun.elapsed()),
    };
    room.recorder().record(installed).await?;
    Ok(())
}

async fn within(own: &Room<'_>, want: &Want, index: Option<&str>) -> Result<(), Step> {
    let home = want
        .install_files(index)
        .into_iter()
        .map(|(path, text)| Home {
            path,
            contents: text.into_bytes(),
            executable: false,
        });
    let sandbox = own.launch(home.collect()).await?;
    let outcome = own
        .watching(&sandbox, run(own, &sandbox, want, index))
        .await;
    // Nothing runs there any more when it is looked at what was left.
    own.end(sandbox).await?;
    outcome
}

async fn run(
    own: &Room<'_>,
    sandbox: &Sandbox,
    want: &Want,
    index: Option<&str>,
) -> Result<(), Step> {
    let (argv, env) = want.install(index);
    let process = sandbox.exec(&argv, &env, &Grant::default()).await?;
    let heard = own.attend(sandbox, process, Talk::from(&b""[..])).await?;
    let why = match heard.end {
        End::Exited(0) => return Ok(()),
        End::Exited(code) => format!("ended with exit code {code}"),
        End::Overrun(over) => own.ended(over),
    };
    let said = [&heard.stdout[..], b"\n", &heard.stderr].concat();
    let tail = last_lines(String::from_utf8_lossy(&said).trim().as_bytes(), TAIL_LINES);
    Err(want
        .refused(format!("`{}` {why}:\n{tail}", want.command))
        .into())
}

/// Keeps what an install left behind.
async fn take(
    own: &Room<'_>,
    installs: &Arc<Installs>,
    want: &Want,
    making: Making,
) -> Result<Kept, Step> {
    let store = Arc::clone(&installs.store);
    let facts = Facts {
        tool: want.tool.name.clone(),
        lock: want.lock.clone(),
        command: want.command.clone(),
        image: own.image()?,
        made: own.recorder().position().ts,
    };
    let bounds = Bounds {
        entries: ENTRIES,
        bytes: own.rights().resources.disk,
    };
    let (work, makes) = (own.slot().work(), want.makes());
    let beside = want.tool.place == Place::Beside;
    let taken = blocking(move || {
        let from = From {
            work: &work,
            makes: &makes,
            beside,
        };
        store.take_in(&making.locked, facts, from, bounds)
    });
    let taken = taken.await?;
    taken.map_err(|fault| want.refused(fault.to_string()).into())
}

/// Writes what an install may see into a fresh slot, and hands it to its user. Blocks.
pub(in crate::run) fn lay_out(
    slot: &Path,
    files: &Inputs,
    user: (u32, u32),
) -> Result<(), Failure> {
    let work = git::Slot::lay_out(slot)?;
    let all = files
        .iter()
        .try_for_each(|(path, bytes)| put(&work, (path, bytes), user));
    let named = |cause: io::Error| {
        let message = format!("what the install sees could not be written: {cause}");
        SandboxError::Slot(io::Error::new(cause.kind(), message))
    };
    Ok(all.map_err(named)?)
}

/// Writes one file. Paths are plain, and nobody else writes here yet: there is no link to follow.
fn put(work: &Path, (path, bytes): (&str, &[u8]), user: (u32, u32)) -> io::Result<()> {
    let hand = |path: &Path| match rustix::process::geteuid().is_root() {
        true => chown(path, Some(user.0), Some(user.1)),
        false => Ok(()),
    };
    let mut at = work.to_owned();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        if parts.peek().is_none() {
            File::create_new(&at)?.write_all(bytes)?;
        } else if !at.is_dir() {
            fs::DirBuilder::new().mode(0o755).create(&at)?;
        } else {
            continue;
        }
        hand(&at)?;
    }
    Ok(())
}
