//! The build context for an image that a registry serves the beginning of.

use std::{fmt::Write, io};

use super::{
    LABEL,
    certificates::Certificates,
    recipe::{FINISH, MANUALS, Recipe},
};

/// Returns the context's tar: the Containerfile, the finishing script and the certificates.
pub(super) fn tar(recipe: &Recipe, certificates: &Certificates) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "Containerfile", &containerfile(recipe))?;
    append(&mut tar, "build/finish.sh", FINISH)?;
    for (name, text) in &certificates.files {
        append(&mut tar, &format!("build/certificates/{name}"), text)?;
    }
    tar.into_inner()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, text: &str) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, text.as_bytes())
}

fn containerfile(recipe: &Recipe) -> String {
    let mut text = format!("FROM {}\nCOPY build /build\n", recipe.from);
    write!(
        text,
        "RUN export DEBIAN_FRONTEND=noninteractive \\\n\
         \x20&& mkdir -p /{MANUALS} \\\n\
         \x20&& apt-get update -q \\\n\
         \x20&& apt-get install -y -q --no-install-recommends {} \\\n\
         \x20&& sh /build/finish.sh / /build/certificates \\\n\
         \x20&& rm -rf /build\n",
        recipe.packages.join(" ")
    )
    .expect("a string takes every text");
    writeln!(text, "LABEL {LABEL}={}", recipe.name).expect("a string takes every text");
    text
}

#[cfg(test)]
mod tests {
    use super::{containerfile, tar};
    use crate::engine::images::{certificates::Certificates, recipe};

    #[test]
    fn the_containerfile_installs_finishes_and_labels() {
        insta::assert_snapshot!(containerfile(&recipe("base").unwrap()));
    }

    #[test]
    fn the_context_holds_script_and_certificates() {
        let certificates = Certificates {
            files: vec![("a.crt".to_owned(), "PEM".to_owned())],
        };
        let bytes = tar(&recipe("base").unwrap(), &certificates).unwrap();
        let mut archive = ::tar::Archive::new(bytes.as_slice());
        let names: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                "Containerfile",
                "build/finish.sh",
                "build/certificates/a.crt"
            ]
        );
    }
}
