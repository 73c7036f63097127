//! `loki secrets`: keeps what programs need and nobody should see. Values come from standard input
//! or a terminal, never from arguments, and no verb prints one.

pub(super) mod args;
mod edit;
mod entered;

use std::{path::Path, sync::Arc};

use crate::{
    diagnostic::explained,
    git::Repository,
    policy::Source,
    redact::{Redactor, Values},
    secrets::{self, Identities, Recipient, SecretsError, Store},
};

use super::{
    args::Json,
    env::{self, Environment},
    exit::{Exit, Fault, OrExit},
    setup, ui,
};
use args::{Key, RecipientsVerb, Secrets, Verb};

/// Runs the verb.
pub(super) async fn run(env: &Environment, args: &Secrets) -> Result<Exit, Fault> {
    secrets::seal().map_err(unsealed)?;
    let root = setup::root()?;
    let own = identities(env)?;
    if matches!(args.verb, Verb::Init) {
        let store = new_store(env, root.as_deref(), args)?;
        return init(env, &store, &own);
    }
    let store = match the_store(env, root.as_deref())? {
        Some(store) if !args.user => store,
        _ => user_store(env)?,
    };
    match &args.verb {
        Verb::Init => {}
        Verb::Set { name, rest } => set(&store, &own, name, rest)?,
        Verb::List(form) => list(&store, &own, form)?,
        Verb::Rm { name } => {
            store.remove(name, &own).map_err(fault)?;
            done(&store, &format!("removed `{name}`"));
        }
        Verb::Edit { within } => edit::edit(env, &store, &own, within.as_deref()).await?,
        Verb::Recipients(verb) => recipients(&store, &own, verb)?,
    }
    Ok(Exit::Done)
}

/// Decrypts the store for runs and sandboxes, where a policy names secrets at all, and has
/// everything that is printed from here on masked. Asked again, it answers the same.
pub(super) fn values(
    env: &Environment,
    root: Option<&Path>,
    sources: &[Source],
) -> Result<Arc<Values>, Fault> {
    if let Some(known) = env.secrets.get() {
        return Ok(Arc::clone(known));
    }
    let named = |source: &Source| {
        ["secrets", "credential"]
            .iter()
            .any(|word| source.text.contains(word))
    };
    match sources.iter().any(named) {
        true => kept(env, root),
        false => Ok(remembered(env, Values::default())),
    }
}

/// Decrypts the store, whether or not a policy names secrets: for what Loki itself does in a
/// person's name. Everything that is printed from here on is masked. The first call counts.
pub(super) fn kept(env: &Environment, root: Option<&Path>) -> Result<Arc<Values>, Fault> {
    if let Some(known) = env.secrets.get() {
        return Ok(Arc::clone(known));
    }
    let values = match the_store(env, root)? {
        Some(store) => {
            secrets::seal().map_err(unsealed)?;
            store.open(&identities(env)?).map_err(fault)?.into_values()
        }
        None => Values::default(),
    };
    Ok(remembered(env, values))
}

fn remembered(env: &Environment, values: Values) -> Arc<Values> {
    ui::mask(Redactor::new(&values));
    Arc::clone(env.secrets.get_or_init(|| Arc::new(values)))
}

/// Keeps this process's memory, which is about to hold values, from others of the user.
pub(super) fn seal() -> Result<(), Fault> {
    secrets::seal().map_err(unsealed)
}

/// Returns the store that counts: the project's where there is one, else the user's.
fn the_store(env: &Environment, root: Option<&Path>) -> Result<Option<Store>, Fault> {
    if let Some(root) = root {
        let store = Store::at(root.join(".loki"));
        if store.exists() {
            refuse_committed(root)?;
            return Ok(Some(store));
        }
    }
    let user = env.config.as_ref().map(|config| Store::at(config.clone()));
    Ok(user.filter(Store::exists))
}

/// A store that came with the code was written by somebody else, and so was the list of those
/// whom new values are encrypted to.
fn refuse_committed(root: &Path) -> Result<(), Fault> {
    match Repository::open(root) {
        Ok(repository) => repository.refuse_tracked_state().or_exit(Exit::Usage),
        // Without a commit nobody brought anything along.
        Err(_) => Ok(()),
    }
}

fn user_store(env: &Environment) -> Result<Store, Fault> {
    let config = env.config.clone().ok_or_else(|| {
        Fault::new(Exit::Usage, "neither `HOME` nor `XDG_CONFIG_HOME` is set").hint("set `HOME`")
    })?;
    Ok(Store::at(config))
}

fn new_store(env: &Environment, root: Option<&Path>, args: &Secrets) -> Result<Store, Fault> {
    match root {
        Some(root) if !args.user => Ok(Store::at(root.join(".loki"))),
        _ => user_store(env),
    }
}

