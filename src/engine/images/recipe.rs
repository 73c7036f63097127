//! The shipped recipes. They are part of the program, so that an image never depends on where it stands.

use sha2::{Digest as _, Sha256};

use super::{Certificates, ImageError};
use crate::digest::Digest;

/// Raised when images built by an older program no longer do.
const FORMAT: &str = "1";

/// Makes an image of a root that holds the packages; part of both ways to build, hence of the hash.
pub(super) const FINISH: &str = include_str!("../../../images/finish.sh");

/// Where packages link their manuals; some do not install while it is missing, which it is where no
/// manuals are unpacked.
pub(super) const MANUALS: &str = "usr/share/man/man1";

const RECIPES: [(&str, &str); 8] = [
    ("base", include_str!("../../../images/base/image.yaml")),
    ("node", include_str!("../../../images/node/image.yaml")),
    ("python", include_str!("../../../images/python/image.yaml")),
    ("rust", include_str!("../../../images/rust/image.yaml")),
    ("go", include_str!("../../../images/go/image.yaml")),
    ("java", include_str!("../../../images/java/image.yaml")),
    ("web", include_str!("../../../images/web/image.yaml")),
    ("full", include_str!("../../../images/full/image.yaml")),
];

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The image's name.
    pub name: String,
    /// The short name of the registry image to build on, where a registry answers.
    pub from: String,
    /// The distribution's release, unless the host is of that family and has its own.
    pub suite: String,
    /// The packages of the distribution.
    pub packages: Vec<String>,
}

impl Recipe {
    /// Returns 16 hexadecimal digits that change with anything that goes into the image.
    pub(super) fn hash(&self, certificates: &Certificates) -> String {
        let mut packages = self.packages.clone();
        packages.sort();
        let mut hash = Sha256::new();
        let head = [FORMAT, &self.name, &self.from, &self.suite, FINISH];
        for part in head.into_iter().chain(packages.iter().map(String::as_str)) {
            hash.update(part);
            // Parts must not run together: `a`, `bc` is not `ab`, `c`.
            hash.update([0]);
        }
        for (name, text) in &certificates.files {
            hash.update(name);
            hash.update([0]);
            hash.update(text);
        }
        format!("{:.16}", Digest(hash.finalize().into()))
    }
}

/// Lists the images that can be built.
#[must_use]
pub fn known() -> Vec<&'static str> {
    RECIPES.iter().map(|(name, _)| *name).collect()
}

/// Reads a shipped recipe.
///
/// # Errors
/// [`ImageError::Unknown`] if there is none of that name.
pub fn recipe(name: &str) -> Result<Recipe, ImageError> {
    let found = RECIPES.iter().find(|(known, _)| *known == name);
    let Some((_, text)) = found else {
        return Err(ImageError::unknown(name));
    };
    Ok(serde_yaml::from_str(text).expect("a test reads every shipped recipe"))
}

#[cfg(test)]
mod tests {
    use super::{known, recipe};
    use crate::engine::images::{ImageError, certificates::Certificates};

    fn certificates(text: &str) -> Certificates {
        Certificates {
            files: vec![("a.crt".to_owned(), text.to_owned())],
        }
    }

    #[test]
    fn every_shipped_recipe_reads_and_carries_its_name() {
        for name in known() {
            let recipe = recipe(name).unwrap();
            assert_eq!(recipe.name, name);
            assert!(recipe.packages.contains(&"ca-certificates".to_owned()));
            assert!(
                !recipe.from.contains('/'),
                "a short name, without a registry's host"
            );
        }
    }

    #[test]
    fn an_unknown_image_lists_what_there_is() {
        let fault = recipe("../base").unwrap_err();
        assert!(matches!(fault, ImageError::Unknown { .. }));
        assert!(fault.to_string().contains("base, node"), "{fault}");
    }

    #[test]
    fn every_image_holds_what_base_holds_and_the_full_one_holds_them_all() {
        let (base, full) = (recipe("base").unwrap(), recipe("full").unwrap());
        for name in known() {
            let packages = recipe(name).unwrap().packages;
            let lacks = |package: &&String| !packages.contains(package);
            assert_eq!(base.packages.iter().find(lacks), None, "{name}");
            let unknown = |package: &&String| !full.packages.contains(package);
            assert_eq!(packages.iter().find(unknown), None, "{name}");
        }
    }

    #[test]
    fn the_hash_changes_with_everything_that_goes_in_and_with_nothing_else() {
        let base = recipe("base").unwrap();
        let hash = base.hash(&certificates("x"));
        assert_eq!(hash.len(), 16);
        assert_ne!(hash, base.hash(&certificates("y")));
        let mut other = base.clone();
        other.packages.reverse();
        assert_eq!(hash, other.hash(&certificates("x")));
        other.packages.push("vim".to_owned());
        assert_ne!(hash, other.hash(&certificates("x")));
        let suite = super::Recipe {
            suite: "trixie".to_owned(),
            ..base
        };
        assert_ne!(hash, suite.hash(&certificates("x")));
    }
}
