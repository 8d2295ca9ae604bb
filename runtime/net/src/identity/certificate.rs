//! What certificates say, and making them.

use phoenix_core::NodeId;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::ClusterId;

/// The name that the authority's node has beside its own: a joiner knows the
/// authority by its fingerprint and does not know the cluster's name yet.
pub(crate) const AUTHORITY_NAME: &str = "authority.phoenix";

/// The name of a node within its cluster.
pub(crate) fn node_name(node: NodeId, cluster: ClusterId) -> String {
    format!("{node}.{cluster}.phoenix")
}

fn params(names: Vec<String>, common_name: String) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2125, 1, 1);
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}

/// The authority's own certificate.
pub(super) fn authority(
    cluster: ClusterId,
    key: &KeyPair,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = params(Vec::new(), format!("Phoenix cluster {cluster}"))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params.self_signed(key)?.der().clone())
}

/// A node's certificate, for the key that it alone holds.
pub(super) fn node(
    node: NodeId,
    cluster: ClusterId,
    is_authority: bool,
    public_key: &impl PublicKeyData,
    authority: &CertificateDer<'static>,
    authority_key: &KeyPair,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut names = vec![node_name(node, cluster)];
    if is_authority {
        names.push(AUTHORITY_NAME.to_owned());
    }
    let mut params = params(names, node_name(node, cluster))?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let issuer = rcgen::Issuer::from_ca_cert_der(authority, authority_key)?;
    Ok(params.signed_by(public_key, &issuer)?.der().clone())
}

/// A certificate as text.
pub(super) fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let base64 = data_encoding::BASE64.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, character) in base64.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}
