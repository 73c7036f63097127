//! `loki ship`, and `loki start --ship`: the branch of a run goes to a code host, and a pull
//! request with it. The host does this, no agent has a part in it.

use std::{path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::task::block_in_place;
use zeroize::Zeroizing;

use crate::{
    egress::Proxies,
    event::Event,
    forge::{Checked, Draft, Forge, ForgeError, Place, PullRequest, Trust, letter},
    git::{GitError, ObjectId, Remote, Repository, Way, run_branch},
    journal::Lock,
    name::RunId,
    redact::{Redactor, Values},
    run::Work,
};

use super::{
    super::{
        args,
        env::Environment,
        exit::{Exit, Fault, OrExit},
        secrets, setup,
        start::now,
        ui, views,
    },
    Book, PERSON,
    args::{Ship, To},
    finish::finish,
    fit::fit,
    revert::head,
};

/// How long a connection to the code host may take.
const DIAL: Duration = Duration::from_secs(20);
/// The names that a token is kept under, unless another is given.
const USUAL: [&str; 2] = ["GITHUB_TOKEN", "GH_TOKEN"];

/// Where a branch goes, and in whose name.
pub(in crate::cli) struct Shipment {
    remote: Remote,
    token: Zeroizing<String>,
    to: To,
    values: Arc<Values>,
    /// Whether a branch may be shipped that no check has seen.
    unchecked: bool,
}

/// What came of it.
struct Delivered {
    url: String,
    base: String,
    commit: ObjectId,
    /// Whether anything was pushed or opened.
    is_new: bool,
}

/// Runs the verb.
pub(in crate::cli) async fn ship(env: &Environment, args: &Ship) -> Result<Exit, Fault> {
    let repository = setup::repository()?;
    repository.refuse_tracked_state().or_exit(Exit::Usage)?;
    let Some(chosen) = views::choose(args.run.as_ref())? else {
        return Ok(Exit::Usage);
    };
    let mut shipment = prepare(env, &repository, &args.to)?;
    shipment.unchecked = args.unchecked;
    let lock = Lock::acquire(chosen.state(), &chosen.run, now()).or_exit(Exit::Failed)?;
    let delivered = carry(env, &repository, &chosen.run, &shipment).await?;
    drop(lock);
    if args.json {
        ui::json(&serde_json::json!({
            "schema": 1, "run": chosen.run, "url": delivered.url, "base": delivered.base,
            "commit": delivered.commit.as_str(), "new": delivered.is_new,
        }))?;
        return Ok(Exit::Done);
    }
    say(&delivered);
    Ok(Exit::Done)
}

/// Finds address and token, before anything is done.
fn prepare(env: &Environment, repository: &Repository, to: &To) -> Result<Shipment, Fault> {
    let named = to.remote.as_deref().unwrap_or("origin");
    let address = match named.contains(':') {
        true => named.to_owned(),
        false => repository.remote_address(named).or_exit(Exit::Usage)?,
    };
    let remote: Remote = address.parse().or_exit(Exit::Usage)?;
    let values = secrets::kept(env, Some(repository.root()))?;
    let names = to
        .token
        .as_deref()
        .map_or(USUAL.to_vec(), |name| vec![name]);
    let token = names.iter().find_map(|name| values.get(name));
    let Some(token) = token else {
        let message = format!("no token is kept for `{}`", remote.host);
        return Err(Fault::new(Exit::Invalid, message).hint(format!(
            "`loki secrets init`, then `loki secrets set {}`: agents never see it",
            names[0]
        )));
    };
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "the token holds characters that no token has";
        return Err(Fault::new(Exit::Invalid, message)
            .hint(format!("keep it anew: `loki secrets set {}`", names[0])));
    }
    Ok(Shipment {
        token: Zeroizing::new(token.to_owned()),
        remote,
        to: to.clone(),
        values,
        unchecked: false,
    })
}

/// Finds address and token for `loki start --ship`, before anything is started; none without it.
pub(in crate::cli) fn shipment(
    env: &Environment,
    repository: &Repository,
    args: &args::Start,
) -> Result<Option<Shipment>, Fault> {
    if args.ship {
        return prepare(env, repository, &args.to).map(Some);
    }
    if args.to.is_said() {
        let message = "`--remote`, `--base`, `--token` and `--draft` are for shipping";
        return Err(Fault::new(Exit::Usage, message).hint("add `--ship`, or leave them out"));
    }
    Ok(None)
}

/// Ships a run that was just done, while its lock is still held; any other ends as it did.
pub(in crate::cli) async fn after(
    env: &Environment,
    work: &Work,
    (exit, shipment): (Result<Exit, Fault>, Option<Shipment>),
) -> Result<Exit, Fault> {
    let (Ok(Exit::Done), Some(shipment)) = (&exit, shipment) else {
        return exit;
    };
    let delivered = carry(env, &work.repository, &work.run, &shipment).await?;
    say(&delivered);
    exit
}

fn say(delivered: &Delivered) {
    if !delivered.is_new {
        ui::note("it was shipped before, and nothing is new");
    }
    ui::data(&delivered.url);
}

