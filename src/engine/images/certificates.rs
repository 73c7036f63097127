//! The host's certificate authorities, which every image trusts as the host does: on networks that
//! inspect TLS nothing else works.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Certificates of the administrator's own.
const LOCAL: &str = "/usr/local/share/ca-certificates";
/// Everything the host trusts in one file: some networks add their own only here.
const BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Certificate files by name, each text once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    /// Names end in `.crt` and hold no slash; texts are PEM.
    pub(super) files: Vec<(String, String)>,
}

impl Certificates {
    /// Reads the host's; a host without any gives none.
    pub(super) fn of_host() -> Self {
        let bundle = BUNDLES
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok());
        Self::of(Path::new(LOCAL), bundle.as_deref())
    }

    fn of(local: &Path, bundle: Option<&str>) -> Self {
        let mut files = BTreeMap::new();
        for (index, text) in local_texts(local).into_iter().enumerate() {
            files.insert(format!("loki-local-{index}.crt"), text);
        }
        let local = files.values().cloned().collect::<String>();
        let mut seen = BTreeSet::new();
        let more: String = blocks(bundle.unwrap_or_default())
            .into_iter()
            .filter(|block| !local.contains(block) && seen.insert(block.clone()))
            .collect();
        if !more.is_empty() {
            files.insert("loki-host.crt".to_owned(), more);
        }
        Self {
            files: files.into_iter().collect(),
        }
    }
}

/// Reads the certificates of a directory and those below it, in a stable order.
fn local_texts(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut texts = Vec::new();
    for path in paths {
        if path.is_dir() {
            texts.extend(local_texts(&path));
        } else if path.extension().is_some_and(|extension| extension == "crt") {
            texts.extend(
                std::fs::read_to_string(&path)
                    .ok()
                    .map(|text| blocks(&text).concat()),
            );
        }
    }
    texts.retain(|text| !text.is_empty());
    texts
}

/// Splits a text into its PEM certificates and leaves everything else out.
fn blocks(text: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let body = |piece: &str| {
        piece
            .split_once(END)
            .map(|(body, _)| body.trim().to_owned())
    };
    text.split(BEGIN)
        .skip(1)
        .filter_map(body)
        .map(|body| format!("{BEGIN}\n{body}\n{END}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Certificates, blocks};

    fn pem(body: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn only_whole_certificates_are_taken() {
        let text = format!(
            "# comment\n{}key\n-----BEGIN CERTIFICATE-----\ncut",
            pem("AAA")
        );
        assert_eq!(blocks(&text), [pem("AAA")]);
    }

    #[test]
    fn a_certificate_that_stands_in_both_places_is_taken_once() {
        let local = tempfile::tempdir().unwrap();
        let below = local.path().join("below");
        std::fs::create_dir(&below).unwrap();
        for (path, text) in [
            (below.join("b.crt"), pem("BBB")),
            (local.path().join("n.txt"), pem("N")),
        ] {
            std::fs::File::create(path)
                .and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
                .unwrap();
        }
        let bundle = [pem("BBB"), pem("CCC"), pem("CCC")].concat();
        let found = Certificates::of(local.path(), Some(&bundle)).files;
        let wanted = [
            ("loki-host.crt", pem("CCC")),
            ("loki-local-0.crt", pem("BBB")),
        ];
        assert_eq!(found, wanted.map(|(name, text)| (name.to_owned(), text)));
    }

    #[test]
    fn a_host_without_certificates_gives_none() {
        assert_eq!(
            Certificates::of("/nonexistent".as_ref(), None),
            Certificates::default()
        );
    }
}
