//! Reads one entry of one section: the fields below a role's key.

use std::time::Duration;

use super::{
    EgressRule, Glob, Globs, Program, Tier, egress, execute,
    sheet::{Mark, Sheet},
    units,
    yaml::{Node, Value},
};
use crate::diagnostic::closest;

/// The most items of one list.
const LONGEST: usize = 1000;

/// What entries say about a role, each field on its own: none means that nothing was said.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) description: Option<String>,
    pub(super) image: Option<String>,
    pub(super) tier: Option<Tier>,
    pub(super) read: Option<Globs>,
    pub(super) write: Option<Globs>,
    pub(super) execute: Option<Vec<Program>>,
    pub(super) egress: Option<Vec<EgressRule>>,
    pub(super) cpus: Option<f64>,
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<u32>,
    pub(super) disk: Option<u64>,
    pub(super) timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) log: Option<u64>,
}

impl Fields {
    /// Replaces each field that `other` names.
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
        put(&mut self.egress, &other.egress);
        put(&mut self.cpus, &other.cpus);
        put(&mut self.memory, &other.memory);
        put(&mut self.pids, &other.pids);
        put(&mut self.disk, &other.disk);
        put(&mut self.timeout, &other.timeout);
        put(&mut self.idle_timeout, &other.idle_timeout);
        put(&mut self.log, &other.log);
    }
}

/// The sections whose keys are roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Agents,
    Permissions,
    NetworkPolicies,
    Resources,
}

impl Section {
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("agents", Self::Agents),
        ("permissions", Self::Permissions),
        ("network_policies", Self::NetworkPolicies),
        ("resources", Self::Resources),
    ];

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Agents => &["description", "image", "tier"],
            Self::Permissions => &["read", "write", "execute"],
            Self::NetworkPolicies => &["egress"],
            Self::Resources => &[
                "cpus",
                "memory",
                "pids",
                "disk",
                "timeout",
                "idle_timeout",
                "log",
            ],
        }
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
    for (key, at, value) in map(sheet, entry, "an entry") {
        match key {
            _ if !section.fields().contains(&key) => unknown(sheet, (key, at), section.fields()),
            "description" => fields.description = description(sheet, value),
            "image" => fields.image = image(sheet, value),
            "tier" => fields.tier = tier(sheet, value),
            "read" => fields.read = Some(globs(sheet, value)),
            "write" => fields.write = Some(globs(sheet, value)),
            "execute" => fields.execute = Some(execute::list(sheet, value)),
            "egress" => fields.egress = Some(egress::list(sheet, value)),
            _ => resource(sheet, &mut fields, key, value),
        }
    }
    fields
}

fn resource(sheet: &mut Sheet<'_>, fields: &mut Fields, key: &str, value: &Node) {
    match key {
        "cpus" => fields.cpus = cpus(sheet, value),
        "memory" => fields.memory = size(sheet, value, "16MiB"),
        "pids" => fields.pids = pids(sheet, value),
        "disk" => fields.disk = size(sheet, value, "1MiB"),
        "timeout" => fields.timeout = time(sheet, value),
        "idle_timeout" => fields.idle_timeout = time(sheet, value),
        _ => fields.log = size(sheet, value, "1KiB"),
    }
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

/// Reads a scalar with `parse`, or says what was `wanted`.
fn scalar<T>(
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

fn cpus(sheet: &mut Sheet<'_>, node: &Node) -> Option<f64> {
    let number = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|cpus| (0.01..=1024.0).contains(cpus))
    };
    scalar(
        sheet,
        node,
        "a number of processors from 0.01 to 1024, such as `2` or `1.5`",
        number,
    )
}

fn pids(sheet: &mut Sheet<'_>, node: &Node) -> Option<u32> {
    let number = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|pids| (4..=4_194_304).contains(pids))
    };
    scalar(
        sheet,
        node,
        "a number of processes from 4 to 4194304",
        number,
    )
}

fn size(sheet: &mut Sheet<'_>, node: &Node, least: &str) -> Option<u64> {
    let wanted =
        format!("a size from {least} to 1024TiB with its unit, such as `512MiB` or `2GiB`");
    let range = units::size(least).expect("every least size above is a size")..=1 << 50;
    scalar(sheet, node, &wanted, |text| {
        units::size(text).filter(|size| range.contains(size))
    })
}

fn time(sheet: &mut Sheet<'_>, node: &Node) -> Option<Duration> {
    let longest = Duration::from_secs(30 * 86_400);
    let fits =
        |text: &str| units::duration(text).filter(|time| !time.is_zero() && *time <= longest);
    scalar(
        sheet,
        node,
        "a duration from 1s to 30d with its unit, such as `30m`",
        fits,
    )
}

fn globs(sheet: &mut Sheet<'_>, node: &Node) -> Globs {
    let mut globs = Globs::default();
    for item in items(sheet, node, "[\"src/**\"]") {
        let Some(text) = text(sheet, item, "a glob such as \"src/**\"") else {
            continue;
        };
        globs.0.extend(glob(sheet, text, item.at));
    }
    globs
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
