//! What of a tree an install is about: its lock files, and the files that it may see.

use crate::{
    git::{Below, Kind, Named, ObjectId},
    install::{
        self, Inputs, LARGEST, Name, NameKind, Place, Refusal, Take, Told, Want, is_plain,
        is_workspace, reduced, takes,
    },
};

use super::super::{failure::Failure, room::Room};

/// The most files that one install is given.
const FILES: usize = 50_000;

/// Why something was not installed: it was refused, or all ends.
#[derive(Debug)]
pub(super) enum Step {
    /// It was refused.
    Refused(Refusal),
    /// The attempt ends.
    Failed(Failure),
}

impl From<Refusal> for Step {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<T: Into<Failure>> From<T> for Step {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

/// Returns what is to be installed for a tree.
pub(super) async fn wants(
    room: &Room<'_>,
    tree: &ObjectId,
) -> Result<Vec<Result<Want, Refusal>>, Failure> {
    let asked = room.work().spec.install.clone();
    let root = match asked.as_deref() {
        Some([]) => Vec::new(),
        _ => names(room, tree, Under::Root).await?,
    };
    let wants = install::wants(&root, asked.as_deref());
    // What a command would make is in the tree already: that is used as it stands.
    let mut open = Vec::new();
    for want in wants {
        match want {
            Ok(want) if !want.demanded && is_there(&root, &want) => {}
            Ok(want) if want.demanded && is_tracked(room, tree, &want).await? => {
                let message = format!(
                    "`{}` is tracked by git; remove it there, or `- nothing`",
                    want.makes()
                );
                open.push(Err(want.refused(message)));
            }
            want => open.push(want),
        }
    }
    Ok(open)
}

fn is_there(root: &[Name], want: &Want) -> bool {
    want.tool.place == Place::Beside && root.iter().any(|name| name.path == want.tool.makes)
}

async fn is_tracked(room: &Room<'_>, tree: &ObjectId, want: &Want) -> Result<bool, Failure> {
    match want.covers() {
        Some(path) => Ok(!names(room, tree, Under::At(vec![path])).await?.is_empty()),
        None => Ok(false),
    }
}

/// Returns what an install may see, by its path below the directory of the lock file; none where
/// there is nothing to install.
pub(super) async fn inputs(
    room: &Room<'_>,
    tree: &ObjectId,
    want: &Want,
) -> Result<Option<Inputs>, Step> {
    let near = [want.lock_name(), "package.json", "Cargo.toml"].map(|name| want.below(name));
    let near = names(room, tree, Under::At(near.into())).await?;
    let lock = near.iter().find(|name| name.path == want.lock);
    let lock = match lock.map(|name| name.kind) {
        Some(NameKind::File) => lock.expect("it was just looked at"),
        Some(_) => {
            let message = format!(
                "`{}` is no regular file; put the lock file itself there",
                want.lock
            );
            return Err(want.refused(message).into());
        }
        None => {
            let message = format!(
                "there is no `{}`, and without a lock file nothing says what would be installed; commit one",
                want.lock
            );
            return Err(want.refused(message).into());
        }
    };
    let read = contents(room, want, std::slice::from_ref(lock)).await?;
    if install::read(want, &read[0])? == Told::Nothing {
        return Ok(None);
    }
    let manifest = near
        .iter()
        .find(|name| name.path == want.below("package.json"));
    let manifest = match manifest {
        Some(name) if name.kind == NameKind::File => {
            contents(room, want, std::slice::from_ref(name))
                .await?
                .pop()
        }
        _ => None,
    };
    let all = match is_workspace(want, manifest.as_deref()) {
        true => names(room, tree, Under::All(want.directory().to_owned())).await?,
        false => near,
    };
    collect(room, want, all).await.map(Some)
}

async fn collect(room: &Room<'_>, want: &Want, all: Vec<Name>) -> Result<Inputs, Step> {
    let prefix = want.below("");
    let below = |name: &Name| name.path.strip_prefix(&prefix).map(str::to_owned);
    let taken = all.into_iter().filter_map(|name| {
        let path = below(&name)?;
        let take = takes(want, &path).filter(|_| name.kind == NameKind::File)?;
        Some((path, take, name))
    });
    let taken: Vec<(String, Take, Name)> = taken.filter(|(path, ..)| is_plain(path)).collect();
    if taken.len() > FILES {
        let message = format!("it needs more than {FILES} manifests; split the project");
        return Err(want.refused(message).into());
    }
    let (empty, full): (Vec<_>, Vec<_>) = taken
        .into_iter()
        .partition(|(_, take, _)| *take == Take::Empty);
    let files: Vec<Name> = full.iter().map(|(_, _, name)| name.clone()).collect();
    let read = contents(room, want, &files).await?;
    let mut inputs: Inputs = empty
        .into_iter()
        .map(|(path, ..)| (path, Vec::new()))
        .collect();
    for ((path, take, _), bytes) in full.into_iter().zip(read) {
        let bytes = match take {
            Take::Parts => reduced(want, &path, &bytes)?,
            _ => bytes,
        };
        inputs.insert(path, bytes);
    }
    Ok(inputs)
}

/// Which names are asked for.
enum Under {
    Root,
    At(Vec<String>),
    All(String),
}

async fn names(room: &Room<'_>, tree: &ObjectId, under: Under) -> Result<Vec<Name>, Failure> {
    let tree = tree.clone();
    let listed = room.work().git(move |repository, _| {
        let below = match &under {
            Under::Root => Below::Root,
            Under::At(paths) => Below::At(paths),
            Under::All(directory) => Below::All(directory),
        };
        repository.names(&tree, below)
    });
    Ok(listed.await?.into_iter().map(name).collect())
}

fn name(named: Named) -> Name {
    Name {
        path: named.path,
        kind: match named.kind {
            Kind::File => NameKind::File,
            Kind::Link => NameKind::Link,
            Kind::Directory => NameKind::Directory,
            Kind::Module => NameKind::Module,
        },
        id: named.id,
    }
}

/// Reads files, in their order; one that is too large is refused.
async fn contents(room: &Room<'_>, want: &Want, files: &[Name]) -> Result<Vec<Vec<u8>>, Step> {
    let ids: Vec<String> = files.iter().map(|name| name.id.clone()).collect();
    let read = room
        .work()
        .git(move |repository, _| repository.contents(&ids))
        .await?;
    let each = files.iter().map(|name| {
        read.get(&name.id).cloned().ok_or_else(|| {
            let message = format!(
                "`{}` is larger than {} MiB, alone or with others",
                name.path,
                LARGEST >> 20
            );
            want.refused(message).into()
        })
    });
    each.collect()
}
