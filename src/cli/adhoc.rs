//! A throw-away sandbox: one program, on a copy of a commit that is gone afterwards.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch, time::sleep};

use crate::{
    event::Overrun,
    git::{self, Checkout, GitError, ObjectId, Owner, Repository},
    link::{self, LinkError},
    policy::Rights,
    sandbox::{self, Grant, Labels, Launcher, Occupant, Sandbox, SandboxError, Slot, Spoken},
};

use super::{
    env::Environment,
    exit::{Exit, Fault, OrExit},
    terminal,
    ui::{self, Stream},
};

/// How long what was said last may take to arrive after the program has ended.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// What a program has for its three streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// A pipe each.
    Pipes,
    /// One terminal.
    Terminal,
}

/// Puts files into a slot that is empty, and gives them to a user.
pub(super) type Filler = Box<dyn Fn(&Slot, (u32, u32)) -> std::io::Result<()> + Send + Sync>;

/// What is to be run.
pub(super) struct Asked {
    /// What it may do.
    pub(super) rights: Rights,
    /// The image, by digest.
    pub(super) image: String,
    /// What the copy is made of; none leaves it empty.
    pub(super) tree: Option<ObjectId>,
    /// Fills the slot instead, for this user.
    pub(super) filler: Option<Filler>,
    /// Programs with their arguments; the first that is there and may run is run.
    pub(super) programs: Vec<Vec<String>>,
    /// Variables on top of those that every program gets.
    pub(super) env: Vec<(String, String)>,
    /// What it talks through.
    pub(super) streams: Streams,
    /// When it ends at the latest.
    pub(super) timeout: Option<Duration>,
}

impl Asked {
    /// Returns the program that is tried last, for a message about none that could run.
    pub(super) fn last_program(&self) -> &str {
        let argv = self.programs.last();
        argv.and_then(|argv| argv.first())
            .map_or("", String::as_str)
    }
}

/// What runs.
enum Started {
    OnPipes(link::Streams, link::Ended),
    OnTerminal(link::Terminal, link::Ended),
}

/// Opens the repository around the directory. Where nothing is committed there is nothing to copy;
/// a repository that cannot be read is no such place, and neither is a machine without git.
pub(super) fn open(here: &Path) -> Result<Option<Repository>, Fault> {
    match Repository::open(here) {
        Ok(repository) => Ok(Some(repository)),
        Err(GitError::NotARepository { .. } | GitError::NoCommit { .. }) => Ok(None),
        Err(cause) => Err(Fault::new(Exit::RunFailed, cause)),
    }
}

/// Returns the commit to copy: the one named, else HEAD.
pub(super) fn tree(
    repository: Option<&Repository>,
    named: Option<&str>,
) -> Result<Option<ObjectId>, Fault> {
    let Some(named) = named else {
        return Ok(repository.map(|repository| repository.head().clone()));
    };
    let found = repository.and_then(|repository| repository.resolve(named).ok());
    found.map(Some).ok_or_else(|| {
        let message = format!(
            "`{}` names no commit of a repository here",
            ui::visible(named)
        );
        Fault::new(Exit::Usage, message)
            .hint("name a branch, a tag or a commit; changes count once they are committed")
    })
}

/// The throw-away directory of one `sandbox run`, named after its process. Not among the
/// worktrees of runs, which the next `loki start` sweeps.
pub(super) struct Place {
    slot: Slot,
    root: PathBuf,
    repository: Option<Repository>,
    label: String,
}

impl Place {
    /// Names the directory, and removes those of processes that are gone.
    pub(super) fn new(env: &Environment, repository: Option<Repository>) -> Result<Self, Fault> {
        let home = match &repository {
            Some(repository) => repository.root().to_owned(),
            None => env.cache()?.to_owned(),
        };
        let label = sandbox::repository_label(&home);
        let root = if repository.is_some() {
            home.join(".loki")
        } else {
            home
        };
        let place = Self {
            slot: Slot::at(root.join("adhoc").join(sandbox::owner())),
            root,
            repository,
            label,
        };
        place.sweep()?;
        Ok(place)
    }

    /// Removes the directories of processes that are gone.
    fn sweep(&self) -> Result<(), Fault> {
        let entries = std::fs::read_dir(self.root.join("adhoc"))
            .into_iter()
            .flatten()
            .flatten();
        let dead = entries.filter(|entry| !entry.file_name().to_str().is_some_and(sandbox::alive));
        dead.map(|entry| entry.path())
            .try_for_each(|path| git::remove_tree(&path))
            .or_exit(Exit::RunFailed)
    }

    /// Removes the directory and whatever stands in it.
    pub(super) fn remove(&self) -> Result<(), Fault> {
        git::remove_tree(self.slot.path()).or_exit(Exit::RunFailed)?;
        // Whatever still holds something stays: it is another's.
        for path in [self.root.join("adhoc"), self.root.clone()] {
            std::fs::remove_dir(path).ok();
        }
        Ok(())
    }

    /// Whose containers are ended when this process is told to end.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Runs what is asked and returns its exit code, none when it ran out of time.
    ///
    /// # Errors
    /// When the sandbox does not stand, or no program of those asked for may run.
    pub(super) async fn play(
        &self,
        launcher: &Launcher,
        asked: &Asked,
    ) -> Result<Option<i32>, SandboxError> {
        let user = launcher.user();
        self.fill(asked, user)?;
        let occupant = Occupant {
            name: format!("loki-adhoc-{}", sandbox::owner()),
            rights: asked.rights.clone().into(),
            labels: Labels {
                run: "adhoc".to_owned(),
                task: "adhoc".to_owned(),
                repository: self.label.clone(),
                owner: sandbox::owner(),
            },
            home: Vec::new(),
            given: Vec::new(),
            image: asked.image.clone(),
        };
        // Decisions of a throw-away sandbox belong to no run, so there is no journal for them.
        let sandbox = launcher
            .launch(&occupant, &self.slot, user, Arc::new(|_| {}))
            .await?;
        let code = converse(&sandbox, asked).await;
        sandbox.end().await?;
        code
    }

