//! Where a repository's answers are kept, for rules that say `cache`.

use std::{error::Error, path::Path, sync::Arc};

use jiff::Timestamp;

use crate::{
    egress::{Answers, Room},
    sandbox::Launcher,
};

use super::{env::Environment, exit::Fault, ui};

/// The file in the user's cache directory that vouches for kept answers.
const KEY: &str = "answers.key";

/// Keeps answers below `state`, the `.loki` of a repository. Where that cannot be, nothing is kept,
/// and that is said: a request is then asked of its server.
pub(super) fn keep(env: &Environment, launcher: &Launcher, state: &Path) -> Result<(), Fault> {
    let opened = Answers::open(
        (state, Room::default()),
        &env.cache()?.join(KEY),
        launcher.redactor.clone(),
        Arc::new(|| Timestamp::now().into()),
    );
    match opened {
        Ok(answers) => launcher.threads.keep(answers),
        Err(cause) => {
            let behind = cause
                .source()
                .map_or_else(String::new, |why| format!(": {why}"));
            ui::warning(format!("{cause}{behind}"));
        }
    }
    Ok(())
}
