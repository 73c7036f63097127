//! The one decision on a version of a package, asked by the gateway and by `policy explain` alike.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    affected::Gist,
    asked::{Asked, Package, Unread},
    database::{Database, Unusable},
    name::matches,
    osv::Advisory,
    published::Published,
    version::Version,
};
use crate::policy::{RegistryKind, RegistryRule};

/// Why a version may not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One sentence: which package, why, and which version would do.
    pub reason: String,
    /// The same in a few words, for who sees no more than a status line.
    pub short: String,
    /// What to do next.
    pub next: String,
}

/// What becomes of what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may come in.
    Fine,
    /// It may not.
    Refused(Box<Refusal>),
    /// It may if it is old enough, which the registry has to be asked.
    Aged(Package, Duration),
}

/// How many advisories are named.
const NAMED: usize = 3;

/// Returns whether anything is asked of packages of a rule at all.
#[must_use]
pub fn is_vetted(rule: &RegistryRule, database: Option<&Database>) -> bool {
    let heeds = rule.advisories.unwrap_or(database.is_some());
    heeds || rule.min_age.is_some() || !rule.allow.is_empty() || !rule.deny.is_empty()
}

/// Decides as far as can be without asking the registry.
#[must_use]
pub fn judge(
    rule: &RegistryRule,
    asked: Result<Asked, Unread>,
    database: Option<&Database>,
) -> Verdict {
    if !is_vetted(rule, database) {
        return Verdict::Fine;
    }
    let decided = asked
        .map_err(|unread| Refusal::unread(&unread))
        .and_then(|asked| decided(rule, asked, database));
    match decided {
        Ok(Some((package, age))) => Verdict::Aged(package, age),
        Ok(None) => Verdict::Fine,
        Err(refusal) => Verdict::Refused(Box::new(refusal)),
    }
}

