//! Reads one entry of one section: the fields below a role's key.

use super::{
    DeniedHost, EgressRule, Glob, Program, Tier, delivery,
    delivery::Given,
    denials, egress, execute, host_files,
    host_files::Granted,
    limits::{Limit, Limits},
    sheet::{Mark, Placed, Sheet},
    yaml::{Node, Value},
};
use crate::{diagnostic::closest, name::Role};

/// The most items of one list.
const LONGEST: usize = 1000;

/// A list as it was written, each item with its place.
pub(super) type List<T> = Placed<Vec<Placed<T>>>;

/// What entries say about a role, each field on its own: none means that nothing was said.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) description: Option<Placed<String>>,
    pub(super) extends: Option<Placed<Role>>,
    pub(super) image: Option<Placed<String>>,
    pub(super) tier: Option<Placed<Tier>>,
    pub(super) read: Option<List<Glob>>,
    pub(super) write: Option<List<Glob>>,
    pub(super) execute: Option<List<Program>>,
    pub(super) host_executable: Option<List<Granted>>,
    pub(super) egress: Option<List<EgressRule>>,
    pub(super) uncounted: Option<List<Glob>>,
    pub(super) secrets: Option<List<Given>>,
    pub(super) limits: Limits<Placed<f64>>,
    pub(super) bounds: Bounds,
}

/// What entries say that no other entry can undo: it adds up.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    /// Closed to reading, writing and running.
    pub(super) read: Vec<Placed<Glob>>,
    pub(super) write: Vec<Placed<Glob>>,
    pub(super) execute: Vec<Placed<Program>>,
    pub(super) host_executable: Vec<Placed<Granted>>,
    pub(super) hosts: Vec<Placed<DeniedHost>>,
    pub(super) maximum: Vec<(Limit, Placed<f64>)>,
}

impl Bounds {
    /// Adds those of another entry.
    pub(super) fn extend(&mut self, other: &Self) {
        self.read.extend_from_slice(&other.read);
        self.write.extend_from_slice(&other.write);
        self.execute.extend_from_slice(&other.execute);
        self.host_executable
            .extend_from_slice(&other.host_executable);
        self.hosts.extend_from_slice(&other.hosts);
        self.maximum.extend_from_slice(&other.maximum);
    }
}

impl Fields {
    /// Replaces each field that `other` names, and adds its bounds.
    pub(super) fn overlay(&mut self, other: &Self) {
        fn put<T: Clone>(mine: &mut Option<T>, other: &Option<T>) {
            if other.is_some() {
                mine.clone_from(other);
            }
        }
        put(&mut self.description, &other.description);
        put(&mut self.image, &other.image);
        put(&mut self.tier, &other.tier);
        put(&mut self.read, &other.read);
        put(&mut self.write, &other.write);
        put(&mut self.execute, &other.execute);
        put(&mut self.host_executable, &other.host_executable);
        put(&mut self.egress, &other.egress);
        put(&mut self.uncounted, &other.uncounted);
        put(&mut self.secrets, &other.secrets);
        self.limits
            .extend(other.limits.iter().map(|(limit, value)| (*limit, *value)));
        self.bounds.extend(&other.bounds);
    }
}

/// The sections whose keys are roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Section {
    Agents,
    Permissions,
    NetworkPolicies,
    Resources,
    RateLimits,
    MinimumIsolation,
    Secrets,
}

impl Section {
    pub(super) const ALL: [(&'static str, Self); 7] = [
        ("agents", Self::Agents),
        ("permissions", Self::Permissions),
        ("network_policies", Self::NetworkPolicies),
        ("resources", Self::Resources),
        ("rate_limits", Self::RateLimits),
        ("minimum_isolation", Self::MinimumIsolation),
        ("secrets", Self::Secrets),
    ];

    /// Returns the key that bounds every role of the section, if the section has bounds.
    pub(super) fn bound(self) -> Option<&'static str> {
        match self {
            Self::Permissions | Self::NetworkPolicies => Some("deny"),
            Self::Resources | Self::RateLimits => Some("maximum"),
            Self::Agents | Self::MinimumIsolation | Self::Secrets => None,
        }
    }

