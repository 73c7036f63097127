//! What a sandbox trusts: the certificates this machine trusts, and the gateway's authority.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::CertificateDer;

/// First bytes and version of a Java key store.
const JAVA: [u8; 8] = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2];
/// The kind of its entries that hold a trusted certificate.
const JAVA_TRUSTED: [u8; 4] = [0, 0, 0, 2];
/// Characters of a line of a PEM file.
const LINE: usize = 64;

/// The trust files of a sandbox.
#[derive(Clone)]
pub struct Trust {
    /// The gateway's own certificate, PEM.
    pub authority: String,
    /// That and all that this machine trusts, PEM.
    pub bundle: String,
    /// The same as a Java key store (JKS) that is read without a password.
    pub java: Vec<u8>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    pub(in crate::egress) fn new(
        authority: &CertificateDer<'_>,
        system: &[CertificateDer<'_>],
    ) -> Arc<Self> {
        let all: Vec<&[u8]> = [authority]
            .into_iter()
            .chain(system)
            .map(|one| one.as_ref())
            .collect();
        Arc::new(Self {
            authority: pem(authority),
            bundle: all.iter().map(|one| pem(one)).collect(),
            java: java(&all),
        })
    }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(LINE) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out + "-----END CERTIFICATE-----\n"
}

/// Writes a key store of trusted certificates. Its seal is twenty zero bytes: a program that trusts
/// it reads it without a password, and then no seal is looked at.
fn java(certificates: &[&[u8]]) -> Vec<u8> {
    let mut out = JAVA.to_vec();
    out.extend(length(certificates.len()));
    for (n, der) in certificates.iter().enumerate() {
        out.extend(JAVA_TRUSTED);
        out.extend(words(&format!("loki-{n}")));
        out.extend([0; 8]);
        out.extend(words("X.509"));
        out.extend(length(der.len()));
        out.extend(*der);
    }
    out.extend([0; 20]);
    out
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count)
        .expect("certificates are few and small")
        .to_be_bytes()
}

fn words(text: &str) -> Vec<u8> {
    let count = u16::try_from(text.len()).expect("these are short words");
    [&count.to_be_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_back_as_what_went_in() {
        use rustls::pki_types::pem::PemObject;
        let (own, other) = (vec![7; 300], vec![9; 48]);
        let trust = Trust::new(&own.clone().into(), &[other.clone().into()]);
        let read: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(trust.bundle.as_bytes())
            .map(|one| one.unwrap().to_vec())
            .collect();
        assert_eq!(read, [own, other]);
        assert!(trust.bundle.starts_with(&trust.authority));
    }

    #[test]
    fn a_java_key_store_holds_each_certificate_with_its_length() {
        let store = java(&[&[1, 2, 3]]);
        let expected = b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\x06loki-0\0\0\0\0\0\0\0\0\0\x05X.509\0\0\0\x03\x01\x02\x03";
        assert_eq!(store, [&expected[..], &[0; 20]].concat());
    }
}
