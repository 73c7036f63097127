//! What sandboxes are started with: what a process has of it once, and what each of its runs has.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use crate::{
    egress::{Commands, Proxies, SystemResolver, Threads},
    engine::Engine,
    policy::{EgressRule, Form, Rights},
    sandbox::{Launcher, Shortfall, pool::Crowd},
};

use super::{
    advisories,
    env::Environment,
    exit::{Exit, Fault, OrExit},
    secrets, ui,
};

/// Prepares starting sandboxes of roles, on an engine that can hold them to their limits, or where
/// a policy accepts that it cannot.
pub(super) fn launcher<'a>(
    env: &Environment,
    engine: Arc<dyn Engine>,
    roles: impl IntoIterator<Item = &'a Rights>,
) -> Result<Launcher, Fault> {
    Ground::new(env, engine)?.launcher(env, roles)
}

/// What a process starts the sandboxes of all its runs with.
pub(super) struct Ground {
    pub(super) engine: Arc<dyn Engine>,
    /// Of no run: those of each stand beside.
    pub(super) threads: Threads,
    resolver: Arc<SystemResolver>,
    /// What stands, of all runs.
    crowd: Crowd,
}

impl Ground {
    /// Starts the threads of an engine's sandboxes.
    pub(super) fn new(env: &Environment, engine: Arc<dyn Engine>) -> Result<Self, Fault> {
        let proxies = Proxies::new(&env.proxies);
        proxies
            .unusable()
            .for_each(|one| ui::warning(one.to_string()));
        Ok(Self {
            engine,
            threads: Threads::through(proxies).or_exit(Exit::NoSandbox)?,
            resolver: Arc::new(SystemResolver::new().or_exit(Exit::NoSandbox)?),
            crowd: Crowd::default(),
        })
    }

    /// Prepares starting the sandboxes of one run's roles, with the secrets of `env`.
    pub(super) fn launcher<'a>(
        &self,
        env: &Environment,
        roles: impl IntoIterator<Item = &'a Rights>,
    ) -> Result<Launcher, Fault> {
        let roles: Vec<&Rights> = roles.into_iter().collect();
        limits_hold(self.engine.as_ref(), &roles)?;
        warn_of_variables(&roles);
        let threads = self.threads.beside();
        if let Some(known) = advisories::for_roles(env, &roles)? {
            threads.vet_with(Arc::new(known));
        }
        if roles.iter().any(|rights| commands(rights).next().is_some()) {
            // Tokens are in memory from the first request on.
            secrets::seal()?;
        }
        threads.run_commands(Commands {
            environment: env.commands.clone(),
            clock: Arc::new(|| jiff::Timestamp::now().into()),
        });
        let (engine, resolver) = (Arc::clone(&self.engine), Arc::clone(&self.resolver));
        let cache = env.cache()?.to_owned();
        let values = env.secrets.get().cloned().unwrap_or_default();
        let mut launcher =
            Launcher::new(engine, cache, Arc::new(threads), resolver).with_secrets(values);
        launcher.crowd = self.crowd.clone();
        Ok(launcher)
    }
}

/// Refuses roles whose limits the engine cannot hold, unless all of them accept that.
fn limits_hold(engine: &dyn Engine, roles: &[&Rights]) -> Result<(), Fault> {
    if !engine.report().limits {
        if roles.iter().any(|rights| rights.minimum.cgroup) {
            return Err(Fault::new(Exit::NoSandbox, Shortfall::NO_LIMITS));
        }
        ui::warning(
            "memory and processors are not held here, only processes are: a policy accepts `cgroup: none`",
        );
    }
    Ok(())
}

/// Returns the rules of a role whose credential a command gives, each with its program.
pub(super) fn commands(rights: &Rights) -> impl Iterator<Item = (&EgressRule, &Path)> {
    rights.egress.rules.iter().filter_map(|rule| {
        let command = rule.request.as_ref()?.credential.as_ref()?.command.as_ref();
        Some((rule, Path::new(command?.first()?)))
    })
}

/// Says which roles see a secret where every one of their programs can read it.
fn warn_of_variables(roles: &[&Rights]) {
    let mut said = BTreeSet::new();
    for rights in roles {
        let variables = rights.deliveries.iter();
        for one in variables.filter(|one| one.form == Form::Env) {
            if said.insert((&rights.role, &one.name)) {
                ui::warning(format!(
                    "role `{}` gets secret `{}` in its environment, where every program of it can read and send it: a credential of an egress rule stays outside (docs/secrets.md)",
                    rights.role, one.name
                ));
            }
        }
    }
}
