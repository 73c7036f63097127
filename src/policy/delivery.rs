//! Secrets that a role is given, and how each reaches it.

use serde::Serialize;

use super::{
    cover::{Cover, Written},
    fields::{self, map, unknown},
    sheet::Sheet,
    yaml::{Node, Value},
};

/// The keys of an entry that says how.
const KEYS: [&str; 2] = ["name", "deliver"];

/// How a secret comes into a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As the file `/run/secrets/NAME`, in memory.
    File,
    /// As the variable `NAME`, which every program of the role can read and print.
    Env,
}

/// A secret whose value a role sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The secret.
    pub name: String,
    /// How it comes.
    pub form: Form,
}

/// An item of a `secrets` list: a name alone is for the gateway, which shows the role no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) form: Option<Form>,
}

impl Given {
    /// Returns what of it the role sees.
    pub(super) fn delivery(self) -> Option<Delivery> {
        let name = self.name;
        self.form.map(|form| Delivery { name, form })
    }
}

impl Cover<Self> for Given {
    fn covers(&self, other: &Self) -> bool {
        self == other
    }
}

impl Written for Given {
    fn written(&self) -> String {
        let name = &self.name;
        match self.form {
            None => name.clone(),
            Some(Form::File) => format!("{{ name: {name}, deliver: file }}"),
            Some(Form::Env) => format!("{{ name: {name}, deliver: env }}"),
        }
    }
}

/// Returns the names, each once.
pub(super) fn names(given: &[Given]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for one in given {
        if !names.contains(&one.name) {
            names.push(one.name.clone());
        }
    }
    names
}

/// Returns the `secrets` list that says what these say.
pub(super) fn written(names: &[String], deliveries: &[Delivery]) -> String {
    let delivered = |name: &str| deliveries.iter().any(|one| one.name == name);
    let alone = names.iter().filter(|name| !delivered(name));
    let alone = alone.map(|name| format!("{name:?}"));
    let how = deliveries.iter().map(|one| {
        let (name, form) = (one.name.clone(), Some(one.form));
        Given { name, form }.written()
    });
    format!("[{}]", alone.chain(how).collect::<Vec<_>>().join(", "))
}

/// Reads an item of a `secrets` list.
pub(super) fn read(sheet: &mut Sheet<'_>, node: &Node) -> Option<Given> {
    if !matches!(node.value, Value::Map(_)) {
        let name = fields::secret(sheet, node)?;
        return Some(Given { name, form: None });
    }
    let (mut name, mut form) = (None, None);
    for (key, at, value) in map(sheet, node, "a secret") {
        match key {
            "name" => name = Some(fields::secret(sheet, value)),
            "deliver" => form = Some(fields::scalar(sheet, value, "`file` or `env`", parse)),
            _ => unknown(sheet, (key, at), &KEYS),
        }
    }
    if name.is_none() || form.is_none() {
        let help = "write { name: API_KEY, deliver: file }, or the name alone";
        sheet.fault(
            node.at,
            "a secret needs a `name` and how to `deliver` it",
            Some(help.to_owned()),
        );
    }
    Some(Given {
        name: name??,
        form: Some(form??),
    })
}

fn parse(text: &str) -> Option<Form> {
    match text {
        "file" => Some(Form::File),
        "env" => Some(Form::Env),
        _ => None,
    }
}