fn decided(
    rule: &RegistryRule,
    asked: Asked,
    database: Option<&Database>,
) -> Result<Option<(Package, Duration)>, Refusal> {
    let package = match asked {
        Asked::Index => return Ok(None),
        // pip hides why a page is refused, and shows why a file is.
        Asked::Metadata(_) if rule.kind == RegistryKind::Pypi => return Ok(None),
        Asked::Metadata(name) => {
            listed(rule, &[&name], None)?;
            return Ok(None);
        }
        Asked::Package(package) => package,
    };
    let names: Vec<&str> = [Some(package.name.as_str()), package.binary.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    listed(rule, &names, Some(&package.version))?;
    known(rule, &package, database)?;
    Ok(rule.min_age.map(|age| (package, age)))
}

/// Holds a package against `allow` and `deny`. Without a version, an entry that names one counts
/// for `allow` alone: another version may be asked for next.
fn listed(rule: &RegistryRule, names: &[&str], version: Option<&str>) -> Result<(), Refusal> {
    let shown = |version: Option<&str>| {
        let name = names.last().copied().unwrap_or_default();
        version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
    };
    let names_it = |entry: &str| {
        let (pattern, only) = parted(entry);
        names.iter().any(|name| matches(rule.kind, pattern, name))
            && only.is_none_or(|only| version.is_none_or(|version| same(rule.kind, only, version)))
    };
    // A mirror may take small and capital letters of npm for the same.
    let folded = |entry: &str| {
        let pattern = parted(entry).0.to_ascii_lowercase();
        let mut names = names.iter().map(|name| name.to_ascii_lowercase());
        rule.kind == RegistryKind::Npm
            && parted(entry).1.is_none()
            && names.any(|name| matches(rule.kind, &pattern, &name))
    };
    let denied = |entry: &&String| {
        let counts = version.is_some() || parted(entry).1.is_none();
        counts && (names_it(entry) || folded(entry))
    };
    if let Some(entry) = rule.deny.iter().find(denied) {
        return Err(Refusal::of(
            format!(
                "`{}` is refused: `deny` of its rule names `{entry}`",
                shown(version)
            ),
            format!("{} is on the deny list", shown(version)),
            "use another package".to_owned(),
        ));
    }
    if !rule.allow.is_empty() && !rule.allow.iter().any(|entry| names_it(entry)) {
        return Err(Refusal::of(
            format!(
                "`{}` is refused: `allow` of its rule does not name it",
                shown(version)
            ),
            format!("{} is not on the allow list", shown(version)),
            "use a package that the rule allows".to_owned(),
        ));
    }
    Ok(())
}

/// Parts `left-pad@1.3.0` into name and version; a scope's `@` stands first.
fn parted(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once('@') {
        Some((name, version)) if !name.is_empty() => (name, Some(version)),
        _ => (entry, None),
    }
}

fn same(kind: RegistryKind, a: &str, b: &str) -> bool {
    let read = |text| Version::read(kind, text);
    match (read(a), read(b)) {
        (Some(a), Some(b)) => a.order(&b) == Some(std::cmp::Ordering::Equal),
        _ => a == b,
    }
}

/// Holds a package against the advisories.
fn known(
    rule: &RegistryRule,
    package: &Package,
    database: Option<&Database>,
) -> Result<(), Refusal> {
    let database = match (rule.advisories, database) {
        (Some(false), _) | (None, None) => return Ok(()),
        (Some(true), None) => return Err(Refusal::none_imported(package)),
        (_, Some(database)) => database,
    };
    let unusable = |unusable| Refusal::unusable(package, &unusable);
    let mut about = database
        .about(package.kind, &package.name)
        .map_err(unusable)?;
    let folded = package.name.to_ascii_lowercase();
    if folded != package.name {
        about.extend(database.about(package.kind, &folded).map_err(unusable)?);
    }
    let release = release(package);
    let version = source_version(package);
    let hits = about.into_iter().filter_map(|advisory| {
        let accepted = |id: &String| *id == advisory.id || advisory.aliases.contains(id);
        let elsewhere =
            release.is_some() && advisory.release.is_some() && advisory.release != release;
        if elsewhere || rule.accept.iter().any(accepted) {
            return None;
        }
        let gist = advisory.affects(package.kind, version)?;
        Some((advisory, gist))
    });
    let mut hits: Vec<(Advisory, Gist)> = hits.collect();
    hits.dedup_by(|next, first| next.0.id == first.0.id);
    match hits.is_empty() {
        true => Ok(()),
        false => Err(Refusal::advised(package, &hits)),
    }
}

/// Returns the release of Debian that a version was made for, as `+deb12u3` says.
fn release(package: &Package) -> Option<String> {
    if package.kind != RegistryKind::Debian {
        return None;
    }
    let (_, behind) = package.version.rsplit_once("deb")?;
    let (release, update) = behind.split_once('u')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let update = update.split('+').next().unwrap_or_default();
    (digits(release) && digits(update)).then(|| release.to_owned())
}

/// Returns the source package's version: a rebuild adds `+b1` to it.
fn source_version(package: &Package) -> &str {
    let version = package.version.as_str();
    let rebuilt = version.rsplit_once("+b").filter(|(_, number)| {
        package.kind == RegistryKind::Debian
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    });
    rebuilt.map_or(version, |(source, _)| source)
}

/// Decides whether a package has been out for long enough. `place` is its host and path.
///
/// # Errors
/// Returns the [`Refusal`] when it has not, or when nobody says.
pub fn judge_age(
    (package, age): (&Package, Duration),
    place: &str,
    (published, now): (&Published, Timestamp),
) -> Result<(), Box<Refusal>> {
    let Some(at) = published.of(package, place) else {
        return Err(Box::new(Refusal::of(
            format!(
                "`{}` is refused: its rule wants versions that are {} old, and the registry does not say when this one came out",
                package.shown(),
                span(age)
            ),
            format!("the age of {} is unknown", package.shown()),
            "use another version".to_owned(),
        )));
    };
    let since = Timestamp::duration_since(now, at);
    if SignedDuration::try_from(age).is_ok_and(|age| since >= age) {
        return Ok(());
    }
    let before = now.checked_sub(age).unwrap_or(Timestamp::MIN);
    let newest = published.newest_at(package.kind, before);
    let took = Duration::try_from(since).unwrap_or_default();
    let then = newest.map_or_else(
        || "no final version is".to_owned(),
        |newest| format!("the newest that is: {newest}"),
    );
    Err(Box::new(Refusal::of(
        format!(
            "`{}` is refused: it came out {} ago, and its rule wants versions that are {} old; {then}",
            package.shown(),
            span(took),
            span(age)
        ),
        format!("{} is younger than {}; {then}", package.shown(), span(age)),
        newest.map_or_else(
            || "wait, or use another package".to_owned(),
            |newest| format!("use version {newest}, or an older one"),
        ),
    )))
}

/// Says a time in its largest unit.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (amount, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..172_800 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    match amount {
        1 => format!("1 {unit}"),
        amount => format!("{amount} {unit}s"),
    }
}