    /// Returns the keys of an entry.
    pub(super) fn fields(self) -> Vec<&'static str> {
        let lists: &[&str] = match self {
            Self::Agents => &["description", "extends", "image", "tier"],
            Self::Permissions => &["read", "write", "execute", "host_executable"],
            Self::NetworkPolicies => &["egress"],
            Self::RateLimits => &["uncounted"],
            Self::Resources | Self::MinimumIsolation | Self::Secrets => &[],
        };
        let limits = self.limits().map(Limit::name);
        limits
            .chain(lists.iter().copied())
            .chain(self.bound())
            .collect()
    }

    /// Returns the numbers that the section sets.
    pub(super) fn limits(self) -> impl Iterator<Item = Limit> {
        let mine = move |limit: &Limit| Limit::named(self, limit.name()).is_some();
        Limit::ALL.into_iter().filter(mine)
    }
}

/// Returns the pairs of a map whose keys are texts; anything else is a fault.
pub(super) fn map<'n>(
    sheet: &mut Sheet<'_>,
    node: &'n Node,
    what: &str,
) -> Vec<(&'n str, Mark, &'n Node)> {
    let pairs = match &node.value {
        Value::Map(pairs) => pairs.as_slice(),
        Value::Faulty => &[],
        _ => {
            sheet.fault(
                node.at,
                format!("{what} must be a map, and this is {}", node.kind()),
                None,
            );
            &[]
        }
    };
    let mut texts = Vec::new();
    for (key, value) in pairs {
        match &key.value {
            Value::Text(text) => texts.push((text.as_str(), key.at, value)),
            Value::Faulty => {}
            _ => sheet.fault(
                key.at,
                format!("a key of {what} must be a text, and this is {}", key.kind()),
                None,
            ),
        }
    }
    texts
}

/// Adds the fault of a key that nobody knows.
pub(super) fn unknown(sheet: &mut Sheet<'_>, key: (&str, Mark), known: &[&str]) {
    let (text, at) = key;
    let help = match closest(text, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    sheet.fault(
        at,
        format!("unknown key `{}`", text.escape_debug()),
        Some(help),
    );
}

/// Returns the fields of one entry of `section`.
pub(super) fn read(sheet: &mut Sheet<'_>, section: Section, entry: &Node) -> Fields {
    let mut fields = Fields::default();
    if section == Section::Secrets {
        fields.secrets = Some(list(sheet, entry, "[API_KEY]", delivery::read));
        return fields;
    }
    let known = section.fields();
    for (key, at, value) in map(sheet, entry, "an entry") {
        if let Some(limit) = Limit::named(section, key) {
            let number = limit.read(sheet, value);
            let placed = number.map(|number| (limit, sheet.placed(number, value.at)));
            fields.limits.extend(placed);
        } else if known.contains(&key) {
            field(sheet, &mut fields, (section, key), value);
        } else {
            unknown(sheet, (key, at), &known);
        }
    }
    fields
}

fn field(
    sheet: &mut Sheet<'_>,
    fields: &mut Fields,
    (section, key): (Section, &str),
    value: &Node,
) {
    let at = value.at;
    match key {
        "description" => {
            fields.description = description(sheet, value).map(|v| sheet.placed(v, at));
        }
        "extends" => fields.extends = role(sheet, value).map(|v| sheet.placed(v, at)),
        "image" => fields.image = image(sheet, value).map(|v| sheet.placed(v, at)),
        "tier" => fields.tier = tier(sheet, value).map(|v| sheet.placed(v, at)),
        "read" => fields.read = Some(globs(sheet, value)),
        "write" => fields.write = Some(globs(sheet, value)),
        "uncounted" => fields.uncounted = Some(globs(sheet, value)),
        "execute" => fields.execute = Some(execute::list(sheet, value)),
        "host_executable" => fields.host_executable = Some(host_files::list(sheet, value)),
        "egress" => fields.egress = Some(egress::list(sheet, value)),
        _ => denials::bound(sheet, &mut fields.bounds, section, value),
    }
}

/// Reads every item of a list with `item`, which may make several values of it.
pub(super) fn list<'n, T, I: IntoIterator<Item = T>>(
    sheet: &mut Sheet<'_>,
    node: &'n Node,
    example: &str,
    item: impl Fn(&mut Sheet<'_>, &'n Node) -> I,
) -> List<T> {
    let mut list = Vec::new();
    for node in items(sheet, node, example) {
        let values = item(sheet, node);
        list.extend(values.into_iter().map(|value| sheet.placed(value, node.at)));
    }
    sheet.placed(list, node.at)
}