/// Returns where this user's private keys are.
fn identities(env: &Environment) -> Result<Identities, Fault> {
    if let Some(named) = &env.age_identity {
        if named.starts_with(env::KEY) {
            let message = "`LOKI_AGE_IDENTITY` holds a key, which every process of yours can read";
            return Err(Fault::new(Exit::Usage, message)
                .hint("write the key to a file of mode 600 and name that file"));
        }
        return Ok(Identities::Named(named.into()));
    }
    let home = env.home.iter();
    let below = home.flat_map(|home| {
        [".age/key.txt", ".ssh/id_ed25519", ".ssh/id_rsa"].map(|path| home.join(path))
    });
    let config = env.config.iter().map(|config| config.join("identity.txt"));
    Ok(Identities::Usual(config.chain(below).collect()))
}

fn init(env: &Environment, store: &Store, own: &Identities) -> Result<Exit, Fault> {
    if store.exists() {
        return Err(fault(SecretsError::Exists { path: store.path() }));
    }
    let recipient = match own.first_recipient().map_err(fault)? {
        Some(known) => known,
        None => {
            let path = user_store(env)?.path().with_file_name("identity.txt");
            let made = secrets::generate(&path).map_err(fault)?;
            ui::note(format!(
                "made an identity in `{}`: keep a copy, nothing else opens the store",
                path.display()
            ));
            made
        }
    };
    ui::data(format!("recipient {recipient}"));
    store.create(recipient, own).map_err(fault)?;
    done(store, "made");
    Ok(Exit::Done)
}

fn set(store: &Store, own: &Identities, name: &str, rest: &[String]) -> Result<(), Fault> {
    if !rest.is_empty() || name.contains('=') {
        let message = "a value on the command line is seen by every process of this machine";
        return Err(Fault::new(Exit::Usage, message)
            .hint("change that value where it counts; then type `loki secrets set NAME` alone, or pipe the value in"));
    }
    if !secrets::is_name(name) {
        return Err(Fault::new(Exit::Usage, "that is no name of a secret")
            .hint("a name is capital letters, digits and `_`, such as `API_KEY`"));
    }
    // Before anybody types: a store that cannot be opened takes no value.
    drop(store.open(own).map_err(fault)?);
    let value = entered::value(name)?;
    if let Some(why) = secrets::unfit(&value) {
        return Err(Fault::new(
            Exit::Invalid,
            format!("the value of `{name}` {why}"),
        ));
    }
    store.set(name, &value, own).map_err(fault)?;
    done(store, &format!("set `{name}`"));
    Ok(())
}

fn list(store: &Store, own: &Identities, form: &Json) -> Result<(), Fault> {
    let values = store.open(own).map_err(fault)?.into_values();
    if form.json {
        let path = store.path();
        let names: Vec<_> = values
            .names()
            .map(|name| serde_json::json!({ "name": name }))
            .collect();
        return ui::json(&serde_json::json!({ "schema": 1, "store": path, "secrets": names }));
    }
    values.names().for_each(ui::data);
    let count = ui::counted(values.names().count(), "secret");
    done(store, &count);
    Ok(())
}

fn recipients(store: &Store, own: &Identities, verb: &RecipientsVerb) -> Result<(), Fault> {
    match verb {
        RecipientsVerb::List(form) => {
            let all = store.recipients().map_err(fault)?;
            if form.json {
                let keys: Vec<_> = all
                    .iter()
                    .map(|key| serde_json::json!({ "key": key.to_string() }))
                    .collect();
                let path = store.recipients_path();
                return ui::json(
                    &serde_json::json!({ "schema": 1, "file": path, "recipients": keys }),
                );
            }
            all.iter().for_each(|key| ui::data(key.to_string()));
        }
        RecipientsVerb::Add(key) => {
            let key = recipient(key)?;
            let change = store.change_recipients(own, |all| {
                all.add(key);
                Ok(())
            });
            change.map_err(fault)?;
            done(store, "added");
        }
        RecipientsVerb::Rm(key) => {
            let key = recipient(key)?;
            let change = store.change_recipients(own, |all| all.remove(&key));
            change.map_err(fault)?;
            done(store, "removed");
            ui::warning(
                "whoever was removed may know the values so far: replace them where they count",
            );
        }
    }
    Ok(())
}

fn recipient(key: &Key) -> Result<Recipient, Fault> {
    let parsed = key.words.join(" ").parse();
    parsed.map_err(|cause: SecretsError| Fault::new(Exit::Usage, cause))
}

fn done(store: &Store, what: &str) {
    ui::note(format!("{what} in `{}`", store.path().display()));
}

/// Shows every fault of a text with its place.
fn fault(cause: SecretsError) -> Fault {
    match &cause {
        SecretsError::Faults { faults, .. } => {
            let counted = setup::diagnostics(faults);
            Fault::new(counted.exit, cause)
        }
        SecretsError::NoSuchSecret { .. } | SecretsError::NoSuchRecipient { .. } => {
            Fault::new(Exit::Usage, explained(&cause))
        }
        SecretsError::Io { .. } => Fault::new(Exit::Failed, cause),
        _ => Fault::new(Exit::Invalid, cause),
    }
}

fn unsealed(cause: std::io::Error) -> Fault {
    let message = format!("other processes cannot be kept from this one's memory: {cause}");
    Fault::new(Exit::Failed, message)
}