impl Refusal {
    fn of(reason: String, short: String, next: String) -> Self {
        Self {
            reason,
            short,
            next,
        }
    }

    fn unread(unread: &Unread) -> Self {
        Self::of(
            format!("packages of its rule are vetted, and {unread}"),
            "no package can be told from the path".to_owned(),
            "ask for packages in the forms of docs/advisories.md".to_owned(),
        )
    }

    fn none_imported(package: &Package) -> Self {
        Self::of(
            format!(
                "`{}` is refused: its rule demands advisories, and none were imported; an operator types `loki advisories import DIR`",
                package.shown()
            ),
            "no advisories were imported".to_owned(),
            "do not retry; an operator has to type `loki advisories import DIR`".to_owned(),
        )
    }

    fn unusable(package: &Package, unusable: &Unusable) -> Self {
        Self::of(
            format!(
                "`{}` is refused: the advisories about it cannot be read: {unusable}; an operator types `loki advisories import DIR`",
                package.shown()
            ),
            "the advisories cannot be read".to_owned(),
            "do not retry; an operator has to type `loki advisories import DIR`".to_owned(),
        )
    }

    fn advised(package: &Package, hits: &[(Advisory, Gist)]) -> Self {
        let ids: Vec<String> = hits
            .iter()
            .take(NAMED)
            .map(|(advisory, _)| shown(advisory))
            .collect();
        let more = match hits.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let short: Vec<&str> = hits
            .iter()
            .take(NAMED)
            .map(|(one, _)| one.id.as_str())
            .collect();
        let fixed = fixed(package.kind, hits);
        let then = match &fixed {
            Some(version) => format!("fixed in {version}"),
            None => "no fixed version is known".to_owned(),
        };
        Self::of(
            format!(
                "`{}` has a known advisory: {}{more}; {then}",
                package.shown(),
                ids.join(", ")
            ),
            format!("{}: {}{more}; {then}", package.shown(), short.join(", ")),
            match fixed {
                Some(version) => format!("use version {version} or a later one"),
                None => "use another package, or a version that is not affected".to_owned(),
            },
        )
    }
}

fn shown(advisory: &Advisory) -> String {
    let more = advisory.aliases.iter().take(1).map(String::as_str);
    let more: Vec<&str> = more.chain(advisory.severity.as_deref()).collect();
    match more.is_empty() {
        true => advisory.id.clone(),
        false => format!("{} ({})", advisory.id, more.join(", ")),
    }
}

/// Returns the version that has every fix; none when one has none.
fn fixed(kind: RegistryKind, hits: &[(Advisory, Gist)]) -> Option<String> {
    let mut latest: Option<(Version, &str)> = None;
    for (_, gist) in hits {
        let text = gist.fixed.as_deref()?;
        let version = Version::read(kind, text)?;
        let later =
            |had: &(Version, &str)| version.order(&had.0).is_some_and(std::cmp::Ordering::is_gt);
        if latest.as_ref().is_none_or(later) {
            latest = Some((version, text));
        }
    }
    latest.map(|(_, text)| text.to_owned())
}