    /// Puts the files that the role may see into the slot.
    fn fill(&self, asked: &Asked, user: (u32, u32)) -> Result<(), SandboxError> {
        if let Some(filler) = &asked.filler {
            return filler(&self.slot, user).map_err(SandboxError::Slot);
        }
        let (Some(repository), Some(tree)) = (&self.repository, &asked.tree) else {
            return Ok(());
        };
        let root = rustix::process::geteuid().is_root();
        let owner = root.then_some(Owner {
            uid: user.0,
            gid: user.1,
        });
        let read = asked.rights.files.visible();
        let checkout = Checkout {
            tree,
            read: Some(&read),
            owner,
        };
        let filled = repository.export(self.slot.path(), checkout);
        filled
            .map(drop)
            .map_err(|cause| SandboxError::Slot(std::io::Error::other(cause)))
    }
}

async fn converse(sandbox: &Sandbox, asked: &Asked) -> Result<Option<i32>, SandboxError> {
    sandbox
        .make_repository(&git::private_repository_script())
        .await?;
    let spoken = Spoken::default();
    let talk = async {
        Ok(match start(sandbox, asked).await? {
            Started::OnPipes(streams, ended) => talk(streams, ended, &spoken).await?,
            Started::OnTerminal(terminal, ended) => {
                terminal::join(terminal, ended, &spoken).await?
            }
        })
    };
    let ended = tokio::select! {
        ended = within(asked.timeout, talk) => ended,
        over = sandbox.overrun(&spoken) => return overran(sandbox, over).await,
    };
    match sandbox.overrun_at_end().await {
        Some(over) => overran(sandbox, over).await,
        None => ended.map(|exit| exit.map(|exit| exit.code)),
    }
}

/// Waits for the end, and no longer than a time. What is given up then still runs, until the
/// sandbox ends.
async fn within(
    time: Option<Duration>,
    talk: impl Future<Output = Result<link::Exit, SandboxError>>,
) -> Result<Option<link::Exit>, SandboxError> {
    match time {
        None => talk.await.map(Some),
        Some(time) => match tokio::time::timeout(time, talk).await {
            Ok(exit) => exit.map(Some),
            Err(_) => Ok(None),
        },
    }
}

/// Ends everything, and makes the overrun how the program ended.
async fn overran(sandbox: &Sandbox, over: Overrun) -> Result<Option<i32>, SandboxError> {
    sandbox.kill().await;
    Err(SandboxError::Overrun(over))
}

async fn start(sandbox: &Sandbox, asked: &Asked) -> Result<Started, SandboxError> {
    let mut refused = SandboxError::Link(LinkError::Lost);
    for argv in &asked.programs {
        let started = match asked.streams {
            Streams::Pipes => {
                sandbox
                    .exec(argv, &asked.env, &Grant::default())
                    .await
                    .map(|process| {
                        let (streams, ended) = process.split();
                        Started::OnPipes(streams, ended)
                    })
            }
            Streams::Terminal => sandbox
                .exec_on_terminal(argv, &asked.env, terminal::size())
                .await
                .map(|(terminal, ended)| Started::OnTerminal(terminal, ended)),
        };
        match started {
            // Only what is not there or may not run leaves something to the next one.
            Err(SandboxError::Link(cause)) if cause.exit_code().is_some() => {
                refused = cause.into();
            }
            other => return other,
        }
    }
    Err(refused)
}

async fn talk(
    streams: link::Streams,
    ended: link::Ended,
    spoken: &Spoken,
) -> Result<link::Exit, LinkError> {
    let link::Streams {
        stdin,
        stdout,
        stderr,
    } = streams;
    let feed = async move {
        // The program may end before its input does.
        if let Some(mut stdin) = stdin {
            tokio::io::copy(&mut tokio::io::stdin(), &mut stdin)
                .await
                .ok();
        }
        std::future::pending::<()>().await;
    };
    let (over, told) = watch::channel(false);
    let end = async {
        let exit = ended.wait().await;
        over.send_replace(true);
        exit
    };
    let speak = async {
        tokio::join!(
            end,
            pass(stdout, Stream::Out, spoken, told.clone()),
            pass(stderr, Stream::Err, spoken, told)
        )
    };
    tokio::select! {
        (exit, (), ()) = speak => exit,
        () = feed => unreachable!("feeding never ends by itself"),
    }
}

/// Passes an output on as fast as it is taken, until it ends or its program is over for a while:
/// what the program left running may hold it open for ever. Nothing is kept, so there is no cap.
async fn pass(
    mut from: pipe::Receiver,
    to: Stream,
    spoken: &Spoken,
    mut over: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut late = std::pin::pin!(async {
        over.wait_for(|over| *over).await.ok();
        sleep(LAST_WORDS).await;
    });
    let mut left = None;
    let mut mask = ui::mask_of_stream();
    while left != Some(0) {
        tokio::select! {
            count = from.read(&mut buffer) => {
                let Ok(count @ 1..) = count else { break };
                spoken.add(count);
                ui::relay(&mask.push(buffer.split_at(count).0), to).await;
                left = left.map(|left: u64| left.saturating_sub(count as u64));
            }
            // What is there by now still goes out, however slowly it is taken.
            () = &mut late, if left.is_none() => {
                left = Some(rustix::io::ioctl_fionread(&from).unwrap_or(0));
            }
        }
    }
    ui::relay(&mask.finish(), to).await;
}
