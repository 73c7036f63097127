//! The certificate authority of this process: made at its start, kept in memory, gone with it.
//!
//! Only its certificate leaves this module, for the trust files of sandboxes. It signs names that
//! are inspected or denied, one certificate each, and nothing else.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::ServerSessionMemoryCache,
};

use super::{ALPN_BOTH, provider};
use crate::name::HostName;

/// Names whose certificates are kept; the oldest goes for a new one.
const LEAVES: usize = 1024;
/// Sessions of one name that can be taken up again without a full handshake.
const SESSIONS: usize = 32;
/// The years between which certificates hold. The key lives no longer than this process, so the
/// dates need not bound it, and no clock has to be asked.
const YEARS: (i32, i32) = (2020, 2120);

/// Signs the names that this process answers for.
pub(in crate::egress) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// One for all leaves: whoever could take one could take all.
    leaf: KeyPair,
    leaves: Mutex<Leaves>,
}

#[derive(Default)]
struct Leaves {
    made: HashMap<HostName, Arc<ServerConfig>>,
    order: VecDeque<HostName>,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[source] std::io::Error),
    /// A certificate could not be written or signed.
    #[error("a certificate of the gateway could not be made")]
    Certificate(#[from] rcgen::Error),
    /// A certificate could not be used.
    #[error("a certificate of the gateway could not be used")]
    Tls(#[from] rustls::Error),
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    pub(in crate::egress) fn new() -> Result<Self, AuthorityError> {
        let mut params = params("Loki gateway of one process")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, key()?)?,
            leaf: key()?,
            leaves: Mutex::default(),
        })
    }

    /// Returns the authority's own certificate.
    pub(in crate::egress) fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    /// Returns how to answer a TLS client that asks for `name`.
    pub(in crate::egress) fn answer_as(
        &self,
        name: &HostName,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = leaves.made.get(name) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(self.config(name)?);
        if leaves.order.len() >= LEAVES
            && let Some(oldest) = leaves.order.pop_front()
        {
            leaves.made.remove(&oldest);
        }
        leaves.order.push_back(name.clone());
        leaves.made.insert(name.clone(), Arc::clone(&made));
        Ok(made)
    }

    fn config(&self, name: &HostName) -> Result<ServerConfig, AuthorityError> {
        let leaf = self.sign(name)?;
        let key = PrivatePkcs8KeyDer::from(self.leaf.serialize_der());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key))?;
        config.alpn_protocols = ALPN_BOTH.map(<[u8]>::to_vec).to_vec();
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(config)
    }

    fn sign(&self, name: &HostName) -> Result<Certificate, AuthorityError> {
        let mut params = params("inspected by Loki")?;
        params.subject_alt_names = CertificateParams::new([name.to_string()])?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&self.leaf, &self.issuer)?)
    }
}

/// Returns what all our certificates have in common, with a number of its own.
fn params(common_name: &str) -> Result<CertificateParams, AuthorityError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)
        .map_err(|error| AuthorityError::Random(std::io::Error::other(error.to_string())))?;
    // A serial number is positive and has no leading zeros.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = date_time_ymd(YEARS.0, 1, 1);
    params.not_after = date_time_ymd(YEARS.1, 1, 1);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_certificate_until_many_others_came() {
        let authority = Authority::new().unwrap();
        let name = |n: usize| format!("x{n}.test").parse::<HostName>().unwrap();
        let first = authority.answer_as(&name(0)).unwrap();
        assert!(Arc::ptr_eq(&first, &authority.answer_as(&name(0)).unwrap()));
        for n in 1..=LEAVES {
            authority.answer_as(&name(n)).unwrap();
        }
        assert!(!Arc::ptr_eq(
            &first,
            &authority.answer_as(&name(0)).unwrap()
        ));
        assert_eq!(authority.leaves.lock().unwrap().made.len(), LEAVES);
    }

    #[test]
    fn no_key_shows_in_debug_output() {
        let text = format!("{:?}", Authority::new().unwrap());
        assert_eq!(text, "Authority { .. }");
    }
}
