//! TLS for nodes: 1.3 only, aws-lc-rs only, both sides with certificates of the
//! cluster's authority. A joiner has none yet.

use std::sync::Arc;

use parking_lot::Mutex;
use phoenix_core::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::identity::{ClusterId, Fingerprint, Identity, node_name};

/// TLS could not be set up: the identity is at fault.
#[derive(Debug, thiserror::Error)]
#[error("the node's certificate or key cannot be used: {0}")]
pub struct TlsError(String);

impl TlsError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

fn failed(error: impl std::fmt::Display) -> TlsError {
    TlsError::new(error)
}

fn protocols(names: &[&[u8]]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.to_vec()).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(authority: CertificateDer<'static>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).map_err(failed)?;
    Ok(Arc::new(roots))
}

/// For whoever connects to us and speaks one of `alpn`. A client without a
/// certificate passes TLS; it must then be a joiner, which the acceptor checks.
pub(crate) fn server(
    identity: &Identity,
    alpn: &[&[u8]],
) -> Result<rustls::ServerConfig, TlsError> {
    let authority = identity.authority_certificate();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(authority.clone())?, provider())
            .allow_unauthenticated()
            .build()
            .map_err(failed)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?
        .with_client_cert_verifier(verifier)
        // A joiner needs the authority's certificate to compare its fingerprint.
        .with_single_cert(vec![identity.certificate(), authority], identity.key())
        .map_err(failed)?;
    config.alpn_protocols = protocols(alpn);
    // Without resumption each connection shows its certificate anew.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// For connecting to other nodes.
pub(crate) fn client(
    identity: &Identity,
    alpn: &[&[u8]],
) -> Result<rustls::ClientConfig, TlsError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?
        .with_root_certificates(roots(identity.authority_certificate())?)
        .with_client_auth_cert(vec![identity.certificate()], identity.key())
        .map_err(failed)?;
    config.alpn_protocols = protocols(alpn);
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Whom a joiner found in place of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// A node whose certificate is of another authority.
    OfAuthority(Fingerprint),
    /// A node of the right cluster which does not hold its authority.
    OtherNode,
}

/// For joining: trusts whoever has a certificate as authority, signed by the
/// authority with this fingerprint. Who was found instead is left in `found`.
pub(crate) fn joiner(
    expected: Fingerprint,
    found: Arc<Mutex<Option<Stranger>>>,
    alpn: &[&[u8]],
) -> Result<rustls::ClientConfig, TlsError> {
    let provider = provider();
    let verifier = ByFingerprint {
        expected,
        found,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Whether the other side's certificate, which TLS has checked to be of our
/// authority, is that of `node`.
pub(crate) fn is_node(chain: &[CertificateDer<'_>], node: NodeId, cluster: ClusterId) -> bool {
    let certificate = chain.first().map(ParsedCertificate::try_from);
    let name = ServerName::try_from(node_name(node, cluster));
    match (certificate, name) {
        (Some(Ok(certificate)), Ok(name)) => {
            rustls::client::verify_server_name(&certificate, &name).is_ok()
        }
        _ => false,
    }
}

/// Knows the authority by the SHA-256 of its certificate.
#[derive(Debug)]
struct ByFingerprint {
    expected: Fingerprint,
    found: Arc<Mutex<Option<Stranger>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates
            .iter()
            .find(|certificate| Fingerprint::of(certificate) == self.expected);
        let Some(authority) = authority else {
            let other = intermediates.first().unwrap_or(end_entity);
            *self.found.lock() = Some(Stranger::OfAuthority(Fingerprint::of(other)));
            return Err(rustls::Error::General("another authority".to_owned()));
        };
        let roots = roots(authority.clone().into_owned())
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        WebPkiServerVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
            .inspect_err(|error| {
                let other_name = matches!(
                    error,
                    rustls::Error::InvalidCertificate(
                        CertificateError::NotValidForName
                            | CertificateError::NotValidForNameContext { .. }
                    )
                );
                if other_name {
                    *self.found.lock() = Some(Stranger::OtherNode);
                }
            })
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "nodes speak TLS 1.3 only".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