/// Returns the text of a value; anything else is a fault.
pub(super) fn text<'n>(sheet: &mut Sheet<'_>, node: &'n Node, wanted: &str) -> Option<&'n str> {
    match &node.value {
        Value::Text(text) => return Some(text),
        Value::Faulty => {}
        _ => sheet.fault(
            node.at,
            format!("{wanted} is wanted here, and this is {}", node.kind()),
            None,
        ),
    }
    None
}

/// Returns the items of a list; anything else is a fault.
pub(super) fn items<'n>(sheet: &mut Sheet<'_>, node: &'n Node, example: &str) -> &'n [Node] {
    match &node.value {
        Value::List(items) if items.len() <= LONGEST => return items,
        Value::List(_) => {
            let message = format!("the list has more than {LONGEST} items");
            sheet.fault(
                node.at,
                message,
                Some("name groups, directories or wildcards".to_owned()),
            );
        }
        Value::Faulty => {}
        _ => {
            let help = Some(format!("write {example}, or [] for nothing"));
            sheet.fault(
                node.at,
                format!("a list is wanted here, and this is {}", node.kind()),
                help,
            );
        }
    }
    &[]
}

/// Returns a scalar read with `parse`, or says what was `wanted`.
pub(super) fn scalar<T>(
    sheet: &mut Sheet<'_>,
    node: &Node,
    wanted: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let given = text(sheet, node, wanted)?;
    let value = parse(given);
    if value.is_none() {
        sheet.fault(
            node.at,
            format!("`{}` is not {wanted}", given.escape_debug()),
            None,
        );
    }
    value
}

fn description(sheet: &mut Sheet<'_>, node: &Node) -> Option<String> {
    let one_line = |text: &str| {
        (text.len() <= 300 && !text.chars().any(char::is_control)).then(|| text.to_owned())
    };
    scalar(sheet, node, "one line of at most 300 characters", one_line)
}

fn image(sheet: &mut Sheet<'_>, node: &Node) -> Option<String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let name = |text: &str| {
        let fits = text.len() <= 40
            && !text.starts_with('-')
            && !text.is_empty()
            && text.bytes().all(inner);
        fits.then(|| text.to_owned())
    };
    scalar(
        sheet,
        node,
        "the name of a Loki image, such as `base` (see `loki image list`)",
        name,
    )
}

fn tier(sheet: &mut Sheet<'_>, node: &Node) -> Option<Tier> {
    scalar(
        sheet,
        node,
        "a model tier: planning, development or fast",
        |text| match text {
            "planning" => Some(Tier::Planning),
            "development" => Some(Tier::Development),
            "fast" => Some(Tier::Fast),
            _ => None,
        },
    )
}

/// Returns the globs of a list.
pub(super) fn globs(sheet: &mut Sheet<'_>, node: &Node) -> List<Glob> {
    list(sheet, node, "[\"src/**\"]", |sheet, item| {
        let text = text(sheet, item, "a glob such as \"src/**\"")?;
        glob(sheet, text, item.at)
    })
}

/// Returns the name of a role.
pub(super) fn role(sheet: &mut Sheet<'_>, node: &Node) -> Option<Role> {
    scalar(
        sheet,
        node,
        "the name of a role, such as `eng-backend`",
        |text| text.parse().ok(),
    )
}

/// Returns the name of a secret.
pub(super) fn secret(sheet: &mut Sheet<'_>, node: &Node) -> Option<String> {
    let inner = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let name = |text: &str| {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with(|c: char| c.is_ascii_digit());
        fits.then(|| text.to_owned())
    };
    scalar(sheet, node, "the name of a secret, such as `API_KEY`", name)
}

/// Returns the glob of a text; a text that is none is a fault.
pub(super) fn glob(sheet: &mut Sheet<'_>, text: &str, at: Mark) -> Option<Glob> {
    match Glob::parse(text, sheet.origin(at)) {
        Ok(glob) => Some(glob),
        Err(error) => {
            sheet.fault(at, error.to_string(), Some(error.help.to_owned()));
            None
        }
    }
}