async fn carry(
    env: &Environment,
    repository: &Repository,
    run: &RunId,
    shipment: &Shipment,
) -> Result<Delivered, Fault> {
    let state = repository.root().join(".loki");
    let mut book = Book::open(env, &state, run, Redactor::new(&shipment.values))?;
    let head = settled(repository, (run, &state), &mut book)?;
    let checked = judged(&book, &head, shipment)?;
    let branch = run_branch(run);
    let forge = forge(env, shipment)?;
    let upstream = forge.default_branch().await.map_err(refused)?;
    let protected = repository
        .protected()
        .or_exit(Exit::Failed)?
        .with(&upstream);
    protected.refuse(&branch).or_exit(Exit::Usage)?;
    let base = shipment.to.base.clone().unwrap_or(upstream);
    let authorities = env.certificates.as_deref();
    let way = Way {
        remote: &shipment.remote,
        token: Some(&shipment.token),
        authorities,
        environment: &env.commands,
    };
    // Runs beside this one go on meanwhile.
    let there = block_in_place(|| repository.remote_head(&way, run)).map_err(unpushed)?;
    follows(repository, there.as_ref(), &head, &branch)?;
    let standing = forge.open(&branch).await.map_err(refused)?;
    let is_new = there.as_ref() != Some(&head) || standing.is_none();
    if there.as_ref() != Some(&head) {
        book.write(&Event::Shipping {
            by: PERSON.to_owned(),
            remote: shipment.remote.to_string(),
            branch: branch.clone(),
            commit: head.to_string(),
        })?;
        block_in_place(|| repository.push(&way, run, &head, there.as_ref())).map_err(unpushed)?;
    }
    let PullRequest { url } = match standing {
        Some(standing) => standing,
        None => {
            let draft = draft(&book, checked, (&branch, &base), shipment);
            forge.create(&draft).await.map_err(refused)?
        }
    };
    if is_new {
        book.write(&Event::Shipped {
            commit: head.to_string(),
            base: base.clone(),
            url: url.clone(),
        })?;
        book.show(&state);
    }
    Ok(Delivered {
        url,
        base,
        commit: head,
        is_new,
    })
}

/// Returns where the branch is, once a revert that it did not follow is finished.
fn settled(
    repository: &Repository,
    (run, state): (&RunId, &Path),
    book: &mut Book,
) -> Result<ObjectId, Fault> {
    let turn = repository.turn().or_exit(Exit::Failed)?;
    if finish(repository, run, book)?.is_some() {
        book.show(state);
    }
    drop(turn);
    head(repository, run)
}

/// Refuses a run that is not fit to be shipped.
fn judged(book: &Book, head: &ObjectId, shipment: &Shipment) -> Result<Checked, Fault> {
    let checked = fit(&book.records, &book.status(), head);
    let checked = checked
        .map_err(|(why, hint)| Fault::new(Exit::Failed, ui::visible_lines(&why)).hint(hint))?;
    if checked == Checked::No && !shipment.unchecked {
        let message =
            "a task was taken back after the checks had run, so none has seen the branch as it is";
        return Err(Fault::new(Exit::Failed, message)
            .hint("`loki ship --unchecked` ships it and says so in the pull request"));
    }
    Ok(checked)
}

/// Refuses to push over what this repository has not seen.
fn follows(
    repository: &Repository,
    there: Option<&ObjectId>,
    head: &ObjectId,
    branch: &str,
) -> Result<(), Fault> {
    let Some(there) = there else { return Ok(()) };
    if repository.is_on(head, there).or_exit(Exit::Failed)? {
        return Ok(());
    }
    let message =
        format!("branch `{branch}` is at `{there}` on the remote, which this run does not hold");
    Err(Fault::new(Exit::Failed, message)
        .hint("somebody pushed to it; look at it there, and remove or rename it"))
}

fn forge(
    env: &Environment,
    shipment: &Shipment,
) -> Result<Forge<impl Fn() -> BoxFuture<'static, std::io::Result<tokio::net::TcpStream>>>, Fault> {
    let remote = &shipment.remote;
    let place = Place {
        host: remote.host.clone(),
        // The port of an address for `ssh` is not that of the interface.
        port: match remote.scheme {
            crate::git::Scheme::Https => remote.port,
            crate::git::Scheme::Ssh(_) => None,
        },
        owner: remote.owner.clone(),
        name: remote.name.clone(),
    };
    let proxies = Arc::new(Proxies::new(&env.proxies));
    let (target, _) = place.interface();
    let dial = move || -> BoxFuture<'static, _> {
        let (proxies, target) = (Arc::clone(&proxies), target.clone());
        Box::pin(async move { proxies.connect_loki_itself(&target, DIAL).await })
    };
    let trust = Trust::of_this_machine().map_err(refused)?;
    Ok(Forge::new(place, shipment.token.clone(), trust, dial))
}

fn draft(book: &Book, checked: Checked, (head, base): (&str, &str), shipment: &Shipment) -> Draft {
    let hash = book.records.last().map(|record| record.hash.to_string());
    let journal = (book.writer.records(), hash.as_deref().unwrap_or("-"));
    let (title, body) = letter(&book.status(), journal, checked);
    Draft {
        title: book.mask.text(&title).into_owned(),
        body: book.mask.text(&body).into_owned(),
        head: head.to_owned(),
        base: base.to_owned(),
        is_draft: shipment.to.draft,
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it turns one error into another"
)]
fn refused(cause: ForgeError) -> Fault {
    let exit = match cause {
        ForgeError::Token { .. } => Exit::Invalid,
        _ => Exit::Failed,
    };
    Fault::new(exit, crate::diagnostic::explained(&cause))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it turns one error into another"
)]
fn unpushed(cause: GitError) -> Fault {
    let exit = match cause {
        GitError::Protected { .. } => Exit::Usage,
        _ => Exit::Failed,
    };
    let fault = Fault::new(exit, crate::diagnostic::explained(&cause));
    match cause {
        GitError::Command { .. } => fault.hint(
            "may the token (or your SSH key) write to that repository, and has the branch moved there?",
        ),
        _ => fault,
    }
}
